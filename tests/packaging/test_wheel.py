"""Tests for the wheel and the sdist: they contain every file. `tests/pomona/demo/test_run.py` runs the wheel."""

from __future__ import annotations

import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from setuptools import find_namespace_packages

from support.processes.wheel_environment import ROOT, build_distributions

PACKAGES = ("streaming", "batch_pca", "bootstrap", "pomona")


@pytest.fixture(scope="module")
def dist() -> Path:
    return build_distributions()


def package_files() -> set[str]:
    """Return the source files of all packages, without what Python generates."""
    return {
        file.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for file in (ROOT / package).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }


@pytest.mark.slow
def test_wheel_contains_every_file_of_every_subpackage(dist: Path) -> None:
    with zipfile.ZipFile(next(dist.glob("*.whl"))) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert names == package_files()


@pytest.mark.slow
def test_sdist_contains_every_file_of_every_subpackage(dist: Path) -> None:
    with tarfile.open(next(dist.glob("*.tar.gz"))) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert package_files() <= names


def test_other_folders_of_the_checkout_are_not_packages(tmp_path: Path) -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    for name in ("pomona/cloud", "pomona-demo/lake", "pomona-demo-2", "streaming-old"):
        (tmp_path / name).mkdir(parents=True)
    found = find_namespace_packages(str(tmp_path), include=settings["packages"]["find"]["include"])
    assert sorted(found) == ["pomona", "pomona.cloud"]
