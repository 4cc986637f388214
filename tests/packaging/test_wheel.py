"""Tests for the wheel and the sdist: they contain every module and file, and the wheel works outside the checkout."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("streaming", "batch_pca", "bootstrap", "pomona")


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the wheel and the sdist, as `make dist` builds them."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT],
        check=True,
        capture_output=True,
        timeout=300,
    )
    return folder


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


@pytest.mark.slow
@pytest.mark.end_to_end
def test_wheel_with_its_dependencies_runs_the_demo_in_an_empty_environment(
    dist: Path, tmp_path: Path
) -> None:
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    # The versions of the lock file; which packages are needed is what the wheel says.
    pins = re.findall(
        r"^[A-Za-z0-9._-]+==[^\\\n]+", (ROOT / "requirements.lock").read_text(), re.MULTILINE
    )
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("\n".join(pins))
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    subprocess.run(
        [
            *(python, "-m", "pip", "install", "--quiet", "--no-compile"),
            *("--constraint", constraints, next(dist.glob("*.whl"))),
        ],
        check=True,
        cwd=tmp_path,
        env=env,
        timeout=540,
    )
    done = subprocess.run(
        [tmp_path / "env" / "bin" / "pomona", "demo", "--weights", "random"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "240 rows in " in done.stdout
    assert (tmp_path / "pomona-demo" / "lake" / "features" / "_delta_log").is_dir()
