"""Tests for `bootstrap.environment.glibc`.

What files ask of the C library is told, and less is asked where it does the same.
"""

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
    """A shared library, compiled and linked on this machine."""
    file = folder / "tried.so"
    command = ["gcc", "-shared", "-fPIC", "-O1", "-x", "c", "-", "-o", str(file), "-lm", *options]
    subprocess.run(command, input=code, text=True, check=True)
    return file


def asked(file: Path) -> dict[str, str]:
    """Functions and the versions in which they are asked for, as binutils tells them."""
    told = subprocess.run(["objdump", "-T", file], capture_output=True, text=True, check=True)
    return {name: version for version, name in re.findall(r"\((GLIBC_\S+)\)\s+(\w+)", told.stdout)}


TWO = "double hypot(double, double); double sqrt(double);"
HYPOT = f"{TWO} double longest(double a, double b) {{ return hypot(a, b) + sqrt(a) * 0; }}"


@needs_tools
def test_the_newest_version_is_told_with_its_file(tmp_path: Path) -> None:
    file = library(tmp_path, HYPOT)
    versions = [tuple(map(int, v[6:].split(".")[:2])) for v in asked(file).values()]
    assert newest_glibc(tmp_path) == (max(versions), "tried.so")


@needs_tools
@pytest.mark.skipif(platform.machine() != "x86_64", reason="older names are known for x86-64")
def test_hypot_is_asked_for_as_every_glibc_has_it_and_computes_the_same(tmp_path: Path) -> None:
    file = library(tmp_path, HYPOT)
    if asked(file)["hypot"] != "GLIBC_2.35":
        pytest.skip("this C library has no newer hypot")
    others = {name: version for name, version in asked(file).items() if name != "hypot"}
    lower_glibc_requirements(tmp_path)
    assert asked(file) == others | {"hypot": "GLIBC_2.2.5"}
    assert newest_glibc(tmp_path)[0] < (2, 35)
    loaded = ctypes.CDLL(str(file))
    loaded.longest.argtypes, loaded.longest.restype = [ctypes.c_double] * 2, ctypes.c_double
    assert loaded.longest(3.0, 4.0) == 5.0


@needs_tools
def test_a_version_that_also_holds_what_is_not_the_same_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = library(tmp_path, HYPOT)
    before = file.read_bytes()
    version = asked(file)["hypot"].encode()
    other = {version: (frozenset({b"another"}), b"GLIBC_2.2.5")}
    monkeypatch.setattr(glibc, "_EQUIVALENT", other)
    lower_glibc_requirements(tmp_path)
    assert file.read_bytes() == before


def test_what_is_no_program_is_passed_over(tmp_path: Path) -> None:
    for name, content in {"empty": b"", "text": b"\0GLIBC_2.99\0", "half": b"\x7fELF"}.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "link").symlink_to("absent")
    lower_glibc_requirements(tmp_path)
    assert newest_glibc(tmp_path) == ((2, 0), "")
