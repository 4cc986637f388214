"""Compare a source with the tables of a lake, and repair the differences."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from streaming.delta.reader import open_table, query
from streaming.delta.tables import is_table
from streaming.errors import UsageError
from streaming.featurize.stopping import until_stopped
from streaming.images.decode import DecodeSettings
from streaming.images.fetch import THREADS_S3, fetch_image
from streaming.lake.image_index import (
    STATE_COLUMNS,
    Hashes,
    ImageIndex,
    contains_hashes,
    file_of_row,
    hash_states,
)
from streaming.lake.layout import Lake
from streaming.maintenance.forget import delete_rows
from streaming.maintenance.missing_images import (
    DEFAULT_REMOVE_LIMIT,
    DeletedImages,
    ListingSnapshot,
    find_absent,
    find_deleted_images,
)
from streaming.maintenance.requests import JSON
from streaming.maintenance.retry_quarantined import stat_files
from streaming.outcomes import Outcome
from streaming.sources.listing import ListingCounts, Source
from streaming.sources.selection import Selection, read_selection
from streaming.storage.interface import StoredFile, TransientError

if TYPE_CHECKING:
    from streaming.maintenance.context import OperationContext


# Paths of each kind in the answer to a request. A larger document would be rejected.
_MAX_PATHS = 10_000


@dataclass(frozen=True)
class Comparison:
    """The differences between a source and a lake.

    Parameters
    ----------
    listed : int
        Number of images in the source.
    missing : list of StoredFile
        Images in neither table.
    changed : list of StoredFile
        Images with another length or modification time than their row.
    rewritten : list of StoredFile
        Images with other content but the same length and modification time; searched only on request.
    unread : list of str
        Errors of images that could not be read for that.
    missing_in_source : DeletedImages
        Rows whose image no longer exists.
    counts : ListingCounts
        Entries of the source that are not images.
    """

    listed: int
    missing: list[StoredFile]
    changed: list[StoredFile]
    rewritten: list[StoredFile]
    unread: list[str]
    missing_in_source: DeletedImages
    counts: ListingCounts

    def as_json(self, max_paths: int | None = None) -> dict[str, JSON]:
        """Return counts and paths: ``listed`` = ``in_lake`` + the number of ``missing`` images.

        ``backlog`` is the number of ``missing`` and ``changed`` images, which the next run would process. ``rows`` is
        the number of rows of this source in the lake, with those of deleted images. ``counts`` are the lengths of the
        lists, of which only the first `max_paths` items are returned. ``unchecked`` is the number of images that are
        not in the listing and were not checked: more images may be missing in the source.
        """
        lists = {
            "missing": [file.path for file in self.missing],
            "changed": [file.path for file in self.changed],
            "rewritten": [file.path for file in self.rewritten],
            "missing_in_source": self.missing_in_source.paths,
            "unread": self.unread,
        }
        return {
            "listed": self.listed,
            "in_lake": self.listed - len(self.missing),
            "backlog": len(self.missing) + len(self.changed),
            "rows": self.missing_in_source.rows,
            "counts": {name: len(items) for name, items in lists.items()},
            "unchecked": self.missing_in_source.unchecked,
            **{name: items[:max_paths] for name, items in lists.items()},
            **self.counts.as_json(),
        }


def compare(
    lake: Lake,
    source: Source,
    index: ImageIndex,
    *,
    hashes: bool,
    limit: float,
    stopped: Callable[[], bool] = lambda: False,
) -> Comparison:
    """Compare a listing of the source with the tables, optionally with the hashes of the images' contents.

    Parameters
    ----------
    lake : Lake
    source : Source
    index : ImageIndex
        Of the current tables.
    hashes : bool
        Read every image and compare its hash.
    limit : float
        See `streaming.maintenance.missing_images.find_deleted_images`.
    stopped : callable
        Once it returns True, the listing or the search for deleted images ends.

    Raises
    ------
    TransientError, FileNotFoundError, PermissionError
        If the source cannot be listed completely.
    StopRequested
        If it was ended so.
    """
    snapshot = ListingSnapshot()
    missing, changed = list[StoredFile](), list[StoredFile]()
    images = until_stopped(source.images(), stopped)
    for file, in_lake in index.backlog(snapshot.record(images)):
        (changed if in_lake else missing).append(file)
    rewritten, unread = _find_rewritten(lake, source, snapshot) if hashes else ([], [])
    return Comparison(
        snapshot.count,
        missing,
        changed,
        rewritten,
        unread,
        find_deleted_images(lake, source.root, snapshot, limit, stopped),
        source.counts,
    )


def reconcile(context: OperationContext, arguments: dict[str, JSON]) -> dict[str, JSON]:
    """Compare source and lake, process missing and changed images, and delete the rows of deleted ones.

    Parameters
    ----------
    context : OperationContext
    arguments : dict
        ``source``: its URI; ``selection``: see `streaming.sources.selection.Selection.as_json`, by default the stored
        one; ``rewritten``: paths of rewritten images as found by `compare` in the client, since reading every image
        would delay sweeps and other requests; ``limit``: largest share of the rows that may be deleted.

    Returns
    -------
    dict
        As `Comparison.as_json` with at most `_MAX_PATHS` paths of each kind, and ``featurized``,
        ``quarantined``, ``changing``, ``removed`` and ``skip_reason``.

    Raises
    ------
    TransientError
        If an image could not be read within the retry timeout. The others have been processed.
    """
    root, limit = arguments["source"], _remove_limit(arguments)
    if context.source is None or root != context.source.root:
        ingested = context.source.root if context.source else "no source"
        raise UsageError(
            f"{root}: the process that writes this lake ingests {ingested} and reads no other folder: stop it, then "
            "run the command again"
        )
    batch = context.batch
    selection = (
        Selection.from_json(arguments["selection"])
        if arguments.get("selection")
        else read_selection(context.lake.sources, root)
    )
    # The permission to read outside of the source is that of the process that reads, not that of the request.
    may_follow = context.source.selection.follow_links
    source = Source(root, replace(selection, follow_links=selection.follow_links and may_follow))
    # A listing of 10 million objects takes half an hour.
    with context.let_stream_continue():
        comparison = compare(
            context.lake,
            source,
            batch.image_index,
            hashes=False,
            limit=limit,
            stopped=context.stopped,
        )
    comparison = _without_changes_since(comparison, batch.image_index)
    new = comparison.missing + comparison.changed
    others = set(arguments.get("rewritten") or ()) - {file.path for file in new}
    others = {path for path in others if source.is_image(path)}
    rewritten = stat_files(StoredFile(path, 0, 0) for path in sorted(others))
    comparison = replace(comparison, rewritten=rewritten)
    outcomes = Counter[str]()
    files = new + rewritten
    if files:
        with batch.image_index.force_reprocess(rewritten):
            results = context.process(files)
        for result in results:
            outcomes += result.outcomes
            if result.unread:
                raise TransientError(result.unread[0])
    removed = [] if comparison.missing_in_source.skip_reason else comparison.missing_in_source.paths
    delete_rows(context.spark, context.lake, batch.image_index, removed, "removed")
    return comparison.as_json(_MAX_PATHS) | {
        "featurized": outcomes[Outcome.FEATURES],
        "quarantined": outcomes[Outcome.QUARANTINE],
        "changing": outcomes[Outcome.CHANGING],
        "removed": len(removed),
        "skip_reason": comparison.missing_in_source.skip_reason,
    }


def _without_changes_since(comparison: Comparison, index: ImageIndex) -> Comparison:
    """Compare the differences again: the stream may have committed images since, also some that were uploaded again."""
    missing, changed = list[StoredFile](), list[StoredFile]()
    for file, in_lake in index.backlog([*comparison.missing, *comparison.changed]):
        (changed if in_lake else missing).append(file)
    deleted = comparison.missing_in_source
    if not deleted.skip_reason:
        deleted = replace(deleted, paths=find_absent(deleted.paths)[0])
    return replace(comparison, missing=missing, changed=changed, missing_in_source=deleted)


def _remove_limit(arguments: dict[str, JSON]) -> float:
    limit = arguments.get("limit")
    if limit is None:
        return DEFAULT_REMOVE_LIMIT
    if not 0 <= limit <= 1:
        raise UsageError(f"limit is {limit}: it must be 0 to 1")
    return float(limit)


def _find_rewritten(
    lake: Lake, source: Source, snapshot: ListingSnapshot
) -> tuple[list[StoredFile], list[str]]:
    """Return the images whose content has another hash than their row, and errors of images that cannot be read."""
    rewritten, unread = list[StoredFile](), list[str]()
    with ThreadPoolExecutor(THREADS_S3) as pool:
        for rows in _unchanged_rows(lake, np.sort(snapshot.states)):
            hashes = pool.map(lambda row: _hash_content(row[0], source.boundary), rows)
            for (file, expected), (content_hash, error) in zip(rows, hashes, strict=True):
                if error:
                    unread.append(error)
                elif content_hash and content_hash != expected:
                    rewritten.append(file)
    return rewritten, unread


def _unchanged_rows(lake: Lake, states: Hashes) -> Iterator[list[tuple[StoredFile, str]]]:
    """Yield, in batches, image and content hash of the rows whose length and time are those of the listing.

    `states` are the sorted hashes of the listing.
    """
    columns, clause = f"{STATE_COLUMNS}, content_hash", "WHERE content_hash IS NOT NULL"
    for table in (lake.features, lake.quarantine):
        if not is_table(table):
            continue
        for batch in query(open_table(table), columns, clause):
            rows = batch.to_pylist()
            files = [file_of_row(row) for row in rows]
            unchanged = contains_hashes(states, hash_states(files))
            yield [(files[i], rows[i]["content_hash"]) for i in np.flatnonzero(unchanged)]


def _hash_content(file: StoredFile, boundary: str | None) -> tuple[str, str]:
    """Return the hash of a file's content, or an error; two empty strings if it was deleted or has changed."""
    fetched = fetch_image(file, DecodeSettings.max_bytes, boundary=boundary)
    if fetched.outcome is Outcome.FEATURES:
        return hashlib.sha256(fetched.content).hexdigest(), ""
    is_error = fetched.outcome in (Outcome.UNREAD, Outcome.QUARANTINE)
    return "", fetched.detail if is_error else ""
