"""Fetch the jars that Spark needs in addition to its own: Delta Lake, S3A and a slim AWS SDK.

Ivy resolves the set once, through Spark, into a cache directory shared by all checkouts of a user. Later sessions
use the files and contact no repository.
"""

from __future__ import annotations

import hashlib
import logging
import re
import subprocess
import tempfile
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
        If they are not in the cache and cannot be downloaded.
    """
    jars = jar_set(version("pyspark"))
    names = "\n".join((*jars.packages, "-", *jars.excludes))
    folder = find_cached(f"jars-{hashlib.sha256(names.encode()).hexdigest()[:12]}")
    if not folder.is_dir():
        try:
            _download(jars, folder)
        except OSError as error:
            raise PlatformError(
                f"the jars of Delta Lake and S3A cannot be stored in {folder.parent} ({error.strerror}): "
                "set XDG_CACHE_HOME to a folder with 100 MB of free space"
            ) from error
    return sorted(folder.glob("*.jar"))


def _download(jars: JarSet, folder: Path) -> None:
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
        try:
            downloaded.rename(folder)
        except OSError:
            if not folder.is_dir():  # otherwise another process was first
                raise


def _spark_submit() -> str:
    import pyspark

    return str(Path(pyspark.__file__).parent / "bin" / "spark-submit")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    jar_files()
