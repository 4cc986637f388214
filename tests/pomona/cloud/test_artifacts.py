"""Tests for the files to upload: the environment archive, the code, the exported model and the notebooks."""

from __future__ import annotations

import hashlib
import io
import tarfile
from importlib.metadata import version
from pathlib import Path

import pytest

from bootstrap.errors import CloudError
from bootstrap.resources.uploads import VERSION_PLACEHOLDER
from pomona.cloud.artifacts import code_files, find_uploads
from streaming.errors import ModelError, UsageError
from streaming.model.store import find_model
from support.aws.cluster_configs import names
from support.aws.workspace import WEIGHTS, make_cloud_workspace, write_environment
from support.lakes.real_model import exported
from support.processes.cli import forbid_spark


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.slow
def test_model_is_exported_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The real export, created once for all tests of a process.
    monkeypatch.setattr("streaming.model.store.export", lambda weights, *_: exported(weights))
    config = names('files.weights = "random"').config
    write_environment(tmp_path / "environment.tar.gz")
    uploads = find_uploads(config, tmp_path, build=True)
    ids = {name.split("/")[0] for name in uploads.model}
    found = find_model(f"file:{next(iter(uploads.model.values())).path.parents[1]}")
    assert found is not None
    assert ids == {found.model_id}
    assert {name.split("/")[1] for name in uploads.model} == {
        "model.json",
        "model.onnx",
        "model.weights.h5",
    }
    forbid_spark(monkeypatch)  # fails on another export
    for build in (True, False):
        assert find_uploads(config, tmp_path, build=build) == uploads


def test_plan_does_not_export_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_spark(monkeypatch)
    uploads = find_uploads(names('files.weights = "random"').config, tmp_path, build=False)
    assert uploads.model == {}
    assert not (tmp_path / "cache").exists()


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Paths of built archives; tests/bootstrap/environment/test_archive.py tests the build, which takes a minute."""
    archives: list[Path] = []

    def build(target: Path) -> Path:
        archives.append(target)
        write_environment(target)
        return target

    make_cloud_workspace(tmp_path, monkeypatch)
    monkeypatch.setattr("bootstrap.environment.archive.build_environment", build)
    return archives


def test_missing_environment_is_built_once(tmp_path: Path, built: list[Path]) -> None:
    config = names(WEIGHTS + 'files.environment = "nodes.tar.gz"').config
    assert find_uploads(config, tmp_path, build=False).environment.size is None
    assert not (tmp_path / "nodes.tar.gz").exists()
    for _ in range(2):
        environment = find_uploads(config, tmp_path, build=True).environment
        assert environment.size == (tmp_path / "nodes.tar.gz").stat().st_size
    assert built == [tmp_path / "nodes.tar.gz"]


@pytest.mark.parametrize(
    "change", [("sources ", "sources 0"), (f"boto3=={version('boto3')}", "boto3==1.0")]
)
def test_outdated_environment_is_built_again(
    change: tuple[str, str], tmp_path: Path, built: list[Path]
) -> None:
    archive, config = tmp_path / "environment.tar.gz", names(WEIGHTS).config
    write_environment(archive, change)
    stale = archive.read_bytes()
    planned = find_uploads(config, tmp_path, build=False)
    assert (planned.environment.size, planned.version) == (None, VERSION_PLACEHOLDER)
    assert archive.read_bytes() == stale
    uploads = find_uploads(config, tmp_path, build=True).environment
    assert uploads.sha256 == hashlib.sha256(archive.read_bytes()).hexdigest()
    assert archive.read_bytes() != stale
    assert built == [archive]


def test_environment_for_graviton_is_not_built_on_another_machine(
    tmp_path: Path, built: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "environment.tar.gz"
    config = names(WEIGHTS + 'instances.type = "m7g.xlarge"').config
    kept = archive.read_bytes()
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert find_uploads(config, tmp_path, build=False).environment.size is None
    message = (
        r"environment\.tar\.gz: .* not for aarch64, .*; this machine is x86_64: build it with "
        r"`docker build --platform=linux/arm64 .*`, and name arm64/environment\.tar\.gz in \[files\]"
    )
    with pytest.raises(CloudError, match=message):
        find_uploads(config, tmp_path, build=True)
    assert (archive.read_bytes(), built) == (kept, [])
    write_environment(archive, ("machine x86_64", "machine aarch64"))
    uploads = find_uploads(config, tmp_path, build=True)
    assert uploads.environment.sha256 == hashlib.sha256(archive.read_bytes()).hexdigest()
    with pytest.raises(CloudError, match="not for aarch64"):
        write_environment(archive, ("machine x86_64", "machine aarch64"), ("sources ", "sources 0"))
        find_uploads(config, tmp_path, build=True)
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    find_uploads(config, tmp_path, build=True)
    assert built == [archive]


def test_environment_with_an_additional_package_is_current(
    tmp_path: Path, built: list[Path]
) -> None:
    archive = tmp_path / "environment.tar.gz"
    write_environment(archive, ("package boto3==", "package for-linux-alone=="))
    kept = archive.read_bytes()
    find_uploads(names(WEIGHTS).config, tmp_path, build=True)
    assert (archive.read_bytes(), built) == (kept, [])


def test_other_file_is_rejected_and_kept(tmp_path: Path, built: list[Path]) -> None:
    archive = tmp_path / "environment.tar.gz"
    write_environment(archive)
    cut, plain = archive.read_bytes()[:40], io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w:gz") as tar:
        entry = tarfile.TarInfo("holiday.txt")
        entry.size = len(b"sun")
        tar.addfile(entry, io.BytesIO(b"sun"))
    for content in (b"", b"mine", cut, plain.getvalue()):
        archive.write_bytes(content)
        for build in (False, True):
            with pytest.raises(
                CloudError, match=r"environment\.tar\.gz: not an environment built by"
            ):
                find_uploads(names(WEIGHTS).config, tmp_path, build=build)
        assert (archive.read_bytes(), built) == (content, [])


def test_missing_weights_error_names_no_option_of_another_command(
    tmp_path: Path,
) -> None:
    config = names('files.weights = "none.h5"').config
    with pytest.raises(ModelError, match=r"none\.h5: weights file not found; give a Ker") as caught:
        find_uploads(config, tmp_path, build=False)
    assert "--" not in str(caught.value)


def test_notebooks_are_found_relative_to_the_configuration(tmp_path: Path) -> None:
    config = names('files.notebooks = "books"').config
    with pytest.raises(
        UsageError, match=r"books: no such folder; correct or remove \[files\] notebooks"
    ):
        find_uploads(config, tmp_path, build=False)
    (tmp_path / "books" / "in").mkdir(parents=True)
    for name in ("books/a.ipynb", "books/in/b.ipynb", "books/c.txt"):
        (tmp_path / name).write_text("{}")
    uploads = find_uploads(config, tmp_path, build=False)
    assert sorted(uploads.notebooks) == ["a.ipynb", "in/b.ipynb"]


def test_code_includes_the_log_store_jar() -> None:
    assert code_files()["fenced-log-store.jar"].is_file()
