"""What was measured, as JSON: sections by name, each with its size and date, so that parts can be measured anew."""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.contestants import Contestant, Run, run
from benchmarks.machine import machine, versions
from benchmarks.workplace import Workplace

log = logging.getLogger(__name__)

Section = dict[str, Any]


class Table:
    """Collects the runs of a section's contestants."""

    def __init__(self) -> None:
        self._titles: dict[str, str] = {}
        self._runs: dict[str, list[Run]] = defaultdict(list)
        self._skipped: dict[str, str] = {}

    def run(self, contestant: Contestant, place: Workplace, number: int) -> Run:
        """Run one of them in round `number`; one that could not run is not tried again."""
        key = contestant.key
        if contestant.aside and number >= place.size.rounds_aside:
            return {}
        self._titles[key] = contestant.title
        if key in self._skipped:
            return {"skipped": self._skipped[key]}
        try:
            found = run(contestant, place.work)
        except RuntimeError as error:  # there is no lake for it
            found = {"skipped": str(error)}
        if "skipped" in found:
            self._skipped[key] = found["skipped"]
            log.info("round %d, %s: skipped, %s", number + 1, key, found["skipped"])
        else:
            self._runs[key].append(found)
            rate = found["count"] / found["seconds"]
            text = "round %d, %s: %s in %.1f s, %.1f a second, after %.1f s of start-up"
            values = (f"{found['count']:,}", found["seconds"], rate, found["startup"])
            log.info(text, number + 1, key, *values)
        return found

    def section(self, place: Workplace, facts: dict[str, Any]) -> Section:
        """The section with these runs in it."""
        contestants = {
            key: {"title": title, "runs": self._runs[key], "skipped": self._skipped.get(key)}
            for key, title in self._titles.items()
        }
        return header(place) | facts | {"contestants": contestants}


def header(place: Workplace) -> Section:
    """When, where and how much; each section says it for itself."""
    return {
        "size": place.size.name,
        "rounds": place.size.rounds,
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(),
    }


def middle(section: Section, key: str, value: str) -> float | None:
    """Median of a value over a contestant's runs; None where it has none."""
    runs = section["contestants"].get(key, {}).get("runs", [])
    found = [run[value] for run in runs if run.get(value)]
    return median(found) if found else None


def rate(section: Section, key: str) -> float | None:
    """Median of images or rows a second; None where a contestant did not run."""
    runs = section["contestants"].get(key, {}).get("runs", [])
    return median(run["count"] / run["seconds"] for run in runs) if runs else None


def load(file: Path) -> dict[str, Section]:
    """All sections measured so far."""
    found: dict[str, Section] = json.loads(file.read_text()) if file.exists() else {}
    return found


def keep(file: Path, name: str, section: Section) -> None:
    """Put a section in place of an older one."""
    merged = load(file) | {name: section}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(merged, indent=1) + "\n")
