"""Fetch the jars that Spark needs in addition to its own: Delta Lake, S3A and a slim AWS SDK.

Ivy resolves the set once, through Spark, into a cache directory shared by all checkouts of a user. Later sessions
use the files and contact no repository. Only the jars that `jars-X.Y.sha256` lists are used, with these hashes.
"""

from __future__ import annotations

import hashlib
import logging
import re
import subprocess
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from streaming.cache_dir import find_cached
from streaming.errors import PlatformError
from streaming.spark.jar_versions import JarSet, jar_set
from streaming.spark.java import java_home
from streaming.spark.local_environment import child_environment

log = logging.getLogger(__name__)

#: Delta's log store for S3 with fencing of paused writers; built by `make jar`, used on S3 only.
FENCED_LOG_STORE = Path(__file__).with_name("fenced-log-store.jar")

# One resolver: Ivy's default chain also looks into Maven's local cache, whose entries may lack their jars.
_IVY_SETTINGS = """<ivysettings>
  <settings defaultResolver="central"/>
  <resolvers><ibiblio name="central" m2compatible="true"/></resolvers>
</ivysettings>
"""


def jar_files() -> list[Path]:
    """Return the jars for the installed Spark, with their dependencies; the first call downloads them.

    Raises
    ------
    PlatformError
        If they are not in the cache and cannot be downloaded, or differ from those that were tested.
    """
    spark = version("pyspark")
    jars = jar_set(spark)
    names = "\n".join((*jars.packages, "-", *jars.excludes))
    folder = find_cached(f"jars-{hashlib.sha256(names.encode()).hexdigest()[:12]}")
    if not folder.is_dir():
        try:
            download(jars, folder, jar_hashes(spark))
        except OSError as error:
            raise PlatformError(
                f"the jars of Delta Lake and S3A cannot be stored in {folder.parent} ({error.strerror}): "
                "set XDG_CACHE_HOME to a folder with 100 MB of free space"
            ) from error
    return verify(folder, jar_hashes(spark))


def jar_hashes(spark_version: str) -> dict[str, str]:
    """Return the SHA-256 of each jar for a version of Spark, by file name; `make jar-hashes` writes the files."""
    lines = hash_file(spark_version).read_text().splitlines()
    return {name: digest for digest, name in (line.split("  ") for line in lines)}


def hash_file(spark_version: str) -> Path:
    """Return the path of the hashes for a version of Spark, in the format of ``sha256sum``."""
    minor = ".".join(spark_version.split(".")[:2])
    return Path(__file__).with_name(f"jars-{minor}.sha256")


def verify(folder: Path, hashes: Mapping[str, str]) -> list[Path]:
    """Return the listed jars in a folder, sorted; other files there are ignored. Hashing them takes 30 ms.

    Raises
    ------
    PlatformError
        If one is missing, cannot be read, or has another SHA-256.
    """
    for name, expected in hashes.items():
        try:
            with (folder / name).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            problem = f"cannot be read ({error.strerror})"
        else:
            if found == expected:
                continue
            problem = f"is not the jar that Pomona was tested with (its SHA-256 is {found}, not {expected})"
        raise PlatformError(
            f"{folder / name} {problem}: delete the folder {folder}, and the next command downloads the jars again"
        )
    return sorted(folder / name for name in hashes)


def download(jars: JarSet, folder: Path, hashes: Mapping[str, str] | None = None) -> None:
    """Download jars and their dependencies into a new folder.

    Parameters
    ----------
    jars : JarSet
        What Ivy resolves.
    folder : Path
        It is created if all jars are complete; another process may create it first.
    hashes : mapping of str to str, optional
        SHA-256 of each jar; by default the jars are not verified.

    Raises
    ------
    PlatformError
        If they cannot be downloaded, or have other hashes.
    """
    log.info("downloading the jars of Delta Lake and S3A (27 MB, once) into %s", folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        settings = Path(scratch, "ivysettings.xml")
        settings.write_text(_IVY_SETTINGS)
        empty_program = Path(scratch, "empty.py")
        empty_program.touch()
        conf = {
            "spark.jars.packages": ",".join(jars.packages),
            "spark.jars.excludes": ",".join(jars.excludes),
            "spark.jars.ivy": f"{scratch}/ivy",
            "spark.jars.ivySettings": str(settings),
            "spark.driver.extraJavaOptions": f'"-Duser.home={scratch}" "-Djava.io.tmpdir={scratch}"',
        }
        command = [_spark_submit(), *(f"--conf={key}={value}" for key, value in conf.items())]
        done = subprocess.run(
            [*command, "--master=local[1]", str(empty_program)],
            env=child_environment() | {"JAVA_HOME": str(java_home())},
            cwd=scratch,
            capture_output=True,
            text=True,
            check=False,
        )
        downloaded = Path(scratch, "ivy", "jars")
        # For a user without an entry in the user database, Hadoop fails after Ivy has copied all jars.
        complete = done.returncode == 0 or "artifacts copied" in done.stderr
        if not complete or not any(downloaded.glob("*.jar")):
            missing = re.findall(r":: ([\w.-]+#[\w.;-]+): not found", done.stderr)
            causes = re.findall(r"(?:Exception|Error): [^\n]+", done.stderr)
            last = (causes or done.stderr.strip().splitlines() or ["no output"])[-1]
            raise PlatformError(
                f"the jars of Delta Lake and S3A could not be downloaded ({', '.join(missing) or last}): "
                "connect to the network once, or copy the folder "
                f"{folder} from another machine"
            )
        if hashes:
            _verify_download(downloaded, hashes)
        try:
            downloaded.rename(folder)
        except OSError:
            if not folder.is_dir():  # otherwise another process was first
                raise


def _verify_download(folder: Path, hashes: Mapping[str, str]) -> None:
    try:
        verify(folder, hashes)
    except PlatformError as error:
        problem = str(error).removeprefix(f"{folder}/").rpartition(": delete")[0]
        raise PlatformError(
            f"the download of {problem}: check which repository or proxy this machine uses"
        ) from None


def _spark_submit() -> str:
    import pyspark

    return str(Path(pyspark.__file__).parent / "bin" / "spark-submit")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    jar_files()
