"""Deliver valid, broken, empty and replaced images continuously, and compute the content that the tables must have."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from support.lakes.small_lakes import GARBAGE, jpeg

#: Writes a complete file, by its name below the source.
Put = Callable[[str, bytes], object]
_VALID_IMAGES = 500  # different contents


class Arrivals:
    """An endless, reproducible sequence of images.

    Parameters
    ----------
    put : callable
    seed : int

    Attributes
    ----------
    content : dict of str to bytes
        Current content by name.
    """

    def __init__(self, put: Put, seed: int = 0) -> None:
        self.content: dict[str, bytes] = {}
        self._put, self._random = put, random.Random(seed)
        self._put_at: dict[str, float] = {}
        self._valid = {jpeg(number) for number in range(_VALID_IMAGES)}

    def deliver(self, images: int) -> None:
        """Deliver images: two thirds new and valid, the others broken, empty or replacing an earlier one."""
        for _ in range(images):
            label = self._random.choice(("Fig", "Apple Red 1", "Crème brûlée"))
            name = f"{label}/{len(self.content)}.jpg"
            earlier = self._random.choice([name, *self._put_at])
            # Times on S3 have a resolution of seconds: a replacement of equal length within one is not detectable.
            if self._random.random() < 0.15 and time.time() - self._put_at.get(earlier, 0) > 2:
                name = earlier
            self.put(name, self._draw_content())
            self._put_at[name] = time.time()

    def put(self, name: str, content: bytes) -> None:
        """Write an image that `deliver` will not replace."""
        self._put(name, content)
        self.content[name] = content

    @contextmanager
    def delivering(self, images: int, every: float) -> Iterator[None]:
        """Deliver `images` every `every` seconds while the block runs."""
        stop = threading.Event()

        def deliver_repeatedly() -> None:
            while not stop.wait(every):
                self.deliver(images)

        thread = threading.Thread(target=deliver_repeatedly)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def hashes(self, *, good: bool) -> dict[str, str]:
        """Return the hash by name of all images that decode, or of all that do not."""
        return {
            name: hashlib.sha256(content).hexdigest()
            for name, content in self.content.items()
            if (content in self._valid) == good
        }

    def _draw_content(self) -> bytes:
        kind = self._random.random()
        if kind < 0.75:
            return jpeg(self._random.randrange(_VALID_IMAGES))
        if kind < 0.8:
            return b""
        cut = self._random.randrange(len(GARBAGE))
        return GARBAGE[:cut] + time.strftime("%H%M%S").encode() + GARBAGE[cut:]
