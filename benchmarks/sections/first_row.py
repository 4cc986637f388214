"""Measure the time from starting the command to the first row, in a lake that already has rows.

The baseline is the first append of plain Spark.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks.inputs.images import image_files, link
from benchmarks.inputs.prefix import ingested_prefix
from benchmarks.inputs.synthetic import clone_lake
from benchmarks.inputs.workspace import Workspace
from benchmarks.measuring.competitors import Competitor, Run
from benchmarks.measuring.delta_log import commits, last_version
from benchmarks.sections.latency import bare_append
from benchmarks.sections.results import RunCollector, Section

#: Rows that the lake already has.
_ROWS = 200


def measure(workspace: Workspace) -> Section:
    """Run `pomona ingest --once` with one new image and plain Spark with one row, in turn."""
    folder = workspace.scratch("first_row")
    source, lake = ingested_prefix(workspace, folder, _ROWS)
    link(image_files(workspace.images.folder)[0], source / "new" / "new.jpg")
    collector, appended = RunCollector(), folder / "bare"
    append = bare_append(appended, 0)
    collector.run(append, workspace, -1)  # creates the table; not counted
    plain = Competitor("plain", append.title, append.arguments, append.requires, parse_append)
    for number in range(workspace.size.rounds):
        collector.run(pomona(source, lake), workspace, number)
        collector.run(plain, workspace, number)
    workspace.scratch("first_row")
    return collector.section(workspace, {"rows": _ROWS})


def pomona(source: Path, lake: Path) -> Competitor:
    """Run `pomona ingest --once` into a copy of the lake, in which one file is new."""
    version = last_version(lake / "features")

    def arguments(folder: Path) -> Sequence[str]:
        """Copy the lake and return the arguments of the command."""
        copy = clone_lake(lake, folder / "lake")
        return ("pomona.cli", "ingest", str(source), str(copy), "--once", "--json")

    def parse_output(out: str, started: float, folder: Path) -> Run:
        """Return the time until the row's commit, split at the first trigger."""
        summary = json.loads(out)
        (row,) = commits(folder / "lake" / "features", version + 1)
        first = summary["first_trigger_at"]
        return {
            "count": row.rows,
            "seconds": row.at - started,
            "startup": first - started,
            "breakdown": {
                "start to first trigger": first - started,
                "first trigger to row": row.at - first,
            }
            | summary.get("startup", {}),
        }

    title = "`pomona ingest --once`, one new image"
    return Competitor("pomona", title, arguments, ("pyspark",), parse_output)


def parse_append(out: str, _started: float, _folder: Path) -> Run:
    """Return the time from the start of the script to the row: startup plus append."""
    result: Run = json.loads(out.splitlines()[-1])
    parts = {"start to append": result["startup"], "append": result["seconds"]}
    return result | {"seconds": sum(parts.values()), "breakdown": parts}
