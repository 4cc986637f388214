"""`python -m benchmarks`: measure, keep the figures, write `BENCHMARKS.md`."""

from __future__ import annotations

import argparse
import importlib
import logging
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
        default=",".join(SECTIONS),
        help="sections, divided by commas; '' writes the report again",
    )
    add("--images", help="folder with a folder of images for each label")
    add("--weights", help="as of `pomona ingest`")
    add("--reuse", action="store_true", help="take the lake that an earlier run has prepared")
    add("--work", type=Path, default=ROOT / "build" / "benchmarks", help="a scratch folder")
    add("--report", type=Path, default=ROOT / "BENCHMARKS.md")
    add("--results", type=Path, default=ROOT / "benchmarks" / "results.json")
    asked = parser.parse_args(words)
    asked.only = [name for name in asked.only.split(",") if name]
    unknown = set(asked.only) - set(SECTIONS)
    if unknown:
        parser.error(f"--only: {', '.join(sorted(unknown))}: choose of {', '.join(SECTIONS)}")
    return asked


def main() -> None:
    """Measure the sections asked for."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    asked = parse()
    place = Workplace(
        asked.work.resolve(), SIZES[asked.size], asked.images, asked.weights, asked.reuse
    )
    for name in asked.only:
        log.info("%s, %s", name, asked.size)
        section = importlib.import_module(f"benchmarks.{name}").measure(place)
        keep(asked.results, name, section)
    write_report(asked.results, asked.report)


def write_report(results: Path, report: Path) -> None:
    """Write the text, and beside it the plots that it shows."""
    sections = load(results)
    if "growth" in sections:
        draw(sections["growth"], report.parent / "benchmarks" / "plots")
    report.write_text(render(sections))
    log.info("wrote %s", report)


if __name__ == "__main__":
    main()
