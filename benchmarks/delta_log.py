"""A Delta table's log, read from outside: which rows can be seen, and since when."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Commit:
    """One version that added rows.

    Attributes
    ----------
    version : int
    at : float
        When its file appeared, in seconds since 1970: from then on its rows are seen.
    rows : int
        Rows in the files that it added.
    """

    version: int
    at: float
    rows: int


def commits(table: Path, since: int = 0) -> list[Commit]:
    """The commits that added rows, from a version on, in their order."""
    found = []
    for file in sorted((table / "_delta_log").glob("*.json")):
        if not file.stem.isdigit() or int(file.stem) < since:
            continue
        rows = _rows_added(file)
        if rows:
            found.append(Commit(int(file.stem), file.stat().st_mtime, rows))
    return found


def last_version(table: Path) -> int:
    """The newest version; -1 where there is no table."""
    versions = [int(f.stem) for f in (table / "_delta_log").glob("*.json") if f.stem.isdigit()]
    return max(versions, default=-1)


def _rows_added(file: Path) -> int:
    adds = [json.loads(line).get("add") for line in file.read_text().splitlines()]
    return sum(json.loads(a["stats"])["numRecords"] for a in adds if a and a["dataChange"])
