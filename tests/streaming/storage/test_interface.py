"""Tests for `streaming.storage.interface` and `streaming.storage.local`: URIs, listings, and atomic writes."""

from __future__ import annotations

import os
import random
import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from streaming.errors import LakeError, UsageError
from streaming.lake.image_index import ImageIndex
from streaming.storage.interface import (
    StoredFile,
    from_spark,
    is_s3,
    join_name,
    local_path,
    local_uri,
    normalize,
    to_spark,
)
from streaming.storage.local import LocalStorage
from streaming.storage.open import open_storage

# Names with special characters of URIs, globs or shells.
NAMES = ("My fruit", "été", "50% off", "a%20b", "a+b", "a#b", "a?b", "[x] {a} *", "10:30", "a\\b")


@pytest.mark.parametrize(
    ("location", "uri"),
    [
        ("/data/My fruit/", "file:/data/My fruit"),
        ("/data/a/../b//c", "file:/data/b/c"),
        ("//data/fruits", "file:/data/fruits"),
        ("///data", "file:/data"),
        ("//", "file:/"),
        ("file:////data/fruits", "file:/data/fruits"),
        ("file://localhost/data", "file:/data"),
        ("file:///caf%E9/50%25", r"file:/caf\xe9/50%"),
        ("file:///a%5Cxe9", r"file:/a\x5cxe9"),
        ("/data/caf\udce9", r"file:/data/caf\xe9"),
        (r"/data/caf\xe9", r"file:/data/caf\xe9"),
        (r"file:/data/caf\x5cxe9", r"file:/data/caf\x5cxe9"),
        ("s3://bucket//fruits", "s3a://bucket//fruits"),
        (r"s3://bucket/caf\xe9", r"s3a://bucket/caf\xe9"),
        ("file:///data/My%20fruit", "file:/data/My fruit"),
        ("file:/data/My fruit", "file:/data/My fruit"),
        ("s3://bucket/My fruit/", "s3a://bucket/My fruit"),
        ("S3A://bucket", "s3a://bucket"),
        ("s3a://bucket/50% off/a+b", "s3a://bucket/50% off/a+b"),
    ],
)
def test_normalize_returns_uri_as_spark_writes_it(location: str, uri: str) -> None:
    assert normalize(location) == uri


def test_normalize_makes_folders_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/anna")
    assert normalize("fruits") == f"file:{tmp_path}/fruits"
    assert normalize("~/fruits") == "file:/home/anna/fruits"
    assert normalize(Path("~/fruits")) == "file:/home/anna/fruits"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("root", ["/data", "s3://bucket"])
def test_normalize_is_idempotent(root: str, name: str) -> None:
    uri = normalize(f"{root}/{name}")
    assert uri.endswith(f"/{name}")
    assert normalize(uri) == uri


@pytest.mark.parametrize("name", NAMES)
def test_normalize_decodes_percent_encoded_file_uri(name: str) -> None:
    assert local_path(normalize(Path("/data", name).as_uri())) == Path("/data", name)


def test_location_with_a_port_is_rejected_with_the_remedy() -> None:
    with pytest.raises(UsageError, match=r"^s3://bucket:9000/fruits: .* set AWS_ENDPOINT_URL"):
        normalize("s3://bucket:9000/fruits")


@pytest.mark.parametrize("location", ["hdfs://host/data", "gs://bucket/x", "s3://", "s3a:///key"])
def test_unsupported_location_is_rejected_in_one_line(location: str) -> None:
    with pytest.raises(UsageError) as caught:
        normalize(location)
    assert str(caught.value).startswith(location)
    assert "\n" not in str(caught.value)


def test_is_s3_distinguishes_buckets_from_folders() -> None:
    assert is_s3(normalize("s3://bucket/x"))
    assert not is_s3(normalize("/s3a/x"))
    assert isinstance(open_storage("file:/x"), LocalStorage)


@pytest.mark.parametrize("name", NAMES)
def test_listing_has_uri_length_and_time_in_milliseconds(tmp_path: Path, name: str) -> None:
    file = tmp_path / name / f"{name}.jpg"
    file.parent.mkdir()
    file.write_bytes(b"12345")
    os.utime(file, ns=(0, 1_700_000_000_123_999_999))
    expected = StoredFile(f"file:{file}", 5, 1_700_000_000_123)
    storage = open_storage(expected.path)
    assert list(storage.list(f"file:{tmp_path}")) == [expected]
    assert storage.stat(expected.path) == expected
    assert storage.read(expected.path, None) == b"12345"


