"""Seconds from an image that arrives in a running stream to its row, beside a bare append of one row to Delta."""

from __future__ import annotations

import random
import time
from pathlib import Path

from benchmarks.contestants import Contestant, run
from benchmarks.delta_log import last_version
from benchmarks.images import image_files
from benchmarks.prefix import lake_that_knows
from benchmarks.results import Section, header
from benchmarks.stream import WORDS, running
from benchmarks.workplace import Workplace

#: Rows that the lake holds already.
_ROWS = 200


def measure(place: Workplace) -> Section:
    """Let images arrive one at a time; then append one row at a time."""
    size = place.size
    count = size.warm_batches + size.samples
    folder = place.scratch("latency")
    source, lake = lake_that_knows(place, folder, _ROWS)
    found = []
    chance = random.Random(0)
    with running(source, lake, last_version(lake / "features") + 1) as stream:
        for file in image_files(place.images.folder)[: count + 1] * (1 + count):
            found.append(stream.drop(file))
            time.sleep(chance.random())  # arrivals keep no step with the trigger
            if len(found) > count:
                break
    bare = run(bare_append(folder / "bare", count), place.work)
    place.scratch("latency")
    # The first waited for Spark's start.
    return header(place) | {
        "words": " ".join(WORDS),
        "warm": found[1 : size.warm_batches],
        "samples": found[-size.samples :],
        "bare": bare["appends"][-size.samples :] if "appends" in bare else [],
        "skipped": bare.get("skipped"),
    }


def bare_append(table: Path, repeats: int) -> Contestant:
    """Plain Spark that appends one row, and again."""
    words = ("benchmarks.peers.spark_append", str(table), str(repeats))
    return Contestant("spark_append", "plain Spark appends one row", lambda _: words, ("pyspark",))
