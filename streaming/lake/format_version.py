"""The format of a lake: a number in LAKE/lake.json, so that no version of Pomona misreads another's tables.

1   no lake.json: tables as Pomona made them before there was one
2   CHECK constraints that Spark and delta-rs both know, on `features` and on `quarantine`; statistics in `refits`
3   drift in `refits`

A change of `streaming.lake.schemas` raises `FORMAT`, and `streaming.maintenance.upgrade` brings older lakes to it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from streaming import __version__
from streaming.errors import ExternalError, LakeError
from streaming.storage.interface import TransientError
from streaming.storage.open import open_storage

FORMAT = 3
FILE = "lake.json"


@dataclass(frozen=True)
class LakeFormat:
    """What `lake.json` says.

    Attributes
    ----------
    number : int
    pomona : str
        The version of Pomona that made the lake, or upgraded it; empty where it is not known.
    """

    number: int
    pomona: str = ""


def read_format(root: str) -> LakeFormat | None:
    """The format that a lake says it has; None where it says nothing.

    Parameters
    ----------
    root : str
        Normalized URI of the lake.

    Raises
    ------
    LakeError
        Where `lake.json` is broken.
    ExternalError
        Where it is there and cannot be read.
    """
    path = f"{root}/{FILE}"
    try:
        told = json.loads(open_storage(root).read(path))
        number = told["format"]
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise ValueError(f"format {number!r}")
        return LakeFormat(number, str(told.get("pomona", "")))
    except FileNotFoundError:
        return None
    except (PermissionError, TransientError) as error:
        if isinstance(error.__cause__, NotADirectoryError):
            return None
        raise ExternalError(f"{path} cannot be read ({error}): check its permissions") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise LakeError(
            f"{path}: broken ({reason}): restore it, or delete it and run `pomona upgrade {root}`"
        ) from error


def write_format(root: str) -> None:
    """Say that a lake has the format of this version of Pomona."""
    told = {"format": FORMAT, "pomona": __version__}
    open_storage(root).write(f"{root}/{FILE}", (json.dumps(told) + "\n").encode())


def check_format(root: str, found: LakeFormat, *, allow_older: bool) -> None:
    """Refuse a lake that this version of Pomona would misread, or write to in another way than it expects.

    Parameters
    ----------
    root : str
    found : LakeFormat
    allow_older : bool
        Whether an older one will do: for whoever only reads.

    Raises
    ------
    LakeError
        In one line that names the remedy.
    """
    if found.number > FORMAT:
        made = f"made by Pomona {found.pomona}" if found.pomona else "made by a newer Pomona"
        raise LakeError(
            f"{root} has format {found.number}, {made}, and Pomona {__version__} knows formats up to {FORMAT}: "
            "install that version or a newer one"
        )
    if found.number < FORMAT and not allow_older:
        raise LakeError(
            f"{root} has format {found.number}, and Pomona {__version__} writes format {FORMAT}: "
            f"run `pomona upgrade {root}` once, which keeps all rows and versions"
        )
