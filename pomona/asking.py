"""How a lake is asked: opened, whatever its format up to this one's, and read by delta-rs into plain rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from streaming.delta_rs import query
from streaming.errors import FaultError
from streaming.lake import Lake
from streaming.storage import TransientFault

if TYPE_CHECKING:
    from deltalake import DeltaTable

Answer = dict[str, Any]


def open_lake(location: str) -> Lake:
    """The lake at a location, of this format or an older one; LakeError where there is none."""
    lake = Lake.at(location)
    lake.require(older_too=True)
    return lake


@contextmanager
def explained() -> Iterator[None]:
    """Turn what delta-rs and the storage raise into one line."""
    from deltalake.exceptions import DeltaError

    try:
        yield
    except (DeltaError, pa.ArrowException, TransientFault, OSError) as error:
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise FaultError(
            f"{line} (nothing was changed; if it says so again, a file of the lake is gone or damaged)"
        ) from error


def rows_of(table: DeltaTable, columns: str, rest: str = "") -> list[Answer]:
    """What a table answers; Arrow alone would import pandas, for half a second, to make times of its numbers."""
    rows: list[Answer] = []
    for batch in query(table, columns, rest):
        times = [field.name for field in batch.schema if pa.types.is_timestamp(field.type)]
        for name in times:
            micros = batch.column(name).cast(pa.timestamp("us", "UTC")).cast(pa.int64())
            batch = batch.set_column(batch.schema.get_field_index(name), name, micros)
        for row in batch.to_pylist():
            made = {name: _moment(row[name]) for name in times if row[name] is not None}
            rows.append(row | made)
    return rows


def _moment(micros: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)


def iso(moment: datetime) -> str:
    """A time as ISO 8601, to the second."""
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