@pytest.mark.parametrize("seconds", [-(2**62), -(10**10), 254_402_300_800, 2**62])
def test_any_modification_time_can_be_stored(seconds: int) -> None:
    file = StoredFile("file:/x/a.jpg", 1, seconds * 1000)
    assert file == StoredFile("file:/x/a.jpg", 1, seconds * 1001)
    at = datetime.fromtimestamp(file.modified_ms / 1000, UTC)
    assert at.year == (1900 if seconds < 0 else 9999)
    for hours in (-14, 14):
        at.astimezone(timezone(timedelta(hours=hours)))
    index = ImageIndex(*(np.empty(0, np.uint64) for _ in range(2)))
    assert list(index.new_or_changed([file])) == [file]


def test_times_on_s3_are_whole_seconds() -> None:
    listed = StoredFile("s3a://fruits/a.jpg", 1, 1_700_000_000_123)  # MinIO
    assert listed == StoredFile("s3a://fruits/a.jpg", 1, 1_700_000_000_000)
    assert StoredFile("file:/a.jpg", 1, 1_700_000_000_123).modified_ms == 1_700_000_000_123


@pytest.mark.parametrize("place", ["folder", "s3"])
def test_listing_starts_after_a_name(
    request: pytest.FixtureRequest, tmp_path: Path, place: str
) -> None:
    root = f"file:{tmp_path}/log"
    if place == "s3":
        root = f"s3a://{request.getfixturevalue('bucket')}/log"
    storage = open_storage(root)
    for name in ("01", "02", "02.json", "03", "_x/y"):
        storage.write(f"{root}/{name}", b"1")
    listed = storage.list(root, start_after="02")
    names = sorted(file.path.removeprefix(f"{root}/") for file in listed)
    assert names == ["02.json", "03", "_x/y"]


def test_listing_of_missing_folder_is_empty(tmp_path: Path) -> None:
    assert list(LocalStorage().list(f"file:{tmp_path}/none")) == []


@pytest.mark.parametrize(
    "name",
    [
        "..",
        ".",
        "",
        "../x",
        "a/b",
        "/etc",
        "a\\b",
        "a\0",
        "a\n",
        ".hidden",
        "-a",
        "é",
        "a b",
        "x" * 201,
        None,
        7,
        ["a"],
        "file:/etc",
        "a/../../b",
        "%2e%2e",
        "~",
    ],
)
def test_name_from_data_that_may_lead_elsewhere_is_rejected(name: object) -> None:
    with pytest.raises(LakeError, match="is not a valid name") as caught:
        join_name("file:/lake/reduced", name, "refit")
    assert "\n" not in str(caught.value)


def test_name_from_data_is_one_entry_of_the_folder() -> None:
    name = "20260101T000000Z-v12-0a1b"
    assert join_name("file:/lake/reduced", name, "refit") == f"file:/lake/reduced/{name}"


def test_pipe_is_not_listed_and_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "a.jpg").write_bytes(b"1")
    root = f"file:{tmp_path}"
    assert [file.path for file in LocalStorage().list(root)] == [f"{root}/a.jpg"]
    with pytest.raises(FileNotFoundError, match="not a regular file"):
        LocalStorage().stat(f"{root}/pipe.jpg")


def test_links_are_followed_and_broken_links_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.jpg").write_bytes(b"123")
    source = tmp_path / "source"
    source.mkdir()
    (source / "folder").symlink_to(tmp_path / "elsewhere")
    (source / "broken.jpg").symlink_to(tmp_path / "none.jpg")
    (source / "b.jpg").symlink_to(tmp_path / "elsewhere" / "a.jpg")
    found = {
        file.path: file.length
        for file in LocalStorage().list(f"file:{source}", follow_outside=True)
    }
    assert found == {f"file:{source}/folder/a.jpg": 3, f"file:{source}/b.jpg": 3}


def test_missing_and_unreadable_files_raise_different_errors(tmp_path: Path) -> None:
    storage = LocalStorage()
    with pytest.raises(FileNotFoundError):
        storage.read(f"file:{tmp_path}/missing.jpg", None)
    with pytest.raises(FileNotFoundError):
        storage.stat(f"file:{tmp_path}/missing.jpg")
    with pytest.raises(FileNotFoundError, match="is not a regular file"):
        storage.read(f"file:{tmp_path}", None)


