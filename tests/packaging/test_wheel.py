"""Tests for the wheel and the sdist: they contain every module and file, and the wheel works outside the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections import Counter
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

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


def required_packages(site: Path) -> list[Distribution]:
    """Return the installed distributions that Pomona in a folder requires, directly or indirectly."""
    found: dict[str, Distribution] = {}
    (wheel,) = distributions(name="pomona", path=[str(site)])
    pending = list(wheel.requires or ())
    while pending:
        requirement = Requirement(pending.pop())
        needed = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if needed and canonicalize_name(requirement.name) not in found:
            package = distribution(requirement.name)
            found[canonicalize_name(requirement.name)] = package
            pending += package.requires or ()
    return list(found.values())


def link_packages(packages: list[Distribution], site: Path) -> None:
    """Link the files of distributions into another environment, and no file of other distributions."""
    # Each distribution once: every use of `files` and `name` parses the metadata again.
    owners = Counter(first for package in distributions() for first in first_parts(package))
    for package in packages:
        for first, files in first_parts(package).items():
            # A folder of one distribution is linked as a whole, with what Python has compiled.
            for file in files if owners[first] > 1 else [Path(first)]:
                target = site / file
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(str(package.locate_file(file)))


def first_parts(package: Distribution) -> dict[str, list[Path]]:
    """Return the files of a distribution below `site-packages` by the first part of their paths."""
    files: dict[str, list[Path]] = {}
    for file in package.files or ():
        if file.parts[0] not in ("..", "__pycache__"):
            files.setdefault(file.parts[0], []).append(Path(file))
    return files


@pytest.mark.slow
@pytest.mark.end_to_end
def test_wheel_with_its_dependencies_runs_the_demo_in_another_environment(
    dist: Path, tmp_path: Path
) -> None:
    """The dependencies are those that the wheel names, from this environment: nothing is downloaded."""
    venv.create(tmp_path / "env")
    python = tmp_path / "env" / "bin" / "python"
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}

    def pip(*args: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pip", "--python", str(python), *map(str, args)]
        return subprocess.run(
            command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=300
        )

    installed = pip("install", "--no-index", "--no-deps", next(dist.glob("*.whl")))
    assert installed.returncode == 0, installed.stderr
    (site,) = (tmp_path / "env" / "lib").glob("*/site-packages")
    assert "pyspark" in pip("check").stdout  # required, and not there yet
    link_packages(required_packages(site), site)
    checked = pip("check")
    assert checked.returncode == 0, checked.stdout
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
    absent = subprocess.run([python, "-c", "import pytest"], env=env, capture_output=True)
    assert absent.returncode == 1
