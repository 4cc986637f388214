"""Images that keep arriving: good, broken, empty, replaced by others; and what the tables must hold in the end."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from support.lakes import GARBAGE, jpeg

#: Puts a file in place whole, by its name below the source.
Put = Callable[[str, bytes], object]
_GOOD = 500  # pictures to choose from


class Arrivals:
    """A delivery that never ends, the same for the same seed.

    Parameters
    ----------
    put : callable
    seed : int

    Attributes
    ----------
    content : dict of str to bytes
        What lies under each name now.
    """

    def __init__(self, put: Put, seed: int = 0) -> None:
        self.content: dict[str, bytes] = {}
        self._put, self._random = put, random.Random(seed)
        self._put_at: dict[str, float] = {}
        self._good = {jpeg(number) for number in range(_GOOD)}

    def deliver(self, images: int) -> None:
        """Deliver so many: two thirds new and good, the others broken, empty, or in place of an earlier one."""
        for _ in range(images):
            label = self._random.choice(("Fig", "Apple Red 1", "Crème brûlée"))
            name = f"{label}/{len(self.content)}.jpg"
            earlier = self._random.choice([name, *self._put_at])
            # S3 counts in seconds, and one of the same length within the same is the same to everyone.
            if self._random.random() < 0.15 and time.time() - self._put_at.get(earlier, 0) > 2:
                name = earlier
            self.put(name, self._picture())
            self._put_at[name] = time.time()

    def put(self, name: str, content: bytes) -> None:
        """Put an image in place that no other will replace."""
        self._put(name, content)
        self.content[name] = content

    @contextmanager
    def flowing(self, images: int, every: float) -> Iterator[None]:
        """Deliver so many at a time, so many seconds apart, while the block runs."""
        over = threading.Event()

        def flow() -> None:
            while not over.wait(every):
                self.deliver(images)

        thread = threading.Thread(target=flow)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def hashes(self, *, good: bool) -> dict[str, str]:
        """The hash of each image that decodes, or of each that does not."""
        return {
            name: hashlib.sha256(content).hexdigest()
            for name, content in self.content.items()
            if (content in self._good) == good
        }

    def _picture(self) -> bytes:
        kind = self._random.random()
        if kind < 0.75:
            return jpeg(self._random.randrange(_GOOD))
        if kind < 0.8:
            return b""
        cut = self._random.randrange(len(GARBAGE))
        return GARBAGE[:cut] + time.strftime("%H%M%S").encode() + GARBAGE[cut:]
