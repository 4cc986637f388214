"""Tests for the uploads: a version for whatever differs, and the model straight into the lake."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from bootstrap.aws.request import CurrentState, LocalFile, ReadApi, Request
from bootstrap.errors import CloudError
from bootstrap.resources.uploads import VERSION_PLACEHOLDER, upload_requests
from support.cluster_configs import CODE, names, uploads


def keys(folder: Path, more: str = "") -> list[str]:
    found = upload_requests(names(more), uploads(folder))
    return [one.parameters["Key"] for one in found if one.operation == "put_object"]


def test_files_lie_below_a_version_that_changes_with_any_of_them(tmp_path: Path) -> None:
    version = uploads(tmp_path).version
    assert uploads(tmp_path).version == version
    assert keys(tmp_path)[:4] == [
        f"pomona/{version}/{name}" for name in ("environment.tar.gz", *CODE)
    ]
    seen = {version}
    for name in ("environment.tar.gz", *CODE):
        found = uploads(tmp_path)
        (tmp_path / name).write_text("another")
        changed = LocalFile.from_path(tmp_path / name)
        if name in CODE:
            found = dataclasses.replace(found, code={**found.code, name: changed})
        else:
            found = dataclasses.replace(found, environment=changed)
        seen.add(found.version)
    assert len(seen) == 5


def test_the_model_goes_into_the_lake_and_what_makes_it_one_comes_last(tmp_path: Path) -> None:
    folder = "fresh/lake/models/mobilenet-1"
    assert keys(tmp_path, 'storage.lake = "fresh/lake/"')[-2:] == [
        f"{folder}/model.onnx",
        f"{folder}/model.json",
    ]


def test_what_is_not_built_yet_has_no_version(tmp_path: Path) -> None:
    found = uploads(tmp_path)
    missing = LocalFile.from_path(tmp_path / "nowhere.tar.gz")
    found = dataclasses.replace(found, environment=missing)
    assert found.version == VERSION_PLACEHOLDER
    assert found.missing() == [str(tmp_path / "nowhere.tar.gz")]
    assert missing.summary() == {
        "file": str(tmp_path / "nowhere.tar.gz"),
        "bytes": "not built yet",
    }


def test_a_lake_with_another_model_is_left_alone(tmp_path: Path) -> None:
    (look,) = [
        one.find_current
        for one in upload_requests(names(), uploads(tmp_path))
        if one.name == "model"
    ]

    def holding(*models: str) -> ReadApi:
        keys = [f"lake/models/{model}/{file}" for model in models for file in ("model.json", "x")]
        return lambda *_: {"Contents": [{"Key": key} for key in keys]}

    for there in ((), ("mobilenet-1",)):
        assert look(holding(*there)) == CurrentState(True, {"model.Id": "mobilenet-1"})
    with pytest.raises(CloudError, match=r"contains the model other, and .* would add mobilenet-1"):
        look(holding("other"))


def test_notebooks_get_a_folder_a_version_and_are_never_overwritten(tmp_path: Path) -> None:
    def told(content: str, more: str = "") -> list[Request]:
        (tmp_path / "a.ipynb").write_text(content)
        found = {"look/a.ipynb": LocalFile.from_path(tmp_path / "a.ipynb")}
        made = upload_requests(names(more), dataclasses.replace(uploads(tmp_path), notebooks=found))
        return [one for one in made if "a.ipynb" in one.name]

    (first,), (second,) = told("{}"), told("{ }")
    for one in (first, second):
        assert re.fullmatch(
            r"jupyter/jovyan/pomona-[0-9a-f]{12}/look/a.ipynb", one.parameters["Key"]
        )
    assert first.parameters["Key"] != second.parameters["Key"]
    standing = first.find_current(
        lambda *_: {"ContentLength": 1, "Metadata": {"sha256": "changed"}}
    )
    assert standing == CurrentState(first.desired)
    assert told("{}", 'release = "emr-spark-8.0.0"') == []  # which has no JupyterHub
