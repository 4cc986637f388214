"""`python -m benchmarks`: measure, keep the figures, write `BENCHMARKS.md`."""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from dataclasses import replace
from pathlib import Path

from benchmarks.plots import draw
from benchmarks.report import render
from benchmarks.results import keep, load
from benchmarks.sizes import SIZES
from benchmarks.workplace import Workplace

#: Sections, in the order in which they are measured and written.
SECTIONS = ("featurize", "refit", "first_row", "latency", "growth")
ROOT = Path(__file__).parents[1]

log = logging.getLogger("benchmarks")


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """The words of the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("--size", choices=SIZES, default="quick")
    add(
        "--only",
        help="sections, divided by commas (all; quick leaves growth out); '' writes the report again",
    )
    add("--rounds", type=int, help="instead of those of the size")
    add("--images", help="folder with a folder of images for each label")
    add("--weights", help="as of `pomona ingest`")
    add("--reuse", action="store_true", help="take the lake that an earlier run has prepared")
    add("--work", type=Path, default=ROOT / "build" / "benchmarks", help="a scratch folder")
    add("--report", type=Path, default=ROOT / "BENCHMARKS.md")
    add("--results", type=Path, default=ROOT / "benchmarks" / "results.json")
    asked = parser.parse_args(words)
    if asked.only is None:
        asked.only = ",".join(SECTIONS[:-1] if asked.size == "quick" else SECTIONS)
    asked.only = [name for name in asked.only.split(",") if name]
    unknown = set(asked.only) - set(SECTIONS)
    if unknown:
        parser.error(f"--only: {', '.join(sorted(unknown))}: choose of {', '.join(SECTIONS)}")
    return asked


def main() -> None:
    """Measure the sections asked for; one that fails leaves the others."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    asked = parse()
    size = SIZES[asked.size]
    if asked.rounds:
        size = replace(size, rounds=asked.rounds)
    place = Workplace(asked.work.resolve(), size, asked.images, asked.weights, asked.reuse)
    failed = []
    for name in asked.only:
        log.info("%s, %s", name, asked.size)
        try:
            section = importlib.import_module(f"benchmarks.{name}").measure(place)
        except (RuntimeError, OSError) as error:
            log.error("%s failed: %s", name, error)
            failed.append(name)
        else:
            keep(asked.results, name, section)
    write_report(asked.results, asked.report)
    sys.exit(1 if failed else 0)


def write_report(results: Path, report: Path) -> None:
    """Write the text, and beside it the plots that it shows."""
    sections = load(results)
    if "growth" in sections:
        draw(sections["growth"], report.parent / "benchmarks" / "plots")
    report.write_text(render(sections))
    log.info("wrote %s", report)


if __name__ == "__main__":
    main()
