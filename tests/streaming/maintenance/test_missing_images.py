"""Tests for `streaming.maintenance.missing_images` on large lakes, without Spark."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from streaming.lake.image_index import Hashes, ImageIndex
from streaming.lake.layout import Lake
from streaming.maintenance import missing_images as module
from streaming.maintenance.missing_images import ListingSnapshot, find_deleted_images
from streaming.maintenance.reconcile import compare
from streaming.sources.listing import Source
from streaming.storage.interface import StoredFile
from support.lakes.small_lakes import put_all


def write_rows(location: str, files: Sequence[StoredFile], content_hash: str = "0") -> None:
    """Append rows with the columns that identify an image, as one file."""
    times = [datetime.fromtimestamp(file.modified_ms / 1000, UTC) for file in files]
    columns = {
        "path": [file.path for file in files],
        "length": pa.array([file.length for file in files], pa.int64()),
        "modification_time": pa.array(times, pa.timestamp("us", "UTC")),
        "content_hash": [content_hash] * len(files),
    }
    write_deltalake(location.removeprefix("file:"), pa.table(columns), mode="append")


class CountingArray(np.ndarray[Any, Any]):
    """Counts the NumPy functions that it is passed to."""

    calls: ClassVar[Counter[Any]] = Counter()

    def __array_function__(self, func: Callable[..., Any], *arguments: Any) -> Any:
        self.calls[func] += 1
        return super().__array_function__(func, *arguments)


@pytest.mark.slow
def test_listing_is_sorted_once_for_all_batches_of_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def counting(hashes: Callable[[ListingSnapshot], Hashes]) -> property:
        return property(lambda snapshot: hashes(snapshot).view(CountingArray))

    lake, source = Lake.at(str(tmp_path / "lake")), Source.at(str(tmp_path / "source"))
    images = put_all(tmp_path / "source", {f"{name}.jpg": b"12345" for name in range(6)})
    deleted = StoredFile(f"{source.root}/deleted.jpg", 5, 0)
    for part in (images[:2], images[2:4], [*images[4:], deleted]):
        write_rows(lake.features, part)
    for name in ("paths", "states"):
        monkeypatch.setattr(ListingSnapshot, name, counting(getattr(ListingSnapshot, name).fget))
    CountingArray.calls.clear()

    comparison = compare(lake, source, ImageIndex.load(lake), hashes=True, limit=0.5)
    assert comparison.missing_in_source.paths == [deleted.path]
    assert len(comparison.rewritten) == len(images)  # the hash in the rows is another one
    assert CountingArray.calls[np.sort] == 2
    assert not CountingArray.calls.keys() & {np.isin, np.unique, np.concatenate}


@pytest.mark.parametrize(
    ("listed", "limit", "existing", "checked", "reason"),
    [
        (
            1,
            0.2,
            0,
            3,
            "more than 20% of the 11 images.* not checked: 6 other images not in the listing$",
        ),
        (
            1,
            0.4,
            0,
            6,
            "more than 40% of the 11 images.* not checked: 3 other images not in the listing$",
        ),
        (1, 0.8, 0, 9, "more than 80% of the 11 images.* to delete them$"),
        (1, 1.0, 0, 9, "^$"),
        (1, 0.4, 7, 9, "^$"),
        (0, 1.0, 0, 3, "listing of .* is empty.* not checked: 7 other images not in the listing$"),
        (0, 1.0, 4, 6, "listing of .* is empty.* not checked: 4 other images not in the listing$"),
        (0, 1.0, 10, 10, "^$"),
    ],
)
def test_no_chunk_is_checked_after_deletion_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    listed: int,
    limit: float,
    existing: int,
    checked: int,
    reason: str,
) -> None:
    lake, files = Lake.at(str(tmp_path)), [StoredFile(f"file:/x/{i}.jpg", 5, 0) for i in range(10)]
    write_rows(lake.features, files)
    write_rows(lake.quarantine, files[5:6])  # a move between the tables was interrupted
    checks, exist = list[str](), [file.path for file in files[:existing]]
    storage = SimpleNamespace(exists=lambda path: checks.append(path) or path in exist)
    monkeypatch.setattr(module, "open_storage", lambda _: storage)
    monkeypatch.setattr(module, "_CHUNK", 3)
    snapshot = ListingSnapshot()
    list(snapshot.record(files[:listed]))

    deleted = find_deleted_images(lake, "file:/x", snapshot, limit)
    assert sorted(checks) == [file.path for file in files[listed : listed + checked]]
    assert deleted.paths == [path for path in sorted(checks) if path not in exist]
    assert re.search(reason, deleted.skip_reason)
