"""Tests for `streaming.images.fetch`: limit of the bytes in memory, counted until their references are dropped."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from streaming.featurize import worker as featurize
from streaming.images import fetch as module
from streaming.images.decode import DecodeSettings
from streaming.images.fetch import FetchedImage, prefetch_images
from streaming.outcomes import Outcome
from streaming.storage.interface import StoredFile
from support.images.image_files import encode, photo

LIMIT = 10_000
BUDGET = 1000


class Content(bytes):
    """Content of an object; updates the counter of its storage when it is freed."""

    storage: CountingStorage

    def __del__(self) -> None:
        self.storage.count(-len(self))


@dataclass
class CountingStorage:
    """Storage that counts the bytes of its objects in memory."""

    objects: dict[str, bytes]
    now: int = 0
    peak: int = 0
    #: Bytes of other objects in memory at the time of each read.
    in_use_at_read: dict[str, int] = field(default_factory=dict)
    lock: Any = field(default_factory=threading.RLock)  # reentrant: __del__ may run at any point

    def count(self, length: int) -> None:
        with self.lock:
            self.now += length
            self.peak = max(self.peak, self.now)

    def read_once(
        self, path: str, within: str | None = None, max_bytes: int | None = None
    ) -> bytes:
        content = Content(self.objects[path])
        content.storage = self
        with self.lock:
            self.in_use_at_read[path] = self.now
            self.count(len(content))
        return content

    def files(self) -> Iterator[StoredFile]:
        for path, content in self.objects.items():
            yield StoredFile(path, len(content), 0)


def storage_of(*lengths: int) -> CountingStorage:
    return CountingStorage(
        {f"s3a://fruits/{n}.jpg": bytes(length) for n, length in enumerate(lengths)}
    )


def read_all(storage: CountingStorage, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the lengths of the contents; each is dropped before the next one is requested."""
    monkeypatch.setattr(module, "open_storage", lambda uri: storage)
    lengths = []
    for fetched in prefetch_images(storage.files(), LIMIT, BUDGET):
        assert fetched.outcome is Outcome.FEATURES
        lengths.append(len(fetched.content))
        del fetched
    return lengths


@pytest.mark.parametrize(
    "lengths", [[400] * 30, [10, 900] * 10, [1000] * 5, [1] * 50, [999, 2] * 9]
)
def test_bytes_in_memory_stay_within_limit(
    lengths: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = storage_of(*lengths)
    assert read_all(storage, monkeypatch) == lengths
    assert storage.peak <= BUDGET
    assert storage.now == 0


def test_longer_object_is_read_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = [10, 10, 5000, 10, 7000, 6000, 10, 10]
    storage = storage_of(*lengths)
    assert read_all(storage, monkeypatch) == lengths
    assert storage.peak == 7000
    large = [path for path, content in storage.objects.items() if len(content) > BUDGET]
    assert [storage.in_use_at_read[path] for path in large] == [0, 0, 0]


def test_object_above_limit_does_not_stop_prefetching(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = storage_of(10, LIMIT + 1, 10)
    monkeypatch.setattr(module, "open_storage", lambda uri: storage)
    images = cast(
        Generator[FetchedImage, None, None], prefetch_images(storage.files(), LIMIT, BUDGET)
    )
    next(images)
    images.close()  # waits for the pending reads
    assert storage.in_use_at_read.keys() == {"s3a://fruits/0.jpg", "s3a://fruits/2.jpg"}
    outcomes = [fetched.outcome for fetched in prefetch_images(storage.files(), LIMIT, BUDGET)]
    assert outcomes == [Outcome.FEATURES, Outcome.QUARANTINE, Outcome.FEATURES]


def test_short_objects_are_read_concurrently(monkeypatch: pytest.MonkeyPatch) -> None:
    barrier = threading.Barrier(8, timeout=30)

    class BarrierStorage:
        def read_once(
            self, path: str, within: str | None = None, max_bytes: int | None = None
        ) -> bytes:
            barrier.wait()
            return b"1"

    monkeypatch.setattr(module, "open_storage", lambda uri: BarrierStorage())
    files = [StoredFile(f"s3a://fruits/{n}.jpg", 1, 0) for n in range(16)]
    assert len(list(prefetch_images(files, LIMIT, BUDGET))) == 16


@pytest.mark.parametrize("content", [encode(photo(), "JPEG"), bytes(4000)], ids=["good", "bad"])
def test_worker_frees_image_before_it_reads_next_one(
    content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Engine:
        batch = 16

        def run(self, images: object) -> list[list[float]]:
            return [[0.0]] * len(images)  # type: ignore[arg-type]

    storage = CountingStorage({f"s3a://fruits/Fig/{n}.jpg": content for n in range(5)})
    monkeypatch.setattr(module, "open_storage", lambda uri: storage)
    monkeypatch.setattr(featurize, "_engine", lambda featurizer: Engine())
    worker = featurize.Featurizer(
        None,
        "",
        None,
        DecodeSettings(),
        max_prefetch_bytes=len(content) - 1,  # type: ignore[arg-type]
    )
    assert sum(batch.num_rows for batch in worker([(file, 1) for file in storage.files()])) == 5
    assert storage.peak == len(content)
    assert storage.now == 0