def test_write_is_atomic_and_leaves_no_temporary_file(tmp_path: Path) -> None:
    path = f"file:{tmp_path}/new folder/model.json"
    storage = LocalStorage()
    old, new = b"o" * 2_000_000, b"n" * 2_000_000
    storage.write(path, old)
    seen: set[bytes] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            seen.add(storage.read(path, None))

    reader = threading.Thread(target=watch)
    reader.start()
    for content in [new, old] * 10:
        storage.write(path, content)
    done.set()
    reader.join()
    assert seen <= {old, new}
    assert os.listdir(tmp_path / "new folder") == ["model.json"]


def test_stream_is_written_completely_or_not_at_all(tmp_path: Path) -> None:
    storage, path = LocalStorage(), f"file:{tmp_path}/reduced/1/reduced.csv"
    storage.upload_stream(lambda: [b"1,2\n", b"", b"3,4\n"], path, 8)
    assert storage.read(path, None) == b"1,2\n3,4\n"

    def fail() -> Iterator[bytes]:
        yield b"5,6\n"
        raise ValueError("piece 2")

    with pytest.raises(ValueError, match="piece 2"):
        storage.upload_stream(fail, path, 8)
    assert storage.read(path, None) == b"1,2\n3,4\n"
    assert os.listdir(tmp_path / "reduced/1") == ["reduced.csv"]


def test_stream_replaces_link(tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"untouched")
    (tmp_path / "link").symlink_to(tmp_path / "victim")
    LocalStorage().upload_stream(lambda: [b"1,2\n"], f"file:{tmp_path}/link", 4)
    assert (tmp_path / "victim").read_bytes() == b"untouched"
    assert (tmp_path / "link").read_bytes() == b"1,2\n"


def test_delete_tree_keeps_siblings_and_is_idempotent(tmp_path: Path) -> None:
    storage = LocalStorage()
    for name in ("1/a/b", "1/c", "10/d"):
        storage.write(f"file:{tmp_path}/{name}", b"")
    for _ in range(2):
        storage.delete_tree(f"file:{tmp_path}/1")
        assert [file.path for file in storage.list(f"file:{tmp_path}")] == [f"file:{tmp_path}/10/d"]


def test_move_tree(tmp_path: Path) -> None:
    storage = LocalStorage()
    storage.write(f"file:{tmp_path}/1/a/b", b"c")
    storage.move_tree(f"file:{tmp_path}/1", f"file:{tmp_path}/2")
    assert [file.path for file in storage.list(f"file:{tmp_path}")] == [f"file:{tmp_path}/2/a/b"]


@pytest.mark.parametrize(
    ("location", "remedy"),
    [
        ("", "write a folder"),
        ("file://data/fruits", "three slashes"),
        ("file://[x/a", "write file:///"),
        ("ab:cd", "write ./"),
        ("s3://bucket/caf\udce9", "not valid UTF-8"),
        ("/data/\ud800", "not valid Unicode"),
    ],
)
def test_normalize_rejects_location_that_names_nothing(location: str, remedy: str) -> None:
    with pytest.raises(UsageError, match=re.escape(remedy)):
        normalize(location)


def test_file_names_of_all_bytes_round_trip(tmp_path: Path) -> None:
    rng = random.Random(0)
    pieces = [
        b"\\",
        b"x",
        b"5c",
        b"e9",
        b"\xe9",
        b"\xc3\xa9",
        b"\xc3",
        b"\xed\xa0\x80",
        b"a",
        b"\n",
    ]
    names = {b"".join(rng.choices(pieces, k=rng.randint(1, 6))) for _ in range(2000)}
    for name in names:
        with open(os.path.join(os.fsencode(tmp_path), name), "wb"):
            pass
    listed = [file.path for file in LocalStorage().list(local_uri(str(tmp_path)))]
    assert len(set(listed)) == len(names)
    for path in listed:
        assert path.encode().decode() == path
        assert normalize(path) == path
    opened = {os.fsencode(local_path(path).name) for path in listed}
    assert opened == names


def test_uri_of_valid_name_is_the_name() -> None:
    for name in ("a\nb", "e\u0301", "\U0001f34e", "C:\\new", "a\\xyz", "\\x41", "%41", "\ufffd"):
        assert local_uri(f"/data/{name}") == f"file:/data/{name}"
        assert from_spark(f"file:/data/{name}") == to_spark(f"file:/data/{name}")
    assert from_spark(r"file:/data/a\xe9") == r"file:/data/a\x5cxe9"
    assert to_spark(r"file:/data/a\x5cxe9") == r"file:/data/a\xe9"
