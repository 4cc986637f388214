"""Tests for `streaming.images.fetch`: retries, the outcome of each image, and order of prefetched files."""

from __future__ import annotations

import os
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from streaming.images import fetch as module
from streaming.images.fetch import (
    SHORT_RETRY_TIMEOUT,
    FetchedImage,
    fetch_image,
    is_recently_modified,
    prefetch_images,
)
from streaming.outcomes import Outcome, Reason
from streaming.storage.interface import StoredFile, TransientError
from streaming.storage.local import LocalStorage
from support.fake_clock import FakeClock, clock

LIMIT = 1000


__all__ = ["clock"]  # a fixture


@pytest.fixture
def image(tmp_path: Path) -> StoredFile:
    return write_file(tmp_path / "Fig 1" / "a.jpg", b"12345")


def write_file(file: Path, content: bytes) -> StoredFile:
    """Write a file and return its entry in a listing."""
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
    return LocalStorage().stat(f"file:{file}")


@dataclass
class FlakyStorage(LocalStorage):
    """Storage whose first reads raise errors, or return truncated content."""

    errors: list[Exception] = field(default_factory=list)
    truncated_reads: int = 0

    def read_once(
        self, path: str, within: str | None = None, max_bytes: int | None = None
    ) -> bytes:
        if self.errors:
            raise self.errors.pop()
        self.truncated_reads -= 1
        return super().read_once(path, within, max_bytes)[
            : 2 if self.truncated_reads >= 0 else None
        ]


@dataclass
class BrokenStorage(LocalStorage):
    """Storage in which some files cannot be read."""

    paths: list[str]

    def read_once(
        self, path: str, within: str | None = None, max_bytes: int | None = None
    ) -> bytes:
        if path in self.paths:
            raise TransientError(f"{path}: unavailable")
        return super().read_once(path, within, max_bytes)


def use(monkeypatch: pytest.MonkeyPatch, storage: LocalStorage) -> None:
    monkeypatch.setattr(module, "open_storage", lambda uri: storage)


def test_fetch_returns_content_and_file(image: StoredFile) -> None:
    assert fetch_image(image, LIMIT) == FetchedImage(image, Outcome.FEATURES, b"12345")


