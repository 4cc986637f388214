"""The machine and the versions that figures belong to; no name and no place is in it."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.contestants import environment

_PACKAGES = (
    *(
        "pyspark",
        "delta-spark",
        "tensorflow",
        "keras",
        "onnxruntime",
        "openvino",
        "numpy",
        "pyarrow",
        "pillow",
    ),
    *("scikit-learn", "ray", "daft"),
)


def machine() -> dict[str, str]:
    """Processor, cores, memory and operating system."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{pages / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release().split('-')[0]} {platform.machine()}",
    }


def versions() -> dict[str, str]:
    """Python, Java and the packages that the contestants use."""
    found = {"python": platform.python_version(), "java": _java()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _processor() -> str:
    try:
        told = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        told = None
    return told[1] if told else platform.processor() or platform.machine()


def _java() -> str:
    env = environment()
    java = Path(env["JAVA_HOME"], "bin", "java") if env.get("JAVA_HOME") else "java"
    done = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    found = re.search(r'version "([^"]+)"', done.stderr)
    return found[1] if found else "unknown"
