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

MAX_THUMBNAILS = 240
_THREADS = 16
# Larger files are skipped, and so is what was not read in time: the report must not wait for thumbnails.
_MAX_FILE_SIZE = 8 * 2**20
_TIMEOUT = 20.0
_DECODE = DecodeSettings(size=96, divisor=1, offset=0, max_pixels=25_000_000)


def choose_thumbnails(paths: Sequence[str], labels: Sequence[str]) -> list[str]:
    """Choose up to `MAX_THUMBNAILS` of m paths with their m labels, evenly over the labels."""
    by_label: dict[str, list[str]] = {}
    for path, label in zip(paths, labels, strict=True):
        by_label.setdefault(label, []).append(path)
    per_label = max(1, MAX_THUMBNAILS // len(by_label)) if by_label else 0
    chosen = []
    for label in sorted(by_label):
        candidates = by_label[label]
        chosen += candidates[:: -(-len(candidates) // per_label)]
    return chosen[:: -(-len(chosen) // MAX_THUMBNAILS)] if chosen else []


def load_thumbnails(lake: Lake, version: int, paths: Sequence[str]) -> dict[str, bytes]:
    """Create JPEG thumbnails of 96 x 96 pixels, resized like the input of the network.

    Parameters
    ----------
    lake : Lake
    version : int
        Version of the features, which contains the hash of each image.
    paths : sequence of str
        Result of `choose_thumbnails`.

    Returns
    -------
    dict of str to bytes
        JPEG files by path, without images that are missing, have changed or cannot be read.
    """
    if not paths:
        return {}
    literals = ", ".join(map(quote_literal, paths))
    rows = query_rows(
        open_table(lake.features, version),
        "path, content_hash",
        f"WHERE path IN ({literals}) AND length <= {_MAX_FILE_SIZE}",
    )
    pool = ThreadPoolExecutor(_THREADS)
    tasks = {row["path"]: pool.submit(_thumbnail, row["path"], row["content_hash"]) for row in rows}
    wait(tasks.values(), timeout=_TIMEOUT)
    pool.shutdown(wait=False, cancel_futures=True)
    results = {
        path: task.result() for path, task in tasks.items() if task.done() and not task.cancelled()
    }
    return {path: thumbnail for path, thumbnail in results.items() if thumbnail is not None}


def _thumbnail(path: str, sha256: str) -> bytes | None:
    try:
        content = open_storage(path).read_once(path)
        if hashlib.sha256(content).hexdigest() != sha256:
            return None
        pixels = decode(content, _DECODE).pixels
    except (PomonaError, UndecodableImage, TransientError, OSError) as error:
        log.debug("no thumbnail of %s: %s", path, error)
        return None
    buffer = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=75)
    return buffer.getvalue()