def test_transient_error_is_retried_and_counted(
    image: StoredFile, monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> None:
    use(monkeypatch, FlakyStorage([TransientError("503 Slow Down")] * 4))
    assert fetch_image(image, LIMIT) == FetchedImage(image, Outcome.FEATURES, b"12345", retries=4)
    assert len(clock.waits) == 4


def test_lasting_error_has_outcome_unread(
    image: StoredFile, monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> None:
    use(monkeypatch, FlakyStorage([TransientError("503 Slow Down")] * 1000))
    fetched = fetch_image(image, LIMIT, retry_timeout=60)
    assert (fetched.outcome, fetched.reason) == (Outcome.UNREAD, None)
    assert "Slow Down" in fetched.detail
    assert sum(clock.waits) <= 60


def test_truncated_read_of_unchanged_file_is_retried(
    image: StoredFile, monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> None:
    use(monkeypatch, FlakyStorage(truncated_reads=2))
    assert fetch_image(image, LIMIT) == FetchedImage(image, Outcome.FEATURES, b"12345", retries=2)
    use(monkeypatch, FlakyStorage(truncated_reads=1000))
    fetched = fetch_image(image, LIMIT, retry_timeout=60)
    assert fetched.outcome is Outcome.UNREAD
    assert "only 2 of 5 bytes" in fetched.detail


def test_unreadable_file_does_not_affect_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> None:
    files = [write_file(tmp_path / f"{number}.jpg", b"1") for number in range(6)]
    use(monkeypatch, BrokenStorage([files[1].path, files[2].path, files[4].path]))
    found = [fetched.outcome for fetched in prefetch_images(files, LIMIT, retry_timeout=60)]
    good, bad = Outcome.FEATURES, Outcome.UNREAD
    assert found == [good, bad, bad, good, bad, good]


def test_unavailable_storage_fails_task_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> None:
    files = [write_file(tmp_path / f"{number}.jpg", b"1") for number in range(100)]
    use(monkeypatch, BrokenStorage([file.path for file in files]))
    with pytest.raises(TransientError, match="unavailable"):
        list(prefetch_images(files, LIMIT, retry_timeout=60))
    assert sum(clock.waits) < 60 * 3 + 3 * SHORT_RETRY_TIMEOUT


def test_deleted_file_is_not_retried(tmp_path: Path, clock: FakeClock) -> None:
    listed = StoredFile(f"file:{tmp_path}/a.jpg", 5, 0)
    assert fetch_image(listed, LIMIT) == FetchedImage(listed, Outcome.DELETED)
    assert clock.waits == []


def test_access_denied_is_quarantined_with_detail(
    image: StoredFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, FlakyStorage([PermissionError("s3a://fruits/a.jpg: access denied")]))
    fetched = fetch_image(image, LIMIT)
    assert (fetched.outcome, fetched.reason) == (Outcome.QUARANTINE, Reason.ACCESS_DENIED)
    assert "access denied" in fetched.detail


@pytest.mark.parametrize("listed", [4, 6, 0])
def test_file_of_other_size_than_listed_is_changing(image: StoredFile, listed: int) -> None:
    fetched = fetch_image(StoredFile(image.path, listed, image.modified_ms), LIMIT)
    assert (fetched.outcome, fetched.content) == (Outcome.CHANGING, b"")


def test_file_that_has_grown_is_not_read_to_its_end(image: StoredFile) -> None:
    os.truncate(image.path.removeprefix("file:"), 64 * 2**20)  # without writing its blocks
    tracemalloc.start()
    try:
        assert fetch_image(image, LIMIT).outcome is Outcome.CHANGING
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
    listed = LocalStorage().stat(image.path)
    assert fetch_image(listed, LIMIT).reason is Reason.TOO_MANY_BYTES


def test_empty_file_is_passed_to_decoder(tmp_path: Path) -> None:
    assert fetch_image(write_file(tmp_path / "a.jpg", b""), LIMIT).outcome is Outcome.FEATURES


def test_file_above_limit_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, FlakyStorage([AssertionError("file was read")]))
    fetched = fetch_image(StoredFile("file:/x/a.jpg", 1_234_567, 0), LIMIT)
    assert (fetched.outcome, fetched.reason) == (Outcome.QUARANTINE, Reason.TOO_MANY_BYTES)
    assert "1,234,567" in fetched.detail
    assert "1,000" in fetched.detail


@pytest.mark.parametrize("scheme", ["file:/", "s3a://"])
def test_prefetch_keeps_order_if_durations_differ(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class UnevenStorage:
        def read_once(
            self, path: str, within: str | None = None, max_bytes: int | None = None
        ) -> bytes:
            time.sleep(0.02 if path.endswith(("0", "3")) else 0)
            return path[-1].encode()

    monkeypatch.setattr(module, "open_storage", lambda uri: UnevenStorage())
    files = [StoredFile(f"{scheme}fruits/{number}", 1, 0) for number in range(30)]
    fetched = list(prefetch_images(files, LIMIT))
    assert [one.file for one in fetched] == files
    assert [one.content.decode() for one in fetched] == [file.path[-1] for file in files]


@pytest.mark.parametrize("scheme", ["file:/", "s3a://"])
def test_prefetch_reads_only_a_few_files_ahead(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class ShortFiles:
        def read_once(
            self, path: str, within: str | None = None, max_bytes: int | None = None
        ) -> bytes:
            return b"1"

    listed = 0

    def listing() -> Iterator[StoredFile]:
        nonlocal listed
        for number in range(100):
            listed += 1
            yield StoredFile(f"{scheme}fruits/{number}", 1, 0)

    monkeypatch.setattr(module, "open_storage", lambda uri: ShortFiles())
    next(prefetch_images(listing(), LIMIT))
    assert listed <= 10


@pytest.mark.parametrize(
    ("age", "recent"),
    [(0, True), (1.9, True), (2.1, False), (-0.5, True), (-290, True), (-310, False)],
)
def test_file_is_recent_also_if_clock_of_server_is_ahead(
    monkeypatch: pytest.MonkeyPatch, age: float, recent: bool
) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_700_000_000.0)
    modified_ms = round((1_700_000_000 - age) * 1000)
    assert is_recently_modified(StoredFile("file:/x/a.jpg", 5, modified_ms), 2.0) is recent
    assert not is_recently_modified(StoredFile("s3a://x/a.jpg", 5, modified_ms), 2.0)
    assert not is_recently_modified(StoredFile("file:/x/a.jpg", 5, modified_ms), 0.0)
