"""Thumbnails for the report, made from the bytes that were featurized; images that changed are left out."""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np
from PIL import Image

from streaming.delta.reader import open_table, query_rows, quote_literal
from streaming.errors import PomonaError
from streaming.images.decode import DecodeSettings, UndecodableImage, decode
from streaming.lake.layout import Lake
from streaming.storage.interface import TransientError
from streaming.storage.open import open_storage

log = logging.getLogger(__name__)

MOST = 240
_AT_ONCE = 16
# Files that are longer, and what has not come by then, are not worth the wait.
_LONGEST = 8 * 2**20
_SECONDS = 20.0
_DECODE = DecodeSettings(size=96, divisor=1, offset=0, max_pixels=25_000_000)


def choose(paths: Sequence[str], labels: Sequence[str]) -> list[str]:
    """Of m paths and their m labels, `MOST` at most: of every label as many, spread over its paths."""
    by_label: dict[str, list[str]] = {}
    for path, label in zip(paths, labels, strict=True):
        by_label.setdefault(label, []).append(path)
    each = max(1, MOST // len(by_label)) if by_label else 0
    chosen = []
    for label in sorted(by_label):
        of_label = by_label[label]
        chosen += of_label[:: -(-len(of_label) // each)]
    return chosen[:: -(-len(chosen) // MOST)] if chosen else []


def load_thumbnails(lake: Lake, version: int, paths: Sequence[str]) -> dict[str, bytes]:
    """JPEG files of 96 x 96 pixels, as the network sees them.

    Parameters
    ----------
    lake : Lake
    version : int
        Of the features, that tells which bytes each image had.
    paths : sequence of str
        As `choose` gives them.

    Returns
    -------
    dict of str to bytes
        By path. An image that has gone, has changed since or cannot be read from here is left out.
    """
    if not paths:
        return {}
    among = ", ".join(map(quote_literal, paths))
    found = query_rows(
        open_table(lake.features, version),
        "path, content_hash",
        f"WHERE path IN ({among}) AND length <= {_LONGEST}",
    )
    pool = ThreadPoolExecutor(_AT_ONCE)
    tasks = {row["path"]: pool.submit(_picture, row["path"], row["content_hash"]) for row in found}
    wait(tasks.values(), timeout=_SECONDS)
    pool.shutdown(wait=False, cancel_futures=True)
    made = {
        path: task.result() for path, task in tasks.items() if task.done() and not task.cancelled()
    }
    return {path: picture for path, picture in made.items() if picture is not None}


def _picture(path: str, sha256: str) -> bytes | None:
    try:
        content = open_storage(path).read_once(path)
        if hashlib.sha256(content).hexdigest() != sha256:
            return None
        pixels = decode(content, _DECODE).pixels
    except (PomonaError, UndecodableImage, TransientError, OSError) as error:
        log.debug("no small picture of %s: %s", path, error)
        return None
    buffer = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=75)
    return buffer.getvalue()
