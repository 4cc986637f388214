"""Tests for `streaming.sources.arrivals`: the manifests that the stream reads."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from streaming.sources import arrivals
from streaming.sources.arrivals import Arrivals
from streaming.sources.listing import Source
from streaming.sources.selection import Selection
from streaming.storage.interface import StoredFile, local_uri
from support.lakes.small_lakes import jpeg, put, put_all


class Stream:
    """Reads the manifests as Spark does: the oldest first, each once."""

    def __init__(self, tmp_path: Path, selection: Selection | None = None) -> None:
        self.root, self.folder = tmp_path / "images", tmp_path / "lake" / "arrivals"
        self.root.mkdir(exist_ok=True)
        self.read = set[str]()
        self.arrivals = Arrivals(
            Source(local_uri(str(self.root)), selection or Selection()),
            local_uri(str(self.folder)),
            max_files=3,
        )

    def start(self) -> None:
        listed = self.arrivals._select(self.arrivals.list_all())
        self.arrivals.add(sorted(listed, key=lambda file: file.path))
        self.arrivals.prepare()

    @property
    def manifests(self) -> list[Path]:
        found = sorted(self.folder.glob("[!.]*"), key=lambda file: file.stat().st_mtime_ns)
        return [file for file in found if file.name not in self.read]

    def next(self) -> list[StoredFile]:
        """Read one manifest."""
        first, *_ = self.manifests
        self.read.add(first.name)
        lines = first.read_text().splitlines()
        return self.arrivals.deliver([SimpleNamespace(**json.loads(line)) for line in lines])

    def next_names(self) -> list[str]:
        return [file.path.removeprefix(f"{local_uri(str(self.root))}/") for file in self.next()]


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def stream(tmp_path: Path) -> Stream:
    return Stream(tmp_path)


def test_first_files_are_delivered_in_their_order(stream: Stream) -> None:
    put_all(stream.root, {f"Fig/{number}.jpg": jpeg() for number in range(7)})
    stream.start()
    assert len({file.stat().st_mtime_ns // 1_000_000 for file in stream.manifests}) == 3
    assert stream.arrivals.outstanding
    delivered = [stream.next_names() for _ in range(3)]
    assert delivered == [[f"Fig/{n}.jpg" for n in part] for part in ((0, 1, 2), (3, 4, 5), (6,))]
    assert stream.arrivals.outstanding
    stream.arrivals.remove_delivered()
    assert not stream.arrivals.outstanding


def test_files_up_to_a_position_are_committed_while_others_arrive(stream: Stream) -> None:
    put_all(stream.root, {f"{number}.jpg": jpeg() for number in range(4)})
    stream.start()
    position = stream.arrivals.position
    committed = []
    for number in range(4, 8):  # an image per micro-batch: there is always one that waits
        stream.next()
        put(stream.root / f"{number}.jpg", jpeg())
        stream.arrivals.add(stream.arrivals._source.new_images(stream.arrivals._changes))
        committed.append(stream.arrivals.has_committed(position))
        stream.arrivals.remove_delivered()
        stream.arrivals.prepare()
    assert committed == [False, False, True, True]
    assert stream.arrivals.outstanding
    assert not stream.arrivals.has_committed(stream.arrivals.position)


def test_manifest_without_commit_is_delivered_again_to_another_query(stream: Stream) -> None:
    put_all(stream.root, {f"Fig/{number}.jpg": jpeg() for number in range(4)})
    stream.start()
    stream.next()
    stream.arrivals.remove_delivered()
    assert stream.next_names() == ["Fig/3.jpg"]  # and its micro-batch is interrupted
    stream.read.clear()
    stream.arrivals.prepare()
    assert stream.next_names() == ["Fig/3.jpg"]


def test_unusual_names_are_delivered_unchanged(stream: Stream) -> None:
    names = ["[x] {a}/a\nb.jpg", "\u2028/caf\udce9.jpg", 'q"\\x41/\\xe9.jpg']
    for name in names:
        (stream.root / name).parent.mkdir(exist_ok=True)
        (stream.root / name).write_bytes(jpeg())
    listed = list(stream.arrivals.list_all())
    stream.start()
    assert sorted(stream.next(), key=str) == sorted(listed, key=str)
    assert len(listed) == 3


def test_images_that_arrive_are_selected_and_delivered_once(tmp_path: Path) -> None:
    stream = Stream(tmp_path, Selection(exclude=["thumbnails"]))
    stream.start()
    put_all(
        stream.root,
        dict.fromkeys(
            ("Fig/a.jpg", "Fig/b.txt", ".hidden/c.jpg", "_d.jpg", "thumbnails/e.jpg"), jpeg()
        ),
    )
    with stream.arrivals.watching(0.1):
        wait_for(lambda: stream.manifests)
        assert stream.next_names() == ["Fig/a.jpg"]
        put(stream.root / "Fig" / "f.jpg", jpeg())
        wait_for(lambda: stream.manifests)
        assert stream.next_names() == ["Fig/f.jpg"]
        stream.arrivals.remove_delivered()
    assert not stream.arrivals.outstanding


def test_images_that_arrive_during_a_micro_batch_form_one_manifest(stream: Stream) -> None:
    stream.start()
    with stream.arrivals.watching(0.1):
        put(stream.root / "0.jpg", jpeg())
        wait_for(lambda: stream.manifests)
        for number in (1, 2):
            put(stream.root / f"{number}.jpg", jpeg())
            wait_for(lambda expected=number: len(stream.arrivals._found) == expected)
        assert len(stream.manifests) == 1
        assert stream.next_names() == ["0.jpg"]
        assert sorted(stream.next_names()) == ["1.jpg", "2.jpg"]


def test_image_that_is_replaced_before_its_manifest_is_delivered_once(stream: Stream) -> None:
    other, first, last = (
        StoredFile(f"{stream.arrivals._source.root}/{name}.jpg", 9, time)
        for name, time in (("0", 1), ("1", 1), ("1", 2))
    )
    stream.start()
    stream.arrivals.add([first, other, last])
    stream.arrivals.prepare()
    assert stream.next() == [last, other]


def test_files_of_a_source_that_is_mounted_again_are_not_delivered(stream: Stream) -> None:
    known = put_all(stream.root, {f"Fig/{number}.jpg": jpeg() for number in range(3)})

    def select(files: Iterable[StoredFile]) -> Iterator[StoredFile]:
        return (file for file in files if file not in known)

    stream.arrivals._select = select
    assert sorted(stream.arrivals.list_all(), key=str) == sorted(known, key=str)
    stream.start()
    stream.root.rename(stream.root.with_name("unmounted"))
    shutil.copytree(stream.root.with_name("unmounted"), stream.root)
    new = put(stream.root / "Fig" / "new.jpg", jpeg())
    with stream.arrivals.watching(0.1):
        wait_for(lambda: stream.manifests)
        assert stream.next() == [new]
    assert stream.arrivals.position == 1


def test_files_beyond_the_memory_are_written_ahead(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrivals, "_MAX_FOUND", 4)
    stream.start()
    put_all(stream.root, {f"{number:02}.jpg": jpeg() for number in range(20)})
    most = 0
    write = stream.arrivals._write_manifest

    def write_manifest() -> None:
        nonlocal most
        most = max(most, len(stream.arrivals._found))
        write()

    monkeypatch.setattr(stream.arrivals, "_write_manifest", write_manifest)
    with stream.arrivals.watching(0.1):
        wait_for(lambda: stream.arrivals.outstanding == 20)
        delivered = list[str]()
        while len(delivered) < 20:
            wait_for(lambda: stream.manifests)
            delivered += stream.next_names()
            stream.arrivals.remove_delivered()
    assert sorted(delivered) == [f"{number:02}.jpg" for number in range(20)]
    assert most <= 8


def test_manifests_are_deleted_after_the_commit_and_by_the_next_run(stream: Stream) -> None:
    put_all(stream.root, {f"{number}.jpg": jpeg() for number in range(6)})
    put(stream.folder / "killed.json", b"{}")
    stream.start()
    first, second = stream.manifests
    stream.next()
    assert sorted(stream.folder.iterdir()) == sorted([first, second])
    stream.arrivals.remove_delivered()
    assert list(stream.folder.iterdir()) == [second]


def test_rows_of_other_manifests_and_other_files_are_ignored(stream: Stream) -> None:
    put(stream.root / "a.jpg", jpeg())
    stream.start()
    (file,) = stream.manifests
    row = json.loads(file.read_text())
    outside = f"{stream.arrivals._source.root}/../secret.jpg"
    rows = [row, row | {"modified_ms": 1}, row | {"path": outside}, row | {"path": None}]
    rows += [row | {"path": f"{stream.arrivals._source.root}/planted.txt"}]
    rows += [row | {"path": f"{stream.arrivals._source.root}/b.jpg", "manifest": "planted.json"}]
    assert len(stream.arrivals.deliver([SimpleNamespace(**row) for row in rows])) == 1


def test_file_that_grew_after_the_listing_is_delivered_as_it_is_now(stream: Stream) -> None:
    put(stream.root / "a.jpg", jpeg()[:100], written=time.time())
    stream.start()
    now = put(stream.root / "a.jpg", jpeg(), written=time.time())
    assert stream.next() == [now]


def test_empty_file_is_delivered_once_it_has_content(stream: Stream) -> None:
    put_all(stream.root, {"early.jpg": b"", "stays.jpg": b""})
    stream.start()
    put(stream.root / "later.jpg", b"")
    with stream.arrivals.watching(0.1):
        wait_for(lambda: len(stream.arrivals._empty) == 3)
        assert not stream.arrivals.outstanding
        (stream.root / "later.jpg").write_bytes(jpeg())  # changes no folder
        wait_for(lambda: stream.manifests)
        assert stream.next_names() == ["later.jpg"]
        (stream.root / "early.jpg").write_bytes(jpeg())
        wait_for(lambda: stream.manifests)
        assert stream.next_names() == ["early.jpg"]
        (stream.root / "stays.jpg").unlink()
        wait_for(lambda: not stream.arrivals._empty)


def test_manifest_that_was_deleted_before_it_was_read_is_reported(stream: Stream) -> None:
    put_all(stream.root, {f"Fig/{number}.jpg": jpeg() for number in range(4)})
    stream.start()
    lost = stream.manifests[-1]
    with stream.arrivals.watching(0.1):
        time.sleep(0.3)
        assert stream.arrivals.error is None
        lost.unlink()
        stream.next()
        wait_for(lambda: stream.arrivals.error)
    assert str(lost) in str(stream.arrivals.error)


def test_error_of_the_lake_is_reported(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    stream.start()
    stream.folder.rmdir()
    put(stream.folder, b"a file in place of the folder")
    put(stream.root / "a.jpg", jpeg())
    with stream.arrivals.watching(0.1):
        wait_for(lambda: stream.arrivals.error)
