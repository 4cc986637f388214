"""Measure how cost scales: a micro-batch with the files in a prefix, a refit with the rows of a table."""

from __future__ import annotations

import logging
import shutil
from statistics import median

from benchmarks.inputs.images import image_files
from benchmarks.inputs.prefix import ingested_prefix
from benchmarks.inputs.workspace import Workspace
from benchmarks.measuring.competitors import run
from benchmarks.measuring.delta_log import last_version
from benchmarks.sections.refit import append_new_rows, refit_in_place, synthetic_lake
from benchmarks.sections.results import Section, header
from benchmarks.sections.stream import running

log = logging.getLogger(__name__)

#: Micro-batches measured per prefix size, after one that is not measured.
_BATCHES = 3
#: Disk space per row, including everything derived from it.
_ROW_BYTES = 10_000


def measure(workspace: Workspace) -> Section:
    """Measure both curves; sizes that do not fit the disk are skipped and listed in `left_out`."""
    left_out: list[str] = []
    batches, refits = {}, {}
    for count in workspace.size.prefixes:
        try:
            batches[str(count)] = micro_batch(workspace, count)
        except RuntimeError as error:
            left_out.append(f"{count:,} files: {error}")
    for rows in workspace.size.refit_rows:
        free = shutil.disk_usage(workspace.work).free
        if free < rows * _ROW_BYTES:
            left_out.append(f"{rows:,} rows: skipped, only {free / 2**30:.0f} GiB of disk are free")
            continue
        refits[str(rows)] = refit(workspace, rows)
    workspace.scratch("scaling")
    return header(workspace) | {
        "arrivals": workspace.size.arrivals,
        "micro_batches": batches,
        "refits": refits,
        "left_out": left_out,
    }


def micro_batch(workspace: Workspace, count: int) -> float:
    """Return the median time from the arrival of new images in a running stream to their last row, in seconds."""
    folder = workspace.scratch("scaling")
    source, lake = ingested_prefix(workspace, folder, count)
    file = image_files(workspace.images.folder)[0]
    with running(source, lake, last_version(lake / "features") + 1) as stream:
        stream.add_images(file)
        durations = [stream.add_images(file, workspace.size.arrivals) for _ in range(1 + _BATCHES)][
            1:
        ]
    log.info("%s files: %s s", f"{count:,}", ", ".join(f"{seconds:.1f}" for seconds in durations))
    return median(durations)


def refit(workspace: Workspace, rows: int) -> dict[str, dict[str, float]]:
    """Run a refit of all rows, and another one after 1 % new rows."""
    lake = synthetic_lake(workspace, workspace.scratch("scaling") / "lake", rows)
    runs = {"full": run(refit_in_place("full", lake), workspace.work)}
    append_new_rows(lake, rows)
    runs["again"] = run(refit_in_place("again", lake), workspace.work)
    for name, result in runs.items():
        log.info(
            "%s rows, %s: %s",
            f"{rows:,}",
            name,
            {k: result.get(k) for k in ("seconds", "whole", "skipped")},
        )
    return runs
