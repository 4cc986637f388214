"""Tests for `bootstrap.environment.glibc`: required symbol versions are found, and lowered if equivalent."""

from __future__ import annotations

import ctypes
import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bootstrap.environment import glibc
from bootstrap.environment.glibc import lower_glibc_requirements, newest_glibc

needs_tools = pytest.mark.skipif(
    not (shutil.which("gcc") and shutil.which("objdump")), reason="no gcc and objdump here"
)


def library(folder: Path, code: str, *options: str) -> Path:
    """Compile and link a shared library."""
    file = folder / "library.so"
    command = ["gcc", "-shared", "-fPIC", "-O1", "-x", "c", "-", "-o", str(file), "-lm", *options]
    subprocess.run(command, input=code, text=True, check=True)
    return file


def required_versions(file: Path) -> dict[str, str]:
    """Return the required version of each function, as listed by `objdump`."""
    done = subprocess.run(["objdump", "-T", file], capture_output=True, text=True, check=True)
    return {name: version for version, name in re.findall(r"\((GLIBC_\S+)\)\s+(\w+)", done.stdout)}


DECLARATIONS = "double hypot(double, double); double sqrt(double);"
HYPOT = f"{DECLARATIONS} double length(double a, double b) {{ return hypot(a, b) + sqrt(a) * 0; }}"


@needs_tools
def test_newest_glibc_is_returned_with_file(tmp_path: Path) -> None:
    file = library(tmp_path, HYPOT)
    versions = [tuple(map(int, v[6:].split(".")[:2])) for v in required_versions(file).values()]
    assert newest_glibc(tmp_path) == (max(versions), "library.so")


@needs_tools
@pytest.mark.skipif(
    platform.machine() != "x86_64", reason="equivalent versions are defined for x86-64 only"
)
def test_hypot_version_is_lowered_and_result_is_equal(tmp_path: Path) -> None:
    file = library(tmp_path, HYPOT)
    if required_versions(file)["hypot"] != "GLIBC_2.35":
        pytest.skip("this C library has no newer hypot")
    others = {name: version for name, version in required_versions(file).items() if name != "hypot"}
    lower_glibc_requirements(tmp_path)
    assert required_versions(file) == others | {"hypot": "GLIBC_2.2.5"}
    assert newest_glibc(tmp_path)[0] < (2, 35)
    loaded = ctypes.CDLL(str(file))
    loaded.length.argtypes, loaded.length.restype = [ctypes.c_double] * 2, ctypes.c_double
    assert loaded.length(3.0, 4.0) == 5.0


@needs_tools
@pytest.mark.skipif(platform.machine() != "x86_64", reason="changes a file for x86-64")
def test_hypot_version_of_arm_is_the_first_of_that_architecture(tmp_path: Path) -> None:
    file = library(tmp_path, HYPOT)
    if required_versions(file)["hypot"] != "GLIBC_2.35":
        pytest.skip("this C library has no newer hypot")
    # Only the architecture and the first version differ in a library for AArch64.
    content = file.read_bytes().replace(b"GLIBC_2.2.5\0", b"GLIBC_2.17\0\0")
    file.write_bytes(content[:0x12] + b"\xb7\0" + content[0x14:])
    lower_glibc_requirements(tmp_path)
    changed = file.read_bytes()
    assert changed[0x12:0x14] == b"\xb7\0"
    file.write_bytes(changed[:0x12] + b"\x3e\0" + changed[0x14:])  # objdump reads this architecture
    assert required_versions(file)["hypot"] == "GLIBC_2.17"


@needs_tools
def test_version_with_other_functions_is_not_lowered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = library(tmp_path, HYPOT)
    before = file.read_bytes()
    version = required_versions(file)["hypot"].encode()
    other = {version: frozenset({b"another"})}
    monkeypatch.setattr(glibc, "_EQUIVALENT", other)
    lower_glibc_requirements(tmp_path)
    assert file.read_bytes() == before


def test_other_files_are_ignored(tmp_path: Path) -> None:
    for name, content in {"empty": b"", "text": b"\0GLIBC_2.99\0", "half": b"\x7fELF"}.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "link").symlink_to("absent")
    lower_glibc_requirements(tmp_path)
    assert newest_glibc(tmp_path) == ((2, 0), "")
