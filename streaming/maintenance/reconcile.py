"""Compare a source with the tables of a lake, and repair the differences."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from streaming.delta.reader import open_table, query
from streaming.delta.tables import is_table
from streaming.images.decode import DecodeSettings
from streaming.images.fetch import THREADS_S3, fetch_image
from streaming.lake.image_index import Hashes, ImageIndex, hash_states
from streaming.lake.layout import Lake
from streaming.maintenance.forget import delete_rows
from streaming.maintenance.missing_images import (
    DEFAULT_REMOVE_LIMIT,
    DeletedImages,
    ListingSnapshot,
    find_deleted_images,
)
from streaming.maintenance.requests import JSON
from streaming.maintenance.retry_quarantined import look_at
from streaming.outcomes import Outcome
from streaming.sources.listing import Source
from streaming.storage.interface import StoredFile, TransientError

if TYPE_CHECKING:
    from streaming.maintenance.context import OperationContext

_COLUMNS = "path, length, CAST(modification_time AS BIGINT) AS modified_us, content_hash"


@dataclass(frozen=True)
class Comparison:
    """What a source and a lake do not agree on.

    Parameters
    ----------
    listed : int
        Images of the source.
    missing : list of StoredFile
        Images in neither table.
    changed : list of StoredFile
        Images whose row tells of another length or time.
    rewritten : list of StoredFile
        Images with other bytes under the same length and time; looked for on request alone.
    unread : list of str
        Why images could not be read for that.
    missing_in_source : DeletedImages
        Rows without an image.
    """

    listed: int
    missing: list[StoredFile]
    changed: list[StoredFile]
    rewritten: list[StoredFile]
    unread: list[str]
    missing_in_source: DeletedImages

    def as_json(self) -> dict[str, JSON]:
        """Counts and paths."""
        return {
            "listed": self.listed,
            "in_lake": self.missing_in_source.in_lake,
            "missing": [file.path for file in self.missing],
            "changed": [file.path for file in self.changed],
            "rewritten": [file.path for file in self.rewritten],
            "missing_in_source": self.missing_in_source.paths,
            "unread": self.unread,
        }


def compare(
    lake: Lake, source: Source, known: ImageIndex, *, hashes: bool, limit: float
) -> Comparison:
    """Compare a listing with the tables, and the images' bytes with their hashes where asked.

    Parameters
    ----------
    lake : Lake
    source : Source
    known : ImageIndex
        Of the lake, as it is now.
    hashes : bool
        Whether to read every image.
    limit : float
        As of `streaming.maintenance.missing_images.find_deleted_images`.

    Raises
    ------
    TransientError, FileNotFoundError, PermissionError
        When the source cannot be listed to its end.
    """
    seen = ListingSnapshot()
    new = list(known.new_or_changed(seen.record(source.images())))
    changed = known.filter_known(new)
    paths = {file.path for file in changed}
    rewritten, unread = _rewritten(lake, seen) if hashes else ([], [])
    return Comparison(
        seen.count,
        [file for file in new if file.path not in paths],
        changed,
        rewritten,
        unread,
        find_deleted_images(lake, source.root, seen, limit),
    )


def reconcile(context: OperationContext, arguments: dict[str, JSON]) -> dict[str, JSON]:
    """Compare, take what is missing or changed, and remove the rows of what is gone.

    Parameters
    ----------
    context : OperationContext
    arguments : dict
        ``source``: its URI; ``rewritten``: paths that `compare` found to be, where it was asked (reading every image
        would hold a stream up, so who asks does that); ``limit``: share of the rows that may be removed.

    Returns
    -------
    dict
        That of `Comparison.as_json`, with ``featurized``, ``quarantined``, ``changing``, ``removed`` and
        ``skip_reason``.

    Raises
    ------
    TransientError
        Where an image could not be read for longer than patience lasts; the others are done.
    """
    source, batch = Source(arguments["source"]), context.batch
    limit = arguments.get("limit", DEFAULT_REMOVE_LIMIT)
    found = compare(context.lake, source, batch.image_index, hashes=False, limit=limit)
    new = found.missing + found.changed
    others = set(arguments.get("rewritten", ())) - {file.path for file in new}
    found = replace(found, rewritten=look_at(StoredFile(path, 0, 0) for path in sorted(others)))
    outcomes = Counter[str]()
    files = new + found.rewritten
    if files:
        with batch.image_index.force_reprocess(found.rewritten):
            results = context.process(files)
        for result in results:
            outcomes += result.outcomes
            if result.unread:
                raise TransientError(result.unread[0])
    removed = [] if found.missing_in_source.skip_reason else found.missing_in_source.paths
    delete_rows(context.spark, context.lake, batch.image_index, removed, "removed")
    return found.as_json() | {
        "featurized": outcomes[Outcome.FEATURES],
        "quarantined": outcomes[Outcome.QUARANTINE],
        "changing": outcomes[Outcome.CHANGING],
        "removed": len(removed),
        "skip_reason": found.missing_in_source.skip_reason,
    }


def _rewritten(lake: Lake, seen: ListingSnapshot) -> tuple[list[StoredFile], list[str]]:
    """Images whose bytes have another hash than their row tells, and why others could not be read."""
    most = DecodeSettings.max_bytes
    rewritten, unread = list[StoredFile](), list[str]()
    with ThreadPoolExecutor(THREADS_S3) as pool:
        for rows in _unchanged(lake, np.sort(seen.states)):
            hashes = pool.map(lambda row: _hash(row[0], most), rows)
            for (file, expected), (found, why) in zip(rows, hashes, strict=True):
                if why:
                    unread.append(why)
                elif found and found != expected:
                    rewritten.append(file)
    return rewritten, unread


def _unchanged(lake: Lake, states: Hashes) -> Iterator[list[tuple[StoredFile, str]]]:
    """Rows that have a hash, and of which the listing tells the same as they, batch by batch."""
    for table in (lake.features, lake.quarantine):
        if not is_table(table):
            continue
        for batch in query(open_table(table), _COLUMNS, "WHERE content_hash IS NOT NULL"):
            rows = [
                (StoredFile(row["path"], row["length"], row["modified_us"] // 1000), row)
                for row in batch.to_pylist()
            ]
            same = np.isin(hash_states([file for file, _ in rows]), states)
            yield [(rows[i][0], rows[i][1]["content_hash"]) for i in np.flatnonzero(same)]


def _hash(file: StoredFile, most: int) -> tuple[str, str]:
    """The hash of a file's bytes, or why it has none; neither where it has gone or changed meanwhile."""
    fetched = fetch_image(file, most)
    if fetched.outcome is Outcome.FEATURES:
        return hashlib.sha256(fetched.content).hexdigest(), ""
    why = fetched.outcome in (Outcome.UNREAD, Outcome.QUARANTINE)
    return "", fetched.detail if why else ""
