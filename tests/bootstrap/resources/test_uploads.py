"""Tests for `bootstrap.resources.uploads`: versioned keys, the model in the lake, notebooks."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from bootstrap.aws.request import CurrentState, LocalFile, ReadApi, Request
from bootstrap.errors import CloudError
from bootstrap.resources.uploads import VERSION_PLACEHOLDER, upload_requests
from support.aws.cluster_configs import CODE, names, uploads


def keys(folder: Path, more: str = "") -> list[str]:
    requests = upload_requests(names(more), uploads(folder))
    return [one.parameters["Key"] for one in requests if one.operation == "put_object"]


def test_version_changes_with_each_file(tmp_path: Path) -> None:
    version = uploads(tmp_path).version
    assert uploads(tmp_path).version == version
    for more, code in (("", CODE[:1]), ('mode = "serverless"', CODE[1:])):
        expected = [f"pomona/{version}/{name}" for name in ("environment.tar.gz", *code)]
        assert [key for key in keys(tmp_path, more) if key.startswith("pomona/")] == expected
    versions = {version}
    for name in ("environment.tar.gz", *CODE):
        files = uploads(tmp_path)
        (tmp_path / name).write_text("another")
        changed = LocalFile.from_path(tmp_path / name)
        if name in CODE:
            files = dataclasses.replace(files, code={**files.code, name: changed})
        else:
            files = dataclasses.replace(files, environment=changed)
        versions.add(files.version)
    assert len(versions) == 5


def test_model_is_uploaded_into_lake_with_metadata_last(tmp_path: Path) -> None:
    folder = "fresh/lake/models/mobilenet-1"
    assert keys(tmp_path, 'storage.lake = "fresh/lake/"')[-2:] == [
        f"{folder}/model.onnx",
        f"{folder}/model.json",
    ]


def test_missing_environment_has_version_placeholder(tmp_path: Path) -> None:
    files = uploads(tmp_path)
    missing = LocalFile.from_path(tmp_path / "absent.tar.gz")
    files = dataclasses.replace(files, environment=missing)
    assert files.version == VERSION_PLACEHOLDER
    assert files.missing() == [str(tmp_path / "absent.tar.gz")]
    assert missing.summary() == {
        "file": str(tmp_path / "absent.tar.gz"),
        "bytes": "not built yet",
    }


def test_lake_with_other_model_is_rejected(tmp_path: Path) -> None:
    (find_current,) = [
        one.find_current
        for one in upload_requests(names(), uploads(tmp_path))
        if one.name == "model"
    ]

    def lake_with(*models: str) -> ReadApi:
        keys = [f"lake/models/{model}/{file}" for model in models for file in ("model.json", "x")]
        return lambda *_: {"Contents": [{"Key": key} for key in keys]}

    for models in ((), ("mobilenet-1",)):
        assert find_current(lake_with(*models)) == CurrentState(True, {"model.Id": "mobilenet-1"})
    with pytest.raises(CloudError, match=r"contains the model other, and .* would add mobilenet-1"):
        find_current(lake_with("other"))


def test_lake_keeps_its_model_of_another_decoder_revision(tmp_path: Path) -> None:
    current, former = (f"mobilenetv2-224-abc-gap-d{number}-float32" for number in (3, 2))
    files = uploads(tmp_path)
    model = {name.replace("mobilenet-1", current): file for name, file in files.model.items()}
    requests = upload_requests(names(), dataclasses.replace(files, model=model))
    parts = [one for one in requests if one.name == "model" or "/models/" in one.name]

    def lake_with(*models: str) -> ReadApi:
        keys = [{"Key": f"lake/models/{name}/model.json"} for name in models]
        return lambda _, operation, *__: (
            {"Contents": keys} if operation == "list_objects_v2" else None
        )

    found = [one.find_current(lake_with(former)) for one in parts]
    assert found == [
        CurrentState(True, {"model.Id": former}),
        *(CurrentState(one.desired) for one in parts[1:]),
    ]
    assert [one.find_current(lake_with()) for one in parts[1:]] == [None] * (len(parts) - 1)
    assert len(parts) == 3
    other = former.replace("abc", "def")
    with pytest.raises(CloudError, match=f"contains the model {other}"):
        parts[0].find_current(lake_with(other))


def test_notebooks_have_versioned_folder_and_are_not_overwritten(tmp_path: Path) -> None:
    def notebook_requests(content: str, more: str = "") -> list[Request]:
        (tmp_path / "a.ipynb").write_text(content)
        notebooks = {"look/a.ipynb": LocalFile.from_path(tmp_path / "a.ipynb")}
        files = dataclasses.replace(uploads(tmp_path), notebooks=notebooks)
        return [one for one in upload_requests(names(more), files) if "a.ipynb" in one.name]

    (first,), (second,) = notebook_requests("{}"), notebook_requests("{ }")
    for one in (first, second):
        assert re.fullmatch(
            r"jupyter/jovyan/pomona-[0-9a-f]{12}/look/a.ipynb", one.parameters["Key"]
        )
    assert first.parameters["Key"] != second.parameters["Key"]
    edited = first.find_current(lambda *_: {"ContentLength": 1, "Metadata": {"sha256": "changed"}})
    assert edited == CurrentState(first.desired)
    assert notebook_requests("{}", 'release = "emr-spark-8.0.0"') == []  # no JupyterHub
