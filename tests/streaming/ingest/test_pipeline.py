"""Tests for `streaming.ingest.pipeline`: each image is in one table, once, with its current content."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from streaming.ingest.pipeline import ingest
from streaming.ingest.settings import IngestSummary
from streaming.lake.layout import Lake
from streaming.outcomes import Reason
from support.lakes import GARBAGE, ONCE, below, jpeg, photos, put, put_all, rows, told, versions

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


def test_each_image_is_in_one_table_once(story: Story) -> None:
    features, quarantine = story.tables[FIRST]
    assert features == sorted(GOOD)
    assert quarantine == ["Fig/bad.jpg", "Fig/empty.jpg"]
    for features, quarantine in story.tables:
        assert len({*features, *quarantine}) == len(features) + len(quarantine)


def test_labels_match_folder_names(story: Story) -> None:
    assert {row["label"] for row in rows(story.lake.features)} == {*LABELS, "Fig", "Late"}


def test_empty_file_is_quarantined_by_sweep(story: Story) -> None:
    assert story.summaries[FIRST].reasons["empty"] == 1
    assert set(story.summaries[FIRST].reasons) <= set(Reason)
    sweeps = [commit for commit in told(story.lake.quarantine) if commit["query"] is None]
    assert sweeps[-1]["quarantined"] == 1  # the oldest: of the two, the stream delivered the other


def test_other_and_hidden_files_are_ignored_and_counted(story: Story) -> None:
    assert [summary.ignored for summary in story.summaries] == [len(IGNORED)] * 5
    for features, quarantine in story.tables:
        assert not {*features, *quarantine} & set(IGNORED)


def test_second_run_adds_no_version(story: Story) -> None:
    assert story.versions[AGAIN] == story.versions[FIRST]
    assert story.tables[AGAIN] == story.tables[FIRST]
    assert story.summaries[AGAIN].batches == 0
    assert not story.summaries[AGAIN].outcomes


def test_new_files_with_old_modification_times_are_ingested(story: Story) -> None:
    added = [*photos("Late", range(3)), "Late/old.jpg"]
    assert story.tables[MORE] == (sorted(story.tables[AGAIN][0] + added), story.tables[AGAIN][1])
    assert story.summaries[MORE].outcomes == {"features": 4}
    assert story.summaries[MORE].replaced == 0


def test_replaced_file_has_one_row_with_new_content(story: Story) -> None:
    assert story.tables[REPLACED][0].count("a+b/0.jpg") == 1
    (row,) = (row for row in rows(story.lake.features) if row["path"].endswith("/a+b/0.jpg"))
    assert row["content_hash"] == hashlib.sha256(jpeg(77)).hexdigest()
    assert row["length"] == len(jpeg(77))
    written = (story.source / "a+b" / "0.jpg").stat().st_mtime_ns // 1_000_000
    assert row["modification_time"].timestamp() * 1000 == pytest.approx(written, abs=0.5)


def test_file_that_turns_bad_or_good_moves_between_tables(story: Story) -> None:
    features, quarantine = (set(names) for names in story.tables[REPLACED])
    assert {"Fig/bad.jpg", "Fig/empty.jpg"} <= features
    assert quarantine == {"a+b/1.jpg"}
    features, quarantine = (set(names) for names in story.tables[BACK])
    assert {"a+b/1.jpg", "Fig/empty.jpg"} <= features
    assert quarantine == {"Fig/bad.jpg"}
    assert story.summaries[REPLACED].outcomes == {"features": 3, "quarantine": 1}
    assert story.summaries[REPLACED].replaced == 4
    assert story.summaries[BACK].replaced == 2


def test_no_image_is_waiting_at_the_end(story: Story) -> None:
    assert [summary.waiting for summary in story.summaries] == [0] * 5


def test_commit_metadata_names_source(story: Story) -> None:
    commits = [*told(story.lake.features), *told(story.lake.quarantine)]
    for commit in commits:
        assert {"pomona", "query", "batch", "images", "quarantined"} <= set(commit)
        assert commit["source"] == f"file:{story.source}"
        assert commit["engine"] == "onnxruntime"
        assert (commit["query"] is None) == (commit["batch"] == -1)
    assert len({commit["query"] for commit in commits if commit["query"]}) == 1
    streamed = [commit for commit in told(story.lake.features) if commit["query"]]
    assert [(commit["batch"], commit["images"]) for commit in streamed] == [(1, 4), (0, 16)]
