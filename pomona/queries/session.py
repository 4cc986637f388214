"""Open a lake for queries, resolve ``--as-of``, and translate errors."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from streaming.arguments import check_argument
from streaming.delta.reader import table_read_errors, translate_panics
from streaming.errors import ExternalError, SnapshotError, UsageError, first_line
from streaming.lake.layout import Lake
from streaming.lake.versions import ResolvedVersion, resolve_version
from streaming.storage.interface import TransientError, escape_name
from streaming.storage.remedies import find_remedy

if TYPE_CHECKING:
    from batch_pca.refits.catalog import RefitRow

JsonObject = dict[str, Any]
_MAX_MESSAGE_LENGTH = 400


def open_lake(location: str | os.PathLike[str]) -> Lake:
    """Open a lake of the current or an older format; LakeError if there is no lake at the location."""
    lake = Lake.at(location)
    lake.validate(allow_older=True)
    return lake


@contextmanager
def translate_read_errors() -> Iterator[None]:
    """Translate errors of delta-rs and the storage to ExternalError with a one-line message."""
    try:
        with translate_panics():
            yield
    except (TransientError, OSError, *table_read_errors()) as error:
        text = " ".join(str(error).split())
        remedy = find_remedy(text)
        line = text if remedy else first_line(error)  # delta-rs may have the cause in another line
        remedy = remedy or "if this happens again, a file of the lake is missing or damaged"
        if len(line) > _MAX_MESSAGE_LENGTH:
            # Some messages quote all metadata of a file and end with the cause.
            line = f"{line[: _MAX_MESSAGE_LENGTH // 2]} … {line[-_MAX_MESSAGE_LENGTH // 2 :]}"
        raise ExternalError(f"{line} (nothing was changed; {remedy})") from error


def check_label(label: str | None) -> str | None:
    """Return a label given by the user as it is stored; UsageError if it is not text."""
    label = check_argument("label", label, str | None)
    return None if label is None else escape_name(label)


def unknown_label(label: str, version: int) -> UsageError:
    """Return the error for a label that no image of a version has."""
    return UsageError(
        f"--label {label}: no such label in version {version}: `pomona show LAKE` lists the labels"
    )


def require_refits(lake: Lake) -> list[RefitRow]:
    """Return all published refits, oldest first; SnapshotError if there is none."""
    from batch_pca.refits.catalog import read_refits

    with translate_read_errors():
        refits = read_refits(lake)
    if not refits:
        raise SnapshotError(f"{lake.root} has no refit yet: run `pomona refit {lake.root}`")
    return refits


def format_timestamp(timestamp: datetime) -> str:
    """Format a UTC timestamp as ISO 8601 in seconds."""
    return f"{timestamp:%Y-%m-%dT%H:%M:%SZ}"


def jsonable(row: JsonObject) -> JsonObject:
    """Return a row with its timestamps as ISO 8601 strings."""
    return {
        name: format_timestamp(value) if isinstance(value, datetime) else value
        for name, value in row.items()
    }


def resolve_as_of(location: str, as_of: str | None) -> ResolvedVersion | None:
    """Resolve ``--as-of`` to a version of the features; None if it is not given."""
    if as_of is None:
        return None
    lake = open_lake(location)
    with translate_read_errors():
        return resolve_version(lake, as_of)


def version_json(pinned: ResolvedVersion) -> JsonObject:
    """Convert a resolved version to a JSON object."""
    return {
        "version": pinned.number,
        "committed": format_timestamp(pinned.committed),
        "resolved": pinned.description,
    }
