"""Measure the time from an image's arrival in a running stream to its row.

The baseline is the append of one row to Delta by plain Spark.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

from benchmarks.inputs.images import image_files
from benchmarks.inputs.prefix import ingested_prefix
from benchmarks.inputs.workspace import Workspace
from benchmarks.measuring.competitors import Competitor, run
from benchmarks.measuring.delta_log import last_version
from benchmarks.sections.results import Section, header
from benchmarks.sections.stream import OPTIONS, running

#: Rows that the lake already has.
_ROWS = 200


def measure(workspace: Workspace) -> Section:
    """Add images one at a time, then append rows one at a time."""
    size = workspace.size
    count = size.warm_batches + size.samples
    folder = workspace.scratch("latency")
    source, lake = ingested_prefix(workspace, folder, _ROWS)
    durations = []
    generator = random.Random(0)
    with running(source, lake, last_version(lake / "features") + 1) as stream:
        for file in image_files(workspace.images.folder)[: count + 1] * (1 + count):
            durations.append(stream.add_images(file))
            time.sleep(generator.random())  # arrivals are not synchronized with the trigger
            if len(durations) > count:
                break
    bare = run(bare_append(folder / "bare", count), workspace.work)
    workspace.scratch("latency")
    # The first duration includes the start of Spark.
    return header(workspace) | {
        "options": " ".join(OPTIONS),
        "warm": durations[1 : size.warm_batches],
        "samples": durations[-size.samples :],
        "bare": bare["appends"][-size.samples :] if "appends" in bare else [],
        "skipped": bare.get("skipped"),
    }


def bare_append(table: Path, repeats: int) -> Competitor:
    """Append one row with plain Spark, and `repeats` more in the same session."""
    arguments = ("benchmarks.peers.spark_append", str(table), str(repeats))
    title = "plain Spark appends one row"
    return Competitor("spark_append", title, lambda _: arguments, ("pyspark",))
