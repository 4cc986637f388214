"""Process quarantined images again: those that now succeed move to the features."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from streaming.delta.reader import open_table, query, quote_literal
from streaming.lake.layout import Lake
from streaming.maintenance.requests import JSON
from streaming.outcomes import Outcome
from streaming.storage.interface import StoredFile, TransientError
from streaming.storage.open import open_storage

if TYPE_CHECKING:
    from streaming.maintenance.context import OperationContext

_COLUMNS = "path, length, CAST(modification_time AS BIGINT) AS modified_us"
_AT_ONCE = 16  # files that are looked at


def retry(context: OperationContext, arguments: dict[str, JSON]) -> dict[str, JSON]:
    """Take images of the quarantine again, as they are now, whether they have changed or not.

    Parameters
    ----------
    context : OperationContext
    arguments : dict
        ``reason``: only those with this one; None for all.

    Returns
    -------
    dict
        ``tried``, ``featurized``, ``quarantined``, ``reasons`` (of those that stay, with one more attempt),
        ``changing`` (still being written) and ``gone``: how many; the rows of what is gone stay.

    Raises
    ------
    TransientError
        Where one could not be read for longer than patience lasts; the others are done.
    """
    rows = in_quarantine(context.lake, arguments.get("reason"))
    files = look_at(rows)
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
        "tried": len(files) - outcomes[Outcome.DELETED],
        "featurized": outcomes[Outcome.FEATURES],
        "quarantined": outcomes[Outcome.QUARANTINE],
        "reasons": dict(reasons),
        "changing": outcomes[Outcome.CHANGING],
        "missing_in_source": len(rows) - len(files) + outcomes[Outcome.DELETED],
    }


def in_quarantine(lake: Lake, reason: str | None = None) -> list[StoredFile]:
    """The images in quarantine as its rows tell of them."""
    where = f"WHERE reason = {quote_literal(reason)}" if reason else ""
    return [
        StoredFile(row["path"], row["length"], row["modified_us"] // 1000)
        for batch in query(open_table(lake.quarantine), _COLUMNS, where)
        for row in batch.to_pylist()
    ]


def look_at(files: Iterable[StoredFile]) -> list[StoredFile]:
    """Files as the storage has them now, without those that are gone."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return [file for file in pool.map(_as_it_is, files) if file]


def _as_it_is(file: StoredFile) -> StoredFile | None:
    """A file as the storage has it now; as it was where that may not be asked, and None where it is gone."""
    try:
        return open_storage(file.path).stat(file.path)
    except FileNotFoundError:
        return None
    except PermissionError:
        return file
