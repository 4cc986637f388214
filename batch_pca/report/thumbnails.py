"""Thumbnails for the report, made from the bytes that were featurized."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from streaming.delta.reader import open_table, query_rows, quote_literal
from streaming.images.display import ImageViewer, NotDisplayed
from streaming.images.isolated_decode import IsolatedDecoder
from streaming.lake.history import known_sources
from streaming.lake.layout import Lake

log = logging.getLogger(__name__)

MAX_THUMBNAILS = 240
_THREADS = 16
# Larger files are skipped, and so is what was not read in time: the report must not wait for thumbnails.
_MAX_FILE_SIZE = 8 * 2**20
_TIMEOUT = 20.0
_MAX_PIXELS = 25_000_000
# Of JPEGs of 12 megapixels, a process makes 25 thumbnails per second.
_MAX_PROCESSES = 4
# Less than _TIMEOUT, so that images that need too long do not cost the others their thumbnails.
_MAX_CPU_SECONDS = 5.0


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


@dataclass(frozen=True)
class Thumbnails:
    """JPEG files of images by path, and for the others the reason why there is none."""

    images: Mapping[str, bytes] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)


def load_thumbnails(lake: Lake, version: int, paths: Sequence[str]) -> Thumbnails:
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
    Thumbnails
        Only of images that `streaming.images.display` permits to show, and that were read in time.
    """
    if not paths:
        return Thumbnails()
    literals = ", ".join(map(quote_literal, paths))
    rows = query_rows(
        open_table(lake.features, version), "path, content_hash", f"WHERE path IN ({literals})"
    )
    hashes = {row["path"]: row["content_hash"] for row in rows}
    return _load(lake, {path: hashes.get(path, "") for path in paths})


def load_quarantined(lake: Lake, hashes: Mapping[str, str | None]) -> Thumbnails:
    """Create thumbnails of quarantined images, as far as they can be decoded, from their paths and hashes."""
    return _load(lake, {path: sha256 or "" for path, sha256 in hashes.items()}, lenient=True)


def _load(lake: Lake, hashes: Mapping[str, str], *, lenient: bool = False) -> Thumbnails:
    with IsolatedDecoder(
        min(_MAX_PROCESSES, os.cpu_count() or 1), _MAX_CPU_SECONDS, lenient=lenient
    ) as decoder:
        viewer = ImageViewer(
            known_sources(lake),
            decoder,
            size=96,
            quality=60 if lenient else 75,
            max_bytes=_MAX_FILE_SIZE,
            max_pixels=_MAX_PIXELS,
        )
        pool = ThreadPoolExecutor(_THREADS)
        tasks = {
            path: pool.submit(viewer.load, path, sha256)
            for path, sha256 in hashes.items()
            if sha256
        }
        wait(tasks.values(), timeout=_TIMEOUT)
        pool.shutdown(wait=False, cancel_futures=True)
        done = {path: task for path, task in tasks.items() if task.done() and not task.cancelled()}
    images = dict[str, bytes]()
    missing = {
        path: "not read in time" if sha256 else "content was not read"
        for path, sha256 in hashes.items()
    }
    for path, task in done.items():
        try:
            images[path] = task.result()
            del missing[path]
        except NotDisplayed as error:
            log.debug("no thumbnail of %s: %s", path, error)
            missing[path] = str(error)
    return Thumbnails(images, missing)
