"""Seconds from the command typed to the first row, in a lake that has rows; beside plain Spark's first append."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks.contestants import Contestant, Run
from benchmarks.delta_log import commits, last_version
from benchmarks.drawn import clone
from benchmarks.images import image_files, link
from benchmarks.latency import bare_append
from benchmarks.prefix import lake_that_knows
from benchmarks.results import Section, Table
from benchmarks.workplace import Workplace

#: Rows that the lake holds already.
_ROWS = 200


def measure(place: Workplace) -> Section:
    """One new image, `pomona ingest --once`; one row, plain Spark; in turn."""
    folder = place.scratch("first_row")
    source, lake = lake_that_knows(place, folder, _ROWS)
    link(image_files(place.images.folder)[0], source / "new" / "new.jpg")
    table, appended = Table(), folder / "bare"
    plain = bare_append(appended, 0)
    table.run(plain, place, -1)  # makes its table; not counted
    for number in range(place.size.rounds):
        table.run(pomona(source, lake), place, number)
        table.run(
            Contestant("plain", plain.title, plain.words, plain.needs, read_append), place, number
        )
    place.scratch("first_row")
    return table.section(place, {"rows": _ROWS})


def pomona(source: Path, lake: Path) -> Contestant:
    """`pomona ingest --once` into a copy of the lake, which knows all files but one."""
    version = last_version(lake / "features")

    def words(folder: Path) -> Sequence[str]:
        copy = clone(lake, folder / "lake")
        return ("pomona.cli", "ingest", str(source), str(copy), "--once", "--json")

    def read(out: str, started: float, folder: Path) -> Run:
        told = json.loads(out)
        (row,) = commits(folder / "lake" / "features", version + 1)
        first = told["first_trigger_at"]
        return {
            "count": row.rows,
            "seconds": row.at - started,
            "startup": first - started,
            "breakdown": {
                "start, until the first trigger": first - started,
                "from the first trigger to the row": row.at - first,
            }
            | told.get("startup", {}),
        }

    return Contestant("pomona", "`pomona ingest --once`, one new image", words, ("pyspark",), read)


def read_append(out: str, _started: float, _folder: Path) -> Run:
    """From the command typed to the row: start-up and append."""
    told: Run = json.loads(out.splitlines()[-1])
    parts = {"start, until the append": told["startup"], "the append": told["seconds"]}
    return told | {"seconds": sum(parts.values()), "breakdown": parts}
