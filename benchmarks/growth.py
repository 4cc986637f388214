"""How cost grows: a micro-batch over the files that a prefix holds, a refit over the rows of a table."""

from __future__ import annotations

import logging
import shutil
from statistics import median

from benchmarks.contestants import run
from benchmarks.delta_log import last_version
from benchmarks.images import image_files
from benchmarks.prefix import lake_that_knows
from benchmarks.refit import drawn_lake, grow, in_place
from benchmarks.results import Section, header
from benchmarks.stream import running
from benchmarks.workplace import Workplace

log = logging.getLogger(__name__)

#: Micro-batches timed at each size of the prefix, after one that is not.
_BATCHES = 3
#: Bytes that a row takes on the disk, with all that is made of it.
_ROW_BYTES = 10_000


def measure(place: Workplace) -> Section:
    """Both curves; a size for which there is no room is left out, and said to be."""
    left_out: list[str] = []
    batches, refits = {}, {}
    for count in place.size.prefixes:
        try:
            batches[str(count)] = micro_batch(place, count)
        except RuntimeError as error:
            left_out.append(f"{count:,} files: {error}")
    for rows in place.size.growing_rows:
        free = shutil.disk_usage(place.work).free
        if free < rows * _ROW_BYTES:
            left_out.append(f"{rows:,} rows: {free / 2**30:.0f} GiB of disk are too few")
            continue
        refits[str(rows)] = refit(place, rows)
    place.scratch("growth")
    return header(place) | {
        "arrivals": place.size.arrivals,
        "micro_batches": batches,
        "refits": refits,
        "left_out": left_out,
    }


def micro_batch(place: Workplace, count: int) -> float:
    """Median of the seconds from new images' arrival in a running stream to the last of their rows."""
    folder = place.scratch("growth")
    source, lake = lake_that_knows(place, folder, count)
    file = image_files(place.images.folder)[0]
    with running(source, lake, last_version(lake / "features") + 1) as stream:
        stream.drop(file)
        found = [stream.drop(file, place.size.arrivals) for _ in range(1 + _BATCHES)][1:]
    log.info("%s files: %s s", f"{count:,}", ", ".join(f"{seconds:.1f}" for seconds in found))
    return median(found)


def refit(place: Workplace, rows: int) -> dict[str, dict[str, float]]:
    """Seconds of a refit of all rows, and of another after 1 % new ones."""
    lake = drawn_lake(place, place.scratch("growth") / "lake", rows)
    found = {"full": run(in_place("full", lake), place.work)}
    grow(lake, rows)
    found["again"] = run(in_place("again", lake), place.work)
    for name, told in found.items():
        log.info(
            "%s rows, %s: %s",
            f"{rows:,}",
            name,
            {k: told.get(k) for k in ("seconds", "whole", "skipped")},
        )
    return found
