"""Open the images that a table names, to show them: the only way from a row of a lake to a thumbnail on a page.

Others may be able to write into the lake, and a page is read by others than the one who made it. A row must not put
another file of this user into it.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from streaming.errors import PomonaError
from streaming.images.decode import DecodeSettings, UndecodableImage
from streaming.images.fetch import find_boundary
from streaming.images.isolated_decode import IsolatedDecoder
from streaming.storage.interface import (
    OutsideFolderError,
    TooManyBytesError,
    TransientError,
    is_normalized,
)
from streaming.storage.open import open_storage
from streaming.storage.retry import retry_transient

OUTSIDE = "outside of the sources"
CHANGED = "content changed"


class NotDisplayed(Exception):
    """An image must not or cannot be shown; the message is the reason, a few words."""


@dataclass(frozen=True)
class ImageViewer:
    """Opens images to show them.

    An image of a row is shown if its path is below a source, no link in it leads out of that source, and the SHA-256 of
    its bytes is that of the row. It is decoded in another process, under the limits of a worker.

    Parameters
    ----------
    sources : sequence of str
        Normalized URIs, see `streaming.lake.history.known_sources`.
    decoder : IsolatedDecoder
    size : int
        Width and height of the thumbnails in pixels.
    quality : int
        Of JPEG, up to 95.
    max_bytes, max_pixels : int
        Limits for the file.
    retry_timeout : float
        Retry transient errors for up to this many seconds; 0 for a single attempt.
    """

    sources: Sequence[str]
    decoder: IsolatedDecoder
    size: int
    quality: int = 75
    max_bytes: int = DecodeSettings.max_bytes
    max_pixels: int = DecodeSettings.max_pixels
    retry_timeout: float = 0.0
    _settings: DecodeSettings = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Derive the settings of the decoder: its result is the pixels from 0 to 255."""
        settings = DecodeSettings(
            self.size, divisor=1, offset=0, max_pixels=self.max_pixels, max_bytes=self.max_bytes
        )
        object.__setattr__(self, "_settings", settings)

    def load(self, path: str, content_hash: str) -> bytes:
        """Return the image of a row as a square JPEG file.

        Raises
        ------
        NotDisplayed
        """
        boundary = find_boundary(path, self.sources) if is_normalized(path) else None
        if boundary is None:
            raise NotDisplayed(OUTSIDE)
        return self._load(path, content_hash, boundary)

    def load_named_by_user(self, path: str, content_hash: str) -> bytes:
        """Return an image that the user has named, wherever it is.

        Raises
        ------
        NotDisplayed
        """
        return self._load(path, content_hash, None)

    def _load(self, path: str, content_hash: str, boundary: str | None) -> bytes:
        content = self._read(path, boundary)
        if hashlib.sha256(content).hexdigest() != content_hash:
            raise NotDisplayed(CHANGED)
        try:
            pixels = self.decoder.decode(content, self._settings).pixels
        except UndecodableImage as error:
            raise NotDisplayed(f"cannot be decoded ({error.reason})") from error
        buffer = io.BytesIO()
        thumbnail = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
        thumbnail.save(buffer, "JPEG", quality=self.quality)
        return buffer.getvalue()

    def _read(self, path: str, boundary: str | None) -> bytes:
        try:
            storage = open_storage(path)
            return retry_transient(
                lambda: storage.read_once(path, boundary, self.max_bytes), self.retry_timeout
            )
        except TooManyBytesError as error:
            raise NotDisplayed(f"larger than {self.max_bytes:,} bytes") from error
        except OutsideFolderError as error:
            raise NotDisplayed(OUTSIDE) from error
        except FileNotFoundError as error:
            raise NotDisplayed("no such file") from error
        except PermissionError as error:
            raise NotDisplayed("access denied") from error
        except (TransientError, OSError, PomonaError) as error:
            raise NotDisplayed("cannot be read now") from error
