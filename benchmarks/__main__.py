"""`python -m benchmarks`: measure, keep the figures, write `BENCHMARKS.md`."""

from __future__ import annotations

import argparse
import importlib
import logging
from pathlib import Path

from benchmarks.results import keep
from benchmarks.sizes import SIZES
from benchmarks.workplace import Workplace

#: Sections, in the order in which they are measured and written.
SECTIONS = ("featurize",)
ROOT = Path(__file__).parents[1]

log = logging.getLogger("benchmarks")


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """The words of the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("--size", choices=SIZES, default="quick")
    add("--only", default=",".join(SECTIONS), help="sections, divided by commas (all unless given)")
    add("--images", help="folder with a folder of images for each label")
    add("--weights", help="as of `pomona ingest`")
    add("--work", type=Path, default=ROOT / "build" / "benchmarks", help="a scratch folder")
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
    place = Workplace(asked.work.resolve(), SIZES[asked.size], asked.images, asked.weights)
    for name in asked.only:
        log.info("%s, %s", name, asked.size)
        section = importlib.import_module(f"benchmarks.{name}").measure(place)
        keep(asked.results, name, section)


if __name__ == "__main__":
    main()
