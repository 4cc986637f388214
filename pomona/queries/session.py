"""Open a lake for queries, resolve ``--as-of``, and translate errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from streaming.delta.reader import table_read_errors
from streaming.errors import ExternalError
from streaming.lake.layout import Lake
from streaming.lake.versions import ResolvedVersion, resolve_version
from streaming.storage.interface import TransientError

JsonObject = dict[str, Any]
_LONGEST = 400


def open_lake(location: str) -> Lake:
    """The lake at a location, of this format or an older one; LakeError where there is none."""
    lake = Lake.at(location)
    lake.validate(allow_older=True)
    return lake


@contextmanager
def translate_read_errors() -> Iterator[None]:
    """Turn what delta-rs and the storage raise into one line."""
    try:
        yield
    except (TransientError, OSError, *table_read_errors()) as error:
        line = (str(error).splitlines() or [type(error).__name__])[0]
        if len(line) > _LONGEST:  # some quote all that they know of a file; the cause stands last
            line = f"{line[: _LONGEST // 2]} … {line[-_LONGEST // 2 :]}"
        raise ExternalError(
            f"{line} (nothing was changed; if this happens again, a file of the lake is missing or damaged)"
        ) from error


def format_timestamp(moment: datetime) -> str:
    """A time as ISO 8601, to the second."""
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def jsonable(row: JsonObject) -> JsonObject:
    """A row with its times as ISO 8601."""
    return {
        name: format_timestamp(value) if isinstance(value, datetime) else value
        for name, value in row.items()
    }


def resolve_as_of(location: str, as_of: str | None) -> ResolvedVersion | None:
    """The version that is meant, for all that is asked about it; None where nothing is said."""
    if as_of is None:
        return None
    lake = open_lake(location)
    with translate_read_errors():
        return resolve_version(lake, as_of)


def version_json(pinned: ResolvedVersion) -> JsonObject:
    """A version that was meant, as an answer."""
    return {
        "version": pinned.number,
        "committed": format_timestamp(pinned.committed),
        "resolved": pinned.description,
    }
