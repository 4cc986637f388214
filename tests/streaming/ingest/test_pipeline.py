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
from streaming.ingest.settings import IngestSummary, Stage
from streaming.lake.layout import Lake
from streaming.outcomes import Reason
from support.lakes.small_lakes import (
    GARBAGE,
    ONCE,
    below,
    commit_metadata,
    jpeg,
    photos,
    put,
    put_all,
    rows,
    versions,
)

pytestmark = pytest.mark.spark

LABELS = ("Apple Red 1", "Crème brûlée", "100% ripe", "a%20b", "a+b", "[x] {a}", "10:30", "*?")
IGNORED = (".hidden/a.jpg", "_tmp/b.jpg", "Fig/.c.jpg", "_day=1/d.jpg", "Fig/notes.txt", "Fig/jpg")


@dataclass
class Runs:
    """Runs of `ingest --once` on one source and lake, with the tables after each run."""

    source: Path
    lake: Lake
    summaries: list[IngestSummary] = field(default_factory=list)
    tables: list[tuple[list[str], list[str]]] = field(default_factory=list)
    versions: list[tuple[int, int]] = field(default_factory=list)
    stages: list[set[Stage]] = field(default_factory=list)

    def run(self) -> None:
        """Run `ingest --once`, and record the summary and the tables."""
        stages: set[Stage] = set()
        report = lambda stage, _: stages.add(stage)  # noqa: E731
        self.summaries.append(ingest(str(self.source), self.lake.root, ONCE, on_stage=report))
        self.stages.append(stages)
        lake = self.lake
        self.tables.append((below(self.source, lake.features), below(self.source, lake.quarantine)))
        self.versions.append(versions(lake))


FIRST, AGAIN, MORE, REPLACED, BACK = range(5)
GOOD = {name for label in LABELS for name in photos(label, range(2))}


@pytest.fixture(scope="module")
def runs(
    spark: SparkSession, new_lake: Callable[[], Path], tmp_path_factory: pytest.TempPathFactory
) -> Runs:
    source = tmp_path_factory.mktemp("sources") / "été [x] {a} 50% +"
    runs = Runs(source, Lake.at(str(new_lake())))
    for label in LABELS:
        put_all(source, photos(label, range(2)))
    put(source / "Fig" / "bad.jpg", GARBAGE)
    put(source / "Fig" / "empty.jpg", b"")
    put_all(source, dict.fromkeys(IGNORED, jpeg()))
    runs.run()  # FIRST
    runs.run()  # AGAIN
    put_all(source, photos("Late", range(3)))
    put(source / "Late" / "old.jpg", jpeg(9), written=1_000_000_000)  # 2001
    runs.run()  # MORE
    put(source / "a+b" / "0.jpg", jpeg(77), written=time.time() - 30)
    put(source / "a+b" / "1.jpg", GARBAGE, written=time.time() - 30)
    put(source / "Fig" / "bad.jpg", jpeg(78), written=time.time() - 30)
    put(source / "Fig" / "empty.jpg", jpeg(79), written=time.time() - 30)
    runs.run()  # REPLACED
    put(source / "a+b" / "1.jpg", jpeg(80), written=time.time() - 20)
    put(source / "Fig" / "bad.jpg", GARBAGE[:-1], written=time.time() - 20)
    runs.run()  # BACK
    return runs


def test_each_image_is_in_one_table_once(runs: Runs) -> None:
    features, quarantine = runs.tables[FIRST]
    assert features == sorted(GOOD)
    assert quarantine == ["Fig/bad.jpg", "Fig/empty.jpg"]
    for features, quarantine in runs.tables:
        assert len({*features, *quarantine}) == len(features) + len(quarantine)


def test_labels_match_folder_names(runs: Runs) -> None:
    assert {row["label"] for row in rows(runs.lake.features)} == {*LABELS, "Fig", "Late"}


