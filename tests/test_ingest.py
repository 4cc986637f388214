"""Promises of `streaming.ingest`: every image in exactly one table, once, as it is now. One lake, a story of five runs."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from small_lakes import GARBAGE, ONCE, below, jpeg, photos, put, put_all, rows, told, versions

from streaming.decode import Reason
from streaming.ingest import ingest
from streaming.lake import Lake
from streaming.settings import IngestSummary

pytestmark = pytest.mark.spark

LABELS = ("Apple Red 1", "Crème brûlée", "100% ripe", "a%20b", "a+b", "[x] {a}", "10:30", "*?")
IGNORED = (".hidden/a.jpg", "_tmp/b.jpg", "Fig/.c.jpg", "_day=1/d.jpg", "Fig/notes.txt", "Fig/jpg")


@dataclass
class Story:
    """A source, its lake, and what was there after each run."""

    source: Path
    lake: Lake
    summaries: list[IngestSummary] = field(default_factory=list)
    tables: list[tuple[list[str], list[str]]] = field(default_factory=list)
    versions: list[tuple[int, int]] = field(default_factory=list)

    def run(self) -> None:
        """`ingest --once`, and a look at the tables."""
        self.summaries.append(ingest(str(self.source), self.lake.root, ONCE))
        lake = self.lake
        self.tables.append((below(self.source, lake.features), below(self.source, lake.quarantine)))
        self.versions.append(versions(lake))


FIRST, AGAIN, MORE, REPLACED, BACK = range(5)
GOOD = {name for label in LABELS for name in photos(label, range(2))}


@pytest.fixture(scope="module")
def story(
    spark: SparkSession, new_lake: Callable[[], Path], tmp_path_factory: pytest.TempPathFactory
) -> Story:
    source = tmp_path_factory.mktemp("sources") / "été [x] {a} 50% +"
    story = Story(source, Lake.at(str(new_lake())))
    for label in LABELS:
        put_all(source, photos(label, range(2)))
    put(source / "Fig" / "bad.jpg", GARBAGE)
    put(source / "Fig" / "empty.jpg", b"")
    put_all(source, dict.fromkeys(IGNORED, jpeg()))
    story.run()  # FIRST
    story.run()  # AGAIN
    put_all(source, photos("Late", range(3)))
    put(source / "Late" / "old.jpg", jpeg(9), written=1_000_000_000)  # 2001
    story.run()  # MORE
    put(source / "a+b" / "0.jpg", jpeg(77), written=time.time() - 30)
    put(source / "a+b" / "1.jpg", GARBAGE, written=time.time() - 30)
    put(source / "Fig" / "bad.jpg", jpeg(78), written=time.time() - 30)
    put(source / "Fig" / "empty.jpg", jpeg(79), written=time.time() - 30)
    story.run()  # REPLACED
    put(source / "a+b" / "1.jpg", jpeg(80), written=time.time() - 20)
    put(source / "Fig" / "bad.jpg", GARBAGE[:-1], written=time.time() - 20)
    story.run()  # BACK
    return story


def test_each_image_is_in_exactly_one_table_once(story: Story) -> None:
    features, quarantine = story.tables[FIRST]
    assert features == sorted(GOOD)
    assert quarantine == ["Fig/bad.jpg", "Fig/empty.jpg"]
    for features, quarantine in story.tables:
        assert len({*features, *quarantine}) == len(features) + len(quarantine)


def test_labels_are_what_people_wrote(story: Story) -> None:
    assert {row["label"] for row in rows(story.lake.features)} == {*LABELS, "Fig", "Late"}
