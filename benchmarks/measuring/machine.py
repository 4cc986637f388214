"""The machine and the versions that the figures belong to; without host names or paths."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.measuring.competitors import process_environment

_PACKAGES = (
    "pyspark",
    "delta-spark",
    "tensorflow",
    "keras",
    "onnxruntime",
    "openvino",
    "numpy",
    "pyarrow",
    "pillow",
    "scikit-learn",
    "ray",
    "daft",
)


def machine() -> dict[str, str]:
    """Return processor, cores, memory and operating system."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release().split('-')[0]} {platform.machine()}",
    }


def versions() -> dict[str, str]:
    """Return the versions of Python, Java and the packages that the competitors use."""
    found = {"python": platform.python_version(), "java": _java_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _processor() -> str:
    try:
        match = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        match = None
    return match[1] if match else platform.processor() or platform.machine()


def _java_version() -> str:
    env = process_environment()
    java = Path(env["JAVA_HOME"], "bin", "java") if env.get("JAVA_HOME") else "java"
    done = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    match = re.search(r'version "([^"]+)"', done.stderr)
    return match[1] if match else "unknown"
