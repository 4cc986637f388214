"""Run the benchmarks (`python -m benchmarks`), save the results and write `BENCHMARKS.md`."""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from dataclasses import replace
from pathlib import Path

from benchmarks.inputs.sizes import SIZES
from benchmarks.inputs.workspace import Workspace
from benchmarks.report.plots import draw
from benchmarks.report.render import render
from benchmarks.sections.results import load_sections, save_section

#: Sections in the order in which they are measured and written.
SECTIONS = ("featurize", "refit", "first_row", "latency", "idle", "scaling")
ROOT = Path(__file__).parents[1]

log = logging.getLogger("benchmarks")


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line; `only` becomes a list of section names."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("--size", choices=SIZES, default="quick")
    add(
        "--only",
        help="sections, separated by commas (default: all, without scaling in the quick size); "
        "'' only rewrites the report",
    )
    add("--rounds", type=int, help="number of rounds (default: depends on the size)")
    add("--images", help="folder with one subfolder of images per label")
    add("--weights", help="weights, as for `pomona ingest`")
    add("--reuse", action="store_true", help="reuse the lake that an earlier run prepared")
    add("--work", type=Path, default=ROOT / "build" / "benchmarks", help="scratch folder")
    add("--report", type=Path, default=ROOT / "BENCHMARKS.md")
    add("--results", type=Path, default=ROOT / "benchmarks" / "results.json")
    options = parser.parse_args(arguments)
    if options.only is None:
        options.only = ",".join(SECTIONS[:-1] if options.size == "quick" else SECTIONS)
    options.only = [name for name in options.only.split(",") if name]
    unknown = set(options.only) - set(SECTIONS)
    if unknown:
        parser.error(
            f"--only: unknown sections {', '.join(sorted(unknown))}; choose from {', '.join(SECTIONS)}"
        )
    return options


def main() -> None:
    """Measure the selected sections; a failing section does not stop the others."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    options = parse_arguments()
    size = SIZES[options.size]
    if options.rounds:
        size = replace(size, rounds=options.rounds)
    workspace = Workspace(
        options.work.resolve(), size, options.images, options.weights, options.reuse
    )
    failed = []
    for name in options.only:
        log.info("%s, %s", name, options.size)
        try:
            section = importlib.import_module(f"benchmarks.sections.{name}").measure(workspace)
        except (RuntimeError, OSError) as error:
            log.error("%s failed: %s", name, error)
            failed.append(name)
        else:
            save_section(options.results, name, section)
    write_report(options.results, options.report)
    sys.exit(1 if failed else 0)


def write_report(results: Path, report: Path) -> None:
    """Write the report, and the plots that it links to."""
    sections = load_sections(results)
    if "scaling" in sections:
        draw(sections["scaling"], report.parent / "benchmarks" / "plots")
    report.write_text(render(sections))
    log.info("wrote %s", report)


if __name__ == "__main__":
    main()
