"""Promises of `streaming.fetch`: patience with what may pass, an outcome of its own for each image."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest

from streaming import fetch as module
from streaming.decode import Reason
from streaming.fetch import TRIES, Fetched, Outcome, fetch, fetch_ahead
from streaming.storage import LocalStorage, StoredFile, TransientFault

LIMIT = 1000
_real_sleep = time.sleep


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that would have been slept."""
    asked: list[float] = []
    monkeypatch.setattr(time, "sleep", asked.append)
    return asked


@pytest.fixture
def image(tmp_path: Path) -> StoredFile:
    return written(tmp_path / "Fig 1" / "a.jpg", b"12345")


def written(file: Path, content: bytes) -> StoredFile:
    """A file that lies there, as a listing tells of it."""
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
    return LocalStorage().stat(f"file:{file}")


@dataclass
class Faulty:
    """A storage whose reads fail a few times, as those of a throttled bucket do."""

    faults: list[Exception] = field(default_factory=list)

    def read(self, path: str) -> bytes:
        if self.faults:
            raise self.faults.pop()
        return LocalStorage().read(path)


def use(monkeypatch: pytest.MonkeyPatch, storage: Faulty) -> None:
    monkeypatch.setattr(module, "storage_of", lambda uri: storage)


def test_the_bytes_come_with_the_file_they_belong_to(image: StoredFile) -> None:
    assert fetch(image, LIMIT) == Fetched(image, Outcome.FEATURES, b"12345")


def test_a_fault_that_passes_leaves_no_trace(
    image: StoredFile, monkeypatch: pytest.MonkeyPatch, waits: list[float]
) -> None:
    use(monkeypatch, Faulty([TransientFault("503 Slow Down")] * (TRIES - 1)))
    assert fetch(image, LIMIT).content == b"12345"
    assert len(waits) == TRIES - 1


def test_waits_grow_and_are_never_the_same_for_all_workers(
    image: StoredFile, monkeypatch: pytest.MonkeyPatch, waits: list[float]
) -> None:
    for _ in range(20):
        use(monkeypatch, Faulty([TransientFault("503 Slow Down")] * (TRIES - 1)))
        fetch(image, LIMIT)
    by_try = [waits[attempt :: TRIES - 1] for attempt in range(TRIES - 1)]
    means = [sum(seconds) / len(seconds) for seconds in by_try]
    assert all(later > 1.4 * earlier for earlier, later in pairwise(means))
    assert all(len(set(seconds)) > 10 for seconds in by_try)
    assert 1 < sum(means) < 10


def test_a_fault_that_stays_fails_the_micro_batch_and_is_no_verdict_on_the_image(
    image: StoredFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = Faulty([TransientFault("503 Slow Down")] * (TRIES + 1))
    use(monkeypatch, storage)
    with pytest.raises(TransientFault, match="Slow Down"):
        fetch(image, LIMIT)
    assert len(storage.faults) == 1


def test_a_file_deleted_since_the_listing_is_gone_and_not_asked_for_twice(
    tmp_path: Path, waits: list[float]
) -> None:
    listed = StoredFile(f"file:{tmp_path}/a.jpg", 5, 0)
    assert fetch(listed, LIMIT) == Fetched(listed, Outcome.GONE)
    assert waits == []


def test_a_file_that_may_not_be_read_goes_to_quarantine_with_the_cause(
    image: StoredFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, Faulty([PermissionError("s3a://fruits/a.jpg: access denied")]))
    fetched = fetch(image, LIMIT)
    assert (fetched.outcome, fetched.reason) == (Outcome.QUARANTINE, Reason.ACCESS_DENIED)
    assert "access denied" in fetched.detail


@pytest.mark.parametrize("listed", [4, 6, 0])
def test_a_file_of_another_size_than_listed_is_being_written(
    image: StoredFile, listed: int
) -> None:
    fetched = fetch(StoredFile(image.path, listed, image.modified_ms), LIMIT)
    assert (fetched.outcome, fetched.content) == (Outcome.CHANGING, b"")


def test_an_empty_file_is_handed_on_for_the_decoder_to_judge(tmp_path: Path) -> None:
    assert fetch(written(tmp_path / "a.jpg", b""), LIMIT).outcome is Outcome.FEATURES


def test_a_file_above_the_limit_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Faulty([AssertionError("it was read")]))
    fetched = fetch(StoredFile("file:/x/a.jpg", 1_234_567, 0), LIMIT)
    assert (fetched.outcome, fetched.reason) == (Outcome.QUARANTINE, Reason.TOO_MANY_BYTES)
    assert "1,234,567" in fetched.detail
    assert "1,000" in fetched.detail


@pytest.mark.parametrize("scheme", ["file:/", "s3a://"])
def test_files_come_in_their_order_however_long_each_takes(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Uneven:
        def read(self, path: str) -> bytes:
            _real_sleep(0.02 if path.endswith(("0", "3")) else 0)
            return path[-1].encode()

    monkeypatch.setattr(module, "storage_of", lambda uri: Uneven())
    files = [StoredFile(f"{scheme}fruits/{number}", 1, 0) for number in range(30)]
    fetched = list(fetch_ahead(files, LIMIT))
    assert [one.file for one in fetched] == files
    assert [one.content.decode() for one in fetched] == [file.path[-1] for file in files]


@pytest.mark.parametrize("scheme", ["file:/", "s3a://"])
def test_only_a_few_files_are_held_in_memory_ahead(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Short:
        def read(self, path: str) -> bytes:
            return b"1"

    asked = 0

    def listing() -> Iterator[StoredFile]:
        nonlocal asked
        for number in range(100):
            asked += 1
            yield StoredFile(f"{scheme}fruits/{number}", 1, 0)

    monkeypatch.setattr(module, "storage_of", lambda uri: Short())
    next(fetch_ahead(listing(), LIMIT))
    assert asked <= 10
