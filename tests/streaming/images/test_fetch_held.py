"""Tests for `streaming.images.fetch` about memory: how many bytes a worker holds, counted until they are let go of."""

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
from support.image_files import encode, photo

LIMIT = 10_000
BUDGET = 1000


class Content(bytes):
    """An object's bytes that tell when the last reference to them is gone."""

    held: Held

    def __del__(self) -> None:
        self.held.count(-len(self))


@dataclass
class Held:
    """A storage of objects, which counts the bytes of those that are being read or are held."""

    objects: dict[str, bytes]
    now: int = 0
    peak: int = 0
    beside: dict[str, int] = field(
        default_factory=dict
    )  # bytes held besides, when it was asked for
    lock: Any = field(default_factory=threading.RLock)  # a collection runs anywhere

    def count(self, length: int) -> None:
        with self.lock:
            self.now += length
            self.peak = max(self.peak, self.now)

    def read_once(self, path: str) -> bytes:
        content = Content(self.objects[path])
        content.held = self
        with self.lock:
            self.beside[path] = self.now
            self.count(len(content))
        return content

    def files(self) -> Iterator[StoredFile]:
        for path, content in self.objects.items():
            yield StoredFile(path, len(content), 0)


def objects(*lengths: int) -> Held:
    return Held({f"s3a://fruits/{n}.jpg": bytes(length) for n, length in enumerate(lengths)})


def read_all(held: Held, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths that came, each let go of before the next is asked for."""
    monkeypatch.setattr(module, "open_storage", lambda uri: held)
    lengths = []
    for fetched in prefetch_images(held.files(), LIMIT, BUDGET):
        assert fetched.outcome is Outcome.FEATURES
        lengths.append(len(fetched.content))
        del fetched
    return lengths


@pytest.mark.parametrize(
    "lengths", [[400] * 30, [10, 900] * 10, [1000] * 5, [1] * 50, [999, 2] * 9]
)
def test_no_more_bytes_are_held_than_asked(
    lengths: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    held = objects(*lengths)
    assert read_all(held, monkeypatch) == lengths
    assert held.peak <= BUDGET
    assert held.now == 0


def test_a_longer_object_is_held_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = [10, 10, 5000, 10, 7000, 6000, 10, 10]
    held = objects(*lengths)
    assert read_all(held, monkeypatch) == lengths
    assert held.peak == 7000
    large = [path for path, content in held.objects.items() if len(content) > BUDGET]
    assert [held.beside[path] for path in large] == [0, 0, 0]


def test_what_is_too_long_to_be_read_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    held = objects(10, LIMIT + 1, 10)
    monkeypatch.setattr(module, "open_storage", lambda uri: held)
    ahead = cast(Generator[FetchedImage, None, None], prefetch_images(held.files(), LIMIT, BUDGET))
    next(ahead)
    ahead.close()  # it waits for what it has asked for
    assert held.beside.keys() == {"s3a://fruits/0.jpg", "s3a://fruits/2.jpg"}
    outcomes = [fetched.outcome for fetched in prefetch_images(held.files(), LIMIT, BUDGET)]
    assert outcomes == [Outcome.FEATURES, Outcome.QUARANTINE, Outcome.FEATURES]


def test_short_objects_are_still_read_several_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    together = threading.Barrier(8, timeout=30)

    class Meeting:
        def read_once(self, path: str) -> bytes:
            together.wait()
            return b"1"

    monkeypatch.setattr(module, "open_storage", lambda uri: Meeting())
    files = [StoredFile(f"s3a://fruits/{n}.jpg", 1, 0) for n in range(16)]
    assert len(list(prefetch_images(files, LIMIT, BUDGET))) == 16


@pytest.mark.parametrize("content", [encode(photo(), "JPEG"), bytes(4000)], ids=["good", "bad"])
def test_a_worker_lets_go_of_an_image_before_it_reads_the_next(
    content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Engine:
        batch = 16

        def run(self, images: object) -> list[list[float]]:
            return [[0.0]] * len(images)  # type: ignore[arg-type]

    held = Held({f"s3a://fruits/Fig/{n}.jpg": content for n in range(5)})
    monkeypatch.setattr(module, "open_storage", lambda uri: held)
    monkeypatch.setattr(featurize, "_engine", lambda featurizer: Engine())
    worker = featurize.Featurizer(
        None,
        "",
        None,
        DecodeSettings(),
        one_by_one_above=len(content) - 1,  # type: ignore[arg-type]
    )
    assert sum(batch.num_rows for batch in worker([(file, 1) for file in held.files()])) == 5
    assert held.peak == len(content)
    assert held.now == 0
