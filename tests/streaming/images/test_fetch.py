"""Tests for `streaming.images.fetch`: patience with what may pass, an outcome of its own for each image."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from streaming.images import fetch as module
from streaming.images.fetch import SHORT_RETRY_TIMEOUT, FetchedImage, fetch_image, prefetch_images
from streaming.outcomes import Outcome, Reason
from streaming.storage.interface import StoredFile, TransientError
from streaming.storage.local import LocalStorage
from support.fake_clock import FakeClock, clock

LIMIT = 1000


__all__ = ["clock"]  # a fixture


@pytest.fixture
def image(tmp_path: Path) -> StoredFile:
    return written(tmp_path / "Fig 1" / "a.jpg", b"12345")


def written(file: Path, content: bytes) -> StoredFile:
    """A file that lies there, as a listing tells of it."""
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
    return LocalStorage().stat(f"file:{file}")


@dataclass
class Faulty(LocalStorage):
    """A storage whose reads fail a few times, as those of a throttled bucket do, or end early."""

    faults: list[Exception] = field(default_factory=list)
    cut: int = 0

    def read_once(self, path: str) -> bytes:
        if self.faults:
            raise self.faults.pop()
        self.cut -= 1
        return super().read_once(path)[: 2 if self.cut >= 0 else None]


@dataclass
class Broken(LocalStorage):
    """A storage that never hands out some of its files."""

    paths: list[str]

    def read_once(self, path: str) -> bytes:
        if path in self.paths:
            raise TransientError(f"{path}: out of order")
        return super().read_once(path)


def use(monkeypatch: pytest.MonkeyPatch, storage: LocalStorage) -> None:
    monkeypatch.setattr(module, "open_storage", lambda uri: storage)


def test_the_bytes_come_with_the_file_they_belong_to(image: StoredFile) -> None:
    assert fetch_image(image, LIMIT) == FetchedImage(image, Outcome.FEATURES, b"12345")


def test_a_fault_that_passes_leaves_no_trace_but_a_count(
    image: StoredFile, monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> None:
    use(monkeypatch, Faulty([TransientError("503 Slow Down")] * 4))
    assert fetch_image(image, LIMIT) == FetchedImage(image, Outcome.FEATURES, b"12345", retries=4)
    assert len(clock.waits) == 4


def test_a_fault_that_stays_is_no_verdict_on_the_image(
    image: StoredFile, monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> None:
    use(monkeypatch, Faulty([TransientError("503 Slow Down")] * 1000))
    fetched = fetch_image(image, LIMIT, retry_timeout=60)
    assert (fetched.outcome, fetched.reason) == (Outcome.UNREAD, None)
    assert "Slow Down" in fetched.detail
    assert sum(clock.waits) <= 60


def test_fewer_bytes_than_listed_of_an_unchanged_file_are_asked_for_again(
    image: StoredFile, monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> None:
    use(monkeypatch, Faulty(cut=2))
    assert fetch_image(image, LIMIT) == FetchedImage(image, Outcome.FEATURES, b"12345", retries=2)
    use(monkeypatch, Faulty(cut=1000))
    fetched = fetch_image(image, LIMIT, retry_timeout=60)
    assert fetched.outcome is Outcome.UNREAD
    assert "only 2 of 5 bytes" in fetched.detail


def test_one_file_that_cannot_be_read_does_not_hold_up_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> None:
    files = [written(tmp_path / f"{number}.jpg", b"1") for number in range(6)]
    use(monkeypatch, Broken([files[1].path, files[2].path, files[4].path]))
    found = [fetched.outcome for fetched in prefetch_images(files, LIMIT, retry_timeout=60)]
    good, bad = Outcome.FEATURES, Outcome.UNREAD
    assert found == [good, bad, bad, good, bad, good]


def test_a_storage_that_is_out_of_order_ends_the_task_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> None:
    files = [written(tmp_path / f"{number}.jpg", b"1") for number in range(100)]
    use(monkeypatch, Broken([file.path for file in files]))
    with pytest.raises(TransientError, match="out of order"):
        list(prefetch_images(files, LIMIT, retry_timeout=60))
    assert sum(clock.waits) < 60 * 3 + 3 * SHORT_RETRY_TIMEOUT


def test_a_file_deleted_since_the_listing_is_gone_and_not_asked_for_twice(
    tmp_path: Path, clock: FakeClock
) -> None:
    listed = StoredFile(f"file:{tmp_path}/a.jpg", 5, 0)
    assert fetch_image(listed, LIMIT) == FetchedImage(listed, Outcome.DELETED)
    assert clock.waits == []


def test_a_file_that_may_not_be_read_goes_to_quarantine_with_the_cause(
    image: StoredFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, Faulty([PermissionError("s3a://fruits/a.jpg: access denied")]))
    fetched = fetch_image(image, LIMIT)
    assert (fetched.outcome, fetched.reason) == (Outcome.QUARANTINE, Reason.ACCESS_DENIED)
    assert "access denied" in fetched.detail


@pytest.mark.parametrize("listed", [4, 6, 0])
def test_a_file_of_another_size_than_listed_is_being_written(
    image: StoredFile, listed: int
) -> None:
    fetched = fetch_image(StoredFile(image.path, listed, image.modified_ms), LIMIT)
    assert (fetched.outcome, fetched.content) == (Outcome.CHANGING, b"")


def test_an_empty_file_is_handed_on_for_the_decoder_to_judge(tmp_path: Path) -> None:
    assert fetch_image(written(tmp_path / "a.jpg", b""), LIMIT).outcome is Outcome.FEATURES


def test_a_file_above_the_limit_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Faulty([AssertionError("it was read")]))
    fetched = fetch_image(StoredFile("file:/x/a.jpg", 1_234_567, 0), LIMIT)
    assert (fetched.outcome, fetched.reason) == (Outcome.QUARANTINE, Reason.TOO_MANY_BYTES)
    assert "1,234,567" in fetched.detail
    assert "1,000" in fetched.detail


@pytest.mark.parametrize("scheme", ["file:/", "s3a://"])
def test_files_come_in_their_order_however_long_each_takes(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Uneven:
        def read_once(self, path: str) -> bytes:
            time.sleep(0.02 if path.endswith(("0", "3")) else 0)
            return path[-1].encode()

    monkeypatch.setattr(module, "open_storage", lambda uri: Uneven())
    files = [StoredFile(f"{scheme}fruits/{number}", 1, 0) for number in range(30)]
    fetched = list(prefetch_images(files, LIMIT))
    assert [one.file for one in fetched] == files
    assert [one.content.decode() for one in fetched] == [file.path[-1] for file in files]


@pytest.mark.parametrize("scheme", ["file:/", "s3a://"])
def test_only_a_few_files_are_held_in_memory_ahead(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Short:
        def read_once(self, path: str) -> bytes:
            return b"1"

    asked = 0

    def listing() -> Iterator[StoredFile]:
        nonlocal asked
        for number in range(100):
            asked += 1
            yield StoredFile(f"{scheme}fruits/{number}", 1, 0)

    monkeypatch.setattr(module, "open_storage", lambda uri: Short())
    next(prefetch_images(listing(), LIMIT))
    assert asked <= 10
