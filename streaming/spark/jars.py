"""Fetch the jars that Spark needs in addition to its own: Delta Lake, S3A and a slim AWS SDK.

Ivy resolves the set once, through Spark, into a cache directory shared by all checkouts of a user. Later sessions
use the files and contact no repository.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from streaming.cache_dir import cache_folder
from streaming.errors import PlatformError
from streaming.spark.jar_versions import JarSet, jar_set
from streaming.spark.java import java_home

log = logging.getLogger(__name__)

#: Delta's log on S3 for writers that may be paused; built by `make jar`, and only S3 needs it.
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
        When they are not in the cache and cannot be fetched.
    """
    wanted = jar_set(version("pyspark"))
    names = "\n".join((*wanted.packages, "-", *wanted.excludes))
    folder = cache_folder() / f"jars-{hashlib.sha256(names.encode()).hexdigest()[:12]}"
    if not folder.is_dir():
        _fetch(wanted, folder)
    return sorted(folder.glob("*.jar"))


def _fetch(wanted: JarSet, folder: Path) -> None:
    log.info("downloading the jars of Delta Lake and S3A (27 MB, once) into %s", folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        settings = Path(scratch, "ivysettings.xml")
        settings.write_text(_IVY_SETTINGS)
        nothing = Path(scratch, "nothing.py")
        nothing.touch()
        conf = {
            "spark.jars.packages": ",".join(wanted.packages),
            "spark.jars.excludes": ",".join(wanted.excludes),
            "spark.jars.ivy": f"{scratch}/ivy",
            "spark.jars.ivySettings": str(settings),
        }
        command = [_spark_submit(), *(f"--conf={key}={value}" for key, value in conf.items())]
        done = subprocess.run(
            [*command, "--master=local[1]", str(nothing)],
            env=os.environ | {"JAVA_HOME": str(java_home()), "PYSPARK_PYTHON": sys.executable},
            capture_output=True,
            text=True,
            check=False,
        )
        fetched = Path(scratch, "ivy", "jars")
        if done.returncode or not any(fetched.glob("*.jar")):
            missing = re.findall(r":: ([\w.-]+#[\w.;-]+): not found", done.stderr)
            last = (done.stderr.strip().splitlines() or ["no output"])[-1]
            raise PlatformError(
                f"the jars of Delta Lake and S3A could not be downloaded ({', '.join(missing) or last}): "
                "connect to the network once, or copy the folder "
                f"{folder} from a machine that has it"
            )
        try:
            fetched.rename(folder)
        except OSError:
            if not folder.is_dir():  # or another process was first
                raise


def _spark_submit() -> str:
    import pyspark

    return str(Path(pyspark.__file__).parent / "bin" / "spark-submit")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    jar_files()
