"""The format version of a lake: a number in LAKE/lake.json that prevents misreading tables of another version.

1   no lake.json: the tables of the first version of Pomona
2   CHECK constraints that Spark and delta-rs both evaluate, on `features` and on `quarantine`; statistics in `refits`
3   drift in `refits`
4   standard names: columns `parameters` and `drift_exceeded` of `refits`, keys of `refit.json` and of the tags
5   the quarantine reason `unsupported`; in `refits` `scheduled`, new and vanished labels and limits, and a
    `drift_angle` that does not depend on the number of components

If `streaming.lake.schemas` changes, raise `FORMAT` and extend `streaming.maintenance.upgrade`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from streaming import __version__
from streaming.errors import ExternalError, LakeError
from streaming.storage.documents import Optional, read_document
from streaming.storage.interface import TransientError
from streaming.storage.open import open_storage
from streaming.storage.remedies import storage_remedy

FORMAT = 5
FILE = "lake.json"

#: Keys of JSON documents that had other names up to format 3.
RENAMED_TAG_KEYS = {"made_at": "created_at"}
RENAMED_REFIT_KEYS = {"asked": "parameters"}
RENAMED_DRIFT_KEYS = {"passed": "exceeded"}


@dataclass(frozen=True)
class LakeFormat:
    """Content of `lake.json`.

    Attributes
    ----------
    number : int
        The format.
    pomona : str
        The version of Pomona that created or upgraded the lake; empty if unknown.
    """

    number: int
    pomona: str = ""


def read_format(root: str) -> LakeFormat | None:
    """Read the format version of a lake; None if it has no `lake.json`.

    Parameters
    ----------
    root : str
        Normalized URI of the lake.

    Raises
    ------
    LakeError
        If `lake.json` is damaged.
    ExternalError
        If it exists and cannot be read.
    """
    path = f"{root}/{FILE}"
    remedy = f"restore it, or delete it and run `pomona upgrade {root}`"
    try:
        document = read_document(path, root, {"format": int, "pomona": Optional(str)}, remedy)
    except FileNotFoundError:
        return None
    except (PermissionError, TransientError) as error:
        raise ExternalError(f"{path} cannot be read ({error}): {storage_remedy(error)}") from error
    if document["format"] < 1:
        raise LakeError(f"{path}: broken (format is below 1): {remedy}")
    return LakeFormat(document["format"], document.get("pomona") or "")


def write_format(root: str) -> None:
    """Write the current format version into `lake.json`."""
    document = {"format": FORMAT, "pomona": __version__}
    open_storage(root).write(f"{root}/{FILE}", (json.dumps(document) + "\n").encode())


def check_format(root: str, lake_format: LakeFormat, *, allow_older: bool) -> None:
    """Check that this version of Pomona can read, or read and write, a lake of this format.

    Parameters
    ----------
    root : str
    lake_format : LakeFormat
    allow_older : bool
        Accept older formats, which can be read but not written.

    Raises
    ------
    LakeError
        If the format is not supported.
    """
    if lake_format.number > FORMAT:
        creator = f"Pomona {lake_format.pomona}" if lake_format.pomona else "a newer Pomona"
        raise LakeError(
            f"{root} has format {lake_format.number}, made by {creator}; Pomona {__version__} supports "
            f"formats up to {FORMAT}: install that version or a newer one"
        )
    if lake_format.number < FORMAT and not allow_older:
        raise LakeError(
            f"{root} has format {lake_format.number}; Pomona {__version__} writes format {FORMAT}: "
            f"run `pomona upgrade {root}` once, which keeps all rows and versions"
        )


def rename_keys(document: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return a copy of a JSON object with the current names of its keys."""
    return {names.get(key, key): value for key, value in document.items()}