def test_empty_file_is_quarantined_by_sweep(runs: Runs) -> None:
    assert runs.summaries[FIRST].reasons["empty"] == 1
    assert set(runs.summaries[FIRST].reasons) <= set(Reason)
    sweeps = [commit for commit in commit_metadata(runs.lake.quarantine) if commit["query"] is None]
    assert sweeps[-1]["quarantined"] == 1  # the stream delivered only the other one of the two


def test_other_and_hidden_files_are_ignored_and_counted(runs: Runs) -> None:
    assert [summary.ignored for summary in runs.summaries] == [len(IGNORED)] * 5
    for features, quarantine in runs.tables:
        assert not {*features, *quarantine} & set(IGNORED)


def test_second_run_adds_no_version(runs: Runs) -> None:
    assert runs.versions[AGAIN] == runs.versions[FIRST]
    assert runs.tables[AGAIN] == runs.tables[FIRST]
    assert runs.summaries[AGAIN].batches == 0
    assert not runs.summaries[AGAIN].outcomes


def test_run_without_new_images_does_not_start_spark(runs: Runs) -> None:
    assert [Stage.SPARK in stages for stages in runs.stages] == [True, False, True, True, True]


def test_new_files_with_old_modification_times_are_ingested(runs: Runs) -> None:
    added = [*photos("Late", range(3)), "Late/old.jpg"]
    assert runs.tables[MORE] == (sorted(runs.tables[AGAIN][0] + added), runs.tables[AGAIN][1])
    assert runs.summaries[MORE].outcomes == {"features": 4}
    assert runs.summaries[MORE].replaced == 0


def test_replaced_file_has_one_row_with_new_content(runs: Runs) -> None:
    assert runs.tables[REPLACED][0].count("a+b/0.jpg") == 1
    (row,) = (row for row in rows(runs.lake.features) if row["path"].endswith("/a+b/0.jpg"))
    assert row["content_hash"] == hashlib.sha256(jpeg(77)).hexdigest()
    assert row["length"] == len(jpeg(77))
    written = (runs.source / "a+b" / "0.jpg").stat().st_mtime_ns // 1_000_000
    assert row["modification_time"].timestamp() * 1000 == pytest.approx(written, abs=0.5)


def test_file_that_turns_bad_or_good_moves_between_tables(runs: Runs) -> None:
    features, quarantine = (set(names) for names in runs.tables[REPLACED])
    assert {"Fig/bad.jpg", "Fig/empty.jpg"} <= features
    assert quarantine == {"a+b/1.jpg"}
    features, quarantine = (set(names) for names in runs.tables[BACK])
    assert {"a+b/1.jpg", "Fig/empty.jpg"} <= features
    assert quarantine == {"Fig/bad.jpg"}
    assert runs.summaries[REPLACED].outcomes == {"features": 3, "quarantine": 1}
    assert runs.summaries[REPLACED].replaced == 4
    assert runs.summaries[BACK].replaced == 2


def test_no_image_is_waiting_at_the_end(runs: Runs) -> None:
    assert [summary.waiting for summary in runs.summaries] == [0] * 5


def test_commit_metadata_names_source(runs: Runs) -> None:
    commits = [*commit_metadata(runs.lake.features), *commit_metadata(runs.lake.quarantine)]
    for commit in commits:
        assert {"pomona", "query", "batch", "images", "quarantined"} <= set(commit)
        # The deletion of rows that moved to the other table is no batch: it has neither source nor start.
        assert commit.get("source") == (f"file:{runs.source}" if "started" in commit else None)
        assert commit["engine"] == "onnxruntime"
        assert (commit["query"] is None) == (commit["batch"] == -1)
    assert 0 < sum("started" not in commit for commit in commits) < len(commits)
    assert len({commit["query"] for commit in commits if commit["query"]}) == 1
    streamed = [commit for commit in commit_metadata(runs.lake.features) if commit["query"]]
    written = [(commit["batch"], commit["images"]) for commit in streamed if "started" in commit]
    assert written == [(3, 1), (2, 3), (1, 4), (0, 16)]
