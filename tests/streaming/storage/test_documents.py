"""Tests for `streaming.storage.documents`, and for every small document that is read with it.

Documents of unexpected shapes are generated from a seed: each reader returns a value or raises one clear line.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from batch_pca.refits.folder import create_folder, find_abandoned
from streaming.delta.log import parse_metadata, version_from_commit_info
from streaming.errors import LakeError, PomonaError
from streaming.lake.format_version import read_format
from streaming.lake.layout import Lake
from streaming.lake.tags import find_tag
from streaming.lease.acquire import lease_owner
from streaming.maintenance.requests import Request, pending_requests, poll_result
from streaming.model.store import find_model
from streaming.sources.selection import read_selection
from streaming.storage.documents import (
    InvalidDocumentError,
    Optional,
    Values,
    parse_document,
    read_document,
)

SOURCE = "file:/photos"
SECRET = "hunter2"
VALUES = [None, True, 0, -1, 2**63, -(2**70), 1.5, "", SECRET, "\ud800", "\x1b[31m\n", [], [SECRET]]
VALUES += [{}, {SECRET: SECRET}, [[[]]], {"a": {"b": [None]}}, "../../x", "2026-01-01", 10**400]


def shapes(valid: dict[str, Any]) -> Iterator[bytes]:
    """Yield contents that differ from a valid document."""
    yield from (b"", b" ", b"{", b"[1", b"nul", b"\xff\xfe", b"\x80abc", b"{} {}", b"'a'", b"\0")
    yield from (
        b"null",
        b"true",
        b"[]",
        b"[1]",
        b"7",
        b'"a"',
        b"{}",
        b"NaN",
        b"-Infinity",
        b"1e999",
    )
    yield b"[" * 10**6
    yield b"[" * 10**6 + b"]" * 10**6
    yield b'{"a":' * 10**5 + b"1" + b"}" * 10**5
    yield b"9" * 10**5
    text = json.dumps(valid)
    yield b"\xef\xbb\xbf" + text.encode()
    yield text.encode("utf-16")
    yield (text[:-1] + "," + text[1:]).encode()  # each key twice
    yield text.encode()[:-1]
    for key in valid:
        yield json.dumps({name: value for name, value in valid.items() if name != key}).encode()
        for value in VALUES:
            yield json.dumps({**valid, key: value}).encode()
        for number in ("NaN", "Infinity", "1e999", "9" * 5000, "[" * 10**5):
            yield (
                json.dumps({**valid, key: 0}).replace(f'"{key}": 0', f'"{key}": {number}').encode()
            )
    rng = random.Random(7)
    for _ in range(100):
        content = bytearray(text.encode())
        for _ in range(rng.randint(1, 4)):
            content[rng.randrange(len(content))] = rng.randrange(256)
        yield bytes(content)


SELECTION = {"include": [], "exclude": ["a"], "default_excludes": True, "follow_links": False}
MODEL = {
    **dict.fromkeys(("architecture", "weights", "weights_sha256", "layer", "precision"), "a"),
    **dict.fromkeys(("onnx_sha256", "keras_sha256", "created_at"), "a"),
    **{"model_id": "m", "width": 8, "input_size": 224, "divisor": 127.5, "offset": -1},
    **{"decoder_revision": 3, "versions": {"keras": "3"}},
}
OWNER = {"host": "h", "pid": 7, "since": "2026-01-01", "id": "a"}
READERS: dict[str, tuple[str, dict[str, Any], Callable[[Lake], object]]] = {
    "format": ("lake.json", {"format": 5, "pomona": "0.1"}, lambda lake: read_format(lake.root)),
    "tag": (
        "tags/march.json",
        {"version": 1, "committed": "2026-01-01", "created_at": "2026-01-01T00:00:00Z", "id": "a"},
        lambda lake: find_tag(lake, "march"),
    ),
    "sources": (
        "sources.json",
        {SOURCE: SELECTION},
        lambda lake: read_selection(lake.sources, SOURCE),
    ),
    "selection": ("sources.json", SELECTION, lambda lake: read_selection(lake.sources, SOURCE)),
    "marker": (
        "reduced/r/_unpublished.json",
        {"host": "h", "pid": 7, "at": "2026-01-01T00:00:00+00:00"},
        find_abandoned,
    ),
    "request": ("requests/1.json", {"kind": "stop", "arguments": {}}, pending_requests),
    "model": ("models/m/model.json", MODEL, lambda lake: find_model(lake.models)),
    "lease": ("lease.json", OWNER, lease_owner),
    "result": (
        "requests/answers/1.json",
        {"features": [], "quarantine": ["a"], "unknown": [], "existing": []},
        lambda lake: poll_result(lake, Request("forget", {}, "1")),
    ),
    "error": (
        "requests/answers/1.json",
        {"error": "no such image", "error_type": "LakeError"},
        lambda lake: poll_result(lake, Request("count", {}, "1")),
    ),
}


@pytest.mark.parametrize("name", READERS)
def test_document_of_unexpected_shape_is_one_line_that_names_the_file(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file_name, valid, read = READERS[name]
    lake, file = Lake.at(str(tmp_path / "lake")), tmp_path / "lake" / file_name
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(valid))
    rejected = 0
    for content in shapes({SOURCE: valid} if name == "selection" else valid):
        file.write_bytes(content)
        caplog.clear()
        try:
            read(lake)
            messages = caplog.messages
        except PomonaError as error:
            messages = [str(error)]
        rejected += bool(messages)
        for message in messages:
            assert "\n" not in message
            assert len(message) < 1000
            if name not in ("error", "model"):  # these name the stream's error, and a model id
                assert SECRET not in message
                assert str(file) in message
    assert rejected > 50 or name == "lease"  # a lease that is being written is not an error


def test_pid_that_addresses_a_process_group_is_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake.at(str(tmp_path))
    with create_folder(lake, "r") as folder:
        owner = json.loads(folder.read("_unpublished.json"))
    monkeypatch.setattr("os.kill", lambda pid, signal: pytest.fail(f"kill {pid}"))
    for pid in (0, -1, -7, 2**62):
        if pid == 2**62:
            monkeypatch.undo()
        folder.write("_unpublished.json", json.dumps(owner | {"pid": pid}).encode())
        assert find_abandoned(lake) == []


@pytest.mark.parametrize("error_type", ["__name__", "annotations", "Exception", "type", "", "os"])
def test_error_type_in_result_names_no_other_object(tmp_path: Path, error_type: str) -> None:
    lake = Lake.at(str(tmp_path))
    file = tmp_path / "requests" / "answers" / "1.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"error": "failed", "error_type": error_type}))
    with pytest.raises(PomonaError, match=r"^failed$"):
        poll_result(lake, Request("retry", {}, "1"))


def test_commit_information_of_unexpected_shape_is_ignored() -> None:
    for content in shapes({"source": "file:/photos", "images": 3}):
        assert isinstance(parse_metadata(content.decode("utf-8", "replace")), dict)
    for value in VALUES:
        for info in (
            {"operation": value},
            {"operation": "MERGE", "operationMetrics": value},
            {"operation": "WRITE", "operationMetrics": {"numOutputRows": value}},
            {"userMetadata": value},
        ):
            assert version_from_commit_info(1, 0, info).number == 1
    assert version_from_commit_info(1, 0, {"operationMetrics": {"numOutputRows": "²"}}).added == 0


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'{"a": 1, "a": 2}', "a key is duplicated"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"a": 1e999}', "a is not an integer"),
        (b'{"a": 9223372036854775808}', "a is not an integer"),
        (b'{"a": true}', "a is not an integer"),
        (b"{}", "a is missing"),
        (b'{"a": 1, "b": ["x", 2]}', "an item of b is not a string"),
        (b'{"a": 1, "c": {"x": "y"}}', "a value of c is not a number"),
        (b"[]", "it is not an object"),
        (b"\xff", "it is not UTF-8"),
        (b'{"a"', "it is not JSON: .* in line 1"),
        (b"[" * 10**6, "it is nested too deeply"),
        (b'{"a": ' + b"9" * 5000 + b"}", "it is not JSON: a number is too long"),
        (b'{"a": 1, "d": "\\ud800"}', "d is not a string"),
    ],
)
def test_problem_is_described_without_content(tmp_path: Path, content: bytes, problem: str) -> None:
    schema = {"a": int, "b": Optional([str]), "c": Optional(Values(float)), "d": Optional(str)}
    with pytest.raises(InvalidDocumentError, match=f"^{problem}") as caught:
        parse_document(content, schema)
    (tmp_path / "a.json").write_bytes(content)
    path = f"file:{tmp_path}/a.json"
    with pytest.raises(LakeError) as raised:
        read_document(path, f"file:{tmp_path}", schema, "delete it")
    assert str(raised.value) == f"{path}: broken ({caught.value}): delete it"


def test_valid_document_is_returned_with_keys_of_later_versions() -> None:
    content = '\ufeff{"a": 1, "b": ["é"], "later": [null]}'.encode()
    assert parse_document(content, {"a": float, "b": [str]}) == json.loads(
        content.decode("utf-8-sig")
    )
