"""Promises of what is uploaded: the model is exported once, on this machine, and `plan` does without."""

from __future__ import annotations

from pathlib import Path

import pytest
from cloud_place import WEIGHTS, make_cloud_place
from command_line import forbid_spark
from described import names
from real_model import exported

from pomona.cloud_files import code_files, find_uploads
from streaming.errors import UsageError
from streaming.model_store import find_model


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.slow
def test_the_model_is_exported_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The real one, made once for all tests of a process.
    monkeypatch.setattr("streaming.model_store.export", lambda weights, _: exported(weights))
    description = names('files.weights = "random"').description
    (tmp_path / "environment.tar.gz").write_bytes(b"made before")
    made = find_uploads(description, tmp_path, make=True)
    ids = {name.split("/")[0] for name in made.model}
    found = find_model(f"file:{next(iter(made.model.values())).path.parents[1]}")
    assert found is not None
    assert ids == {found.model_id}
    assert {name.split("/")[1] for name in made.model} == {
        "model.json",
        "model.onnx",
        "model.weights.h5",
    }
    forbid_spark(monkeypatch)  # and another export
    for make in (True, False):
        assert find_uploads(description, tmp_path, make=make) == made


def test_a_plan_exports_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_spark(monkeypatch)
    made = find_uploads(names('files.weights = "random"').description, tmp_path, make=False)
    assert made.model == {}
    assert not (tmp_path / "cache").exists()


def test_the_environment_is_made_where_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(target: Path) -> Path:  # which takes a minute: tests/test_environment.py does it
        target.write_bytes(b"made")
        return target

    make_cloud_place(tmp_path, monkeypatch)
    monkeypatch.setattr("bootstrap.environment.build_environment", build)
    description = names(WEIGHTS + 'files.environment = "nodes.tar.gz"').description
    assert find_uploads(description, tmp_path, make=False).environment.size is None
    assert not (tmp_path / "nodes.tar.gz").exists()
    assert find_uploads(description, tmp_path, make=True).environment.size == 4
    (tmp_path / "nodes.tar.gz").write_bytes(b"kept")
    find_uploads(description, tmp_path, make=True)
    assert (tmp_path / "nodes.tar.gz").read_bytes() == b"kept"


def test_notebooks_are_found_below_their_folder_beside_the_description(tmp_path: Path) -> None:
    description = names('files.notebooks = "books"').description
    with pytest.raises(UsageError, match=r"books: no folder; \[files\] notebooks must name one"):
        find_uploads(description, tmp_path, make=False)
    (tmp_path / "books" / "in").mkdir(parents=True)
    for name in ("books/a.ipynb", "books/in/b.ipynb", "books/c.txt"):
        (tmp_path / name).write_text("{}")
    made = find_uploads(description, tmp_path, make=False)
    assert sorted(made.notebooks) == ["a.ipynb", "in/b.ipynb"]


def test_the_jar_of_the_fence_is_among_the_code() -> None:
    assert code_files()["fenced-log-store.jar"].is_file()
