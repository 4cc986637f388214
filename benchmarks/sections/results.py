"""Collect and store results as JSON: one section per benchmark, so that each can be measured again on its own."""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.inputs.workspace import Workspace
from benchmarks.measuring.competitors import Competitor, Run, run
from benchmarks.measuring.machine import machine, versions

log = logging.getLogger(__name__)

Section = dict[str, Any]


class RunCollector:
    """Run the competitors of a section and collect their results."""

    def __init__(self) -> None:
        self._titles: dict[str, str] = {}
        self._runs: dict[str, list[Run]] = defaultdict(list)
        self._skipped: dict[str, str] = {}

    def run(self, competitor: Competitor, workspace: Workspace, number: int) -> Run:
        """Run a competitor in round `number`; one that failed once is not run again."""
        key = competitor.key
        if competitor.secondary and number >= workspace.size.secondary_rounds:
            return {}
        self._titles[key] = competitor.title
        if key in self._skipped:
            return {"skipped": self._skipped[key]}
        try:
            result = run(competitor, workspace.work)
        except RuntimeError as error:  # its lake could not be prepared
            result = {"skipped": str(error)}
        if "skipped" in result:
            self._skipped[key] = result["skipped"]
            log.info("round %d, %s: skipped, %s", number + 1, key, result["skipped"])
        else:
            self._runs[key].append(result)
            log.info(
                "round %d, %s: %s in %.1f s, %.1f per second, after %.1f s of startup",
                number + 1,
                key,
                f"{result['count']:,}",
                result["seconds"],
                result["count"] / result["seconds"],
                result["startup"],
            )
        return result

    def section(self, workspace: Workspace, facts: dict[str, Any]) -> Section:
        """Return the section: header, `facts`, and the runs of each competitor."""
        competitors = {
            key: {"title": title, "runs": self._runs[key], "skipped": self._skipped.get(key)}
            for key, title in self._titles.items()
        }
        return header(workspace) | facts | {"competitors": competitors}


def header(workspace: Workspace) -> Section:
    """Return the size, time, machine and versions of a measurement."""
    return {
        "size": workspace.size.name,
        "rounds": workspace.size.rounds,
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(),
    }


def median_of(section: Section, key: str, value: str) -> float | None:
    """Return the median of a value over a competitor's runs, or None if it has none."""
    runs = section["competitors"].get(key, {}).get("runs", [])
    found = [run[value] for run in runs if run.get(value)]
    return median(found) if found else None


def rate(section: Section, key: str) -> float | None:
    """Return the median of images or rows per second, or None if the competitor did not run."""
    runs = section["competitors"].get(key, {}).get("runs", [])
    return median(run["count"] / run["seconds"] for run in runs) if runs else None


def load_sections(file: Path) -> dict[str, Section]:
    """Load all sections measured so far."""
    sections: dict[str, Section] = json.loads(file.read_text()) if file.exists() else {}
    return sections


def save_section(file: Path, name: str, section: Section) -> None:
    """Add a section to the file, replacing an older one of the same name."""
    merged = load_sections(file) | {name: section}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(merged, indent=1) + "\n")
