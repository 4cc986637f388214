"""When a lake has last seen anything: from the logs of its tables alone, whatever they hold."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pomona.asking import Answer, explained, iso, open_lake
from pomona.questions import last_batch
from streaming.delta.log import read_back
from streaming.delta.reader import open_tables, rows_of
from streaming.delta.tables import is_table

if TYPE_CHECKING:
    from deltalake import DeltaTable

_NEWEST = "max.ingested_at"


def pulse(location: str) -> Answer:
    """The times of a lake's last row, micro-batch and refit.

    Files of rows are not opened: in a stream of years there are many, and on S3 each is a request.

    Parameters
    ----------
    location : str
        Folder or URI of the lake.

    Returns
    -------
    dict
        ``lake``, ``created``, ``rows``, and of what there has been any: ``last_row``, ``last_batch`` (the last commit
        of images to features or quarantine), ``last_refit``. Times are ISO 8601, in UTC; None where there was none.
    """
    lake = open_lake(location)
    with explained():
        places = [lake.features, lake.quarantine]
        if is_table(lake.refits):
            places.append(lake.refits)
        features, quarantined, *refits = open_tables(*places)
        rows, newest = _rows(features)
        batch = last_batch(lake, features, quarantined)
        made = None
        for table in refits:
            commits = read_back(lake.refits, table.version())
            made = next((commit for commit in commits if commit.changed_rows), None)
        return {
            "lake": lake.root,
            "created": iso(
                datetime.fromtimestamp((features.metadata().created_time or 0) / 1000, UTC)
            ),
            "rows": rows,
            "last_row": newest and iso(newest),
            "last_batch": batch and iso(batch.committed),
            "last_refit": made and iso(made.committed),
        }


def _rows(features: DeltaTable) -> tuple[int, datetime | None]:
    """How many rows there are, and when the newest was made, as the log says of each file."""
    files: Any = features.get_add_actions(flatten=True)
    if not files.num_rows:
        return 0, None
    if {"num_records", _NEWEST} <= set(files.schema.names):
        counts, newest = files.column("num_records").to_pylist(), files.column(_NEWEST).to_pylist()
        if None not in counts and None not in newest:
            return sum(counts), max(newest)
    # Another program has written files of which it says nothing.
    found = rows_of(features, "count(*) AS rows, max(ingested_at) AS newest")[0]
    return found["rows"], found["newest"]
