"""Process quarantined images again: those that now succeed move to the features."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING

from streaming.delta.reader import open_table, query, quote_literal
from streaming.lake.image_index import STATE_COLUMNS, file_of_row
from streaming.lake.layout import Lake
from streaming.maintenance.requests import JSON
from streaming.outcomes import Outcome
from streaming.storage.interface import StoredFile, TransientError
from streaming.storage.open import open_storage

if TYPE_CHECKING:
    from streaming.maintenance.context import OperationContext

_CHUNK = 10_000
_THREADS = 16


def retry(context: OperationContext, arguments: dict[str, JSON]) -> dict[str, JSON]:
    """Process quarantined images again in their current state, whether they have changed or not.

    Parameters
    ----------
    context : OperationContext
    arguments : dict
        ``reason``: process only images with this reason; None for all.

    Returns
    -------
    dict
        Numbers of images: ``retried``, ``featurized``, ``quarantined``, ``reasons`` (of those quarantined again, with
        one more attempt), ``changing`` (still being written), ``missing_in_source`` (their rows are kept), and
        ``other_sources`` (not processed, because they are not below a source that this process may read).

    Raises
    ------
    TransientError
        If an image could not be read within the retry timeout. The others have been processed.
    """
    listed = quarantined_files(context.lake, arguments.get("reason"))
    rows = [file for file in listed if context.is_own(file.path)]
    files = stat_files(rows)
    outcomes, reasons = Counter[str](), Counter[str]()
    if files:
        with context.batch.image_index.force_reprocess(files):
            results = context.process(files)
        for result in results:
            outcomes += result.outcomes
            reasons += result.reasons
            if result.unread:
                raise TransientError(result.unread[0])
    return {
        "retried": len(files) - outcomes[Outcome.DELETED],
        "featurized": outcomes[Outcome.FEATURES],
        "quarantined": outcomes[Outcome.QUARANTINE],
        "reasons": dict(reasons),
        "changing": outcomes[Outcome.CHANGING],
        "missing_in_source": len(rows) - len(files) + outcomes[Outcome.DELETED],
        "other_sources": len(listed) - len(rows),
    }


def quarantined_files(lake: Lake, reason: str | None = None) -> list[StoredFile]:
    """Return the quarantined images, in the state that their rows have recorded."""
    where = f"WHERE reason = {quote_literal(reason)}" if reason else ""
    return [
        file_of_row(row)
        for batch in query(open_table(lake.quarantine), STATE_COLUMNS, where)
        for row in batch.to_pylist()
    ]


def stat_files(files: Iterable[StoredFile]) -> list[StoredFile]:
    """Return the current state of files, without those that do not exist.

    The files are looked up in chunks, since each waiting look-up takes 1.6 KB.
    """
    iterator, found = iter(files), list[StoredFile]()
    with ThreadPoolExecutor(_THREADS) as pool:
        while chunk := list(islice(iterator, _CHUNK)):
            found += [file for file in pool.map(_stat_file, chunk) if file]
    return found


def _stat_file(file: StoredFile) -> StoredFile | None:
    """Return the current state of a file, the given one if access is denied, and None if it does not exist."""
    try:
        return open_storage(file.path).stat(file.path)
    except FileNotFoundError:
        return None
    except PermissionError:
        return file
