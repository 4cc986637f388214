"""Read the log of a Delta table from outside: which rows are visible, and since when."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Commit:
    """A table version that added rows.

    Attributes
    ----------
    version : int
    at : float
        When the commit file appeared, in seconds since 1970. The rows are visible from then on.
    rows : int
        Number of rows in the added files.
    """

    version: int
    at: float
    rows: int


def commits(table: Path, since: int = 0) -> list[Commit]:
    """Return the commits from version `since` on that added rows, in order."""
    found = []
    for file in sorted((table / "_delta_log").glob("*.json")):
        if not file.stem.isdigit() or int(file.stem) < since:
            continue
        rows = _count_added_rows(file)
        if rows:
            found.append(Commit(int(file.stem), file.stat().st_mtime, rows))
    return found


def last_version(table: Path) -> int:
    """Return the newest version, or -1 if there is no table."""
    versions = [int(f.stem) for f in (table / "_delta_log").glob("*.json") if f.stem.isdigit()]
    return max(versions, default=-1)


def _count_added_rows(file: Path) -> int:
    adds = [json.loads(line).get("add") for line in file.read_text().splitlines()]
    return sum(json.loads(a["stats"])["numRecords"] for a in adds if a and a["dataChange"])
