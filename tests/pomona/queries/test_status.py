"""Tests for `status`, `quarantine` and `history`: numbers compared with delta-rs over several ingestions."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import deltalake
import pytest
from pyspark.sql import SparkSession

from batch_pca.pca.fit import FitOptions
from batch_pca.refit import RefitOptions, refit
from batch_pca.refits.catalog import RefitRow
from pomona.commands.ingest import summary_json
from pomona.queries import history
from pomona.queries import status as questions
from streaming.featurize.results import BatchResult
from streaming.ingest.pipeline import ingest
from streaming.ingest.settings import IngestSummary
from streaming.lake.layout import Lake
from support.lakes.small_lakes import ONCE, photos, put, put_all, rows
from support.processes.cli import Command, shown

pytestmark = pytest.mark.spark

REFIT = RefitOptions(FitOptions(components=2))


def displayed(value: Any) -> Any:
    """Return a document with its locations as the command prints them."""
    if isinstance(value, dict):
        return {key: displayed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [displayed(item) for item in value]
    return shown(value) if isinstance(value, str) else value


@dataclass
class Story:
    """A lake after three deliveries and a refit, with the results of `status` in between."""

    source: Path
    lake: Lake
    statuses: dict[str, dict[str, Any]]
    made: RefitRow | None = None
    results: list[BatchResult] = field(default_factory=list)
    summaries: list[IngestSummary] = field(default_factory=list)

    def deliver(self) -> None:
        """Run `ingest --once`."""
        summary = ingest(
            str(self.source), self.lake.root, ONCE, lambda result, _: self.results.append(result)
        )
        self.summaries.append(summary)

    def look(self, when: str) -> None:
        """Record the result of `status`."""
        self.statuses[when] = displayed(questions.status(self.lake.root))


@pytest.fixture(scope="module")
def story(
    spark: SparkSession, new_lake: Callable[[], Path], tmp_path_factory: pytest.TempPathFactory
) -> Story:
    source = tmp_path_factory.mktemp("source") / "Crème [x]"
    put_all(source, photos("Apple Red 1", range(4)) | photos("Kiwi", range(2)))
    put_all(
        source, {"Kiwi/garbage.jpg": b"no image", "Kiwi/empty.jpg": b"", "Kiwi/notes.txt": b"1"}
    )
    created = Story(source, Lake.at(str(new_lake())), {})
    created.look("empty")
    created.deliver()
    created.made = refit(created.lake.root, REFIT).row
    put_all(source, photos("Fig", range(3)))
    created.look("waiting")
    created.deliver()
    put(source / "Fig" / "0.jpg", photos("", [77])["/77.jpg"])  # replaced by another image
    put(source / "Fig" / "1.jpg", b"no image")  # no longer an image
    created.deliver()
    created.look("end")
    return created


def test_status_of_an_empty_lake(story: Story) -> None:
    result = story.statuses["empty"]
    assert (result["rows"], result["labels"], result["quarantine"]) == (0, 0, {})
    assert [result[key] for key in ("model_id", "source", "backlog")] == [None] * 3
    assert result["last_batch"] is None
    assert result["last_refit"] is None


def test_status_of_an_empty_lake_has_unknown_backlog(
    new_lake: Callable[[], Path], pomona: Command
) -> None:
    output = pomona("status", new_lake()).out
    assert "backlog      unknown: no image was ingested yet" in output


def test_status_counts_rows_labels_and_quarantine(story: Story) -> None:
    result = story.statuses["waiting"]
    assert (result["rows"], result["labels"]) == (6, 2)
    assert result["quarantine"] == {"unidentified": 1, "empty": 1}
    assert result["source"] == str(story.source)
    assert result["lake"] == shown(story.lake.root)
    assert {row["model_id"] for row in rows(story.lake.features)} == {result["model_id"]}


def test_status_reports_last_batch_and_age(story: Story) -> None:
    batch = story.statuses["waiting"]["last_batch"]
    at = datetime.fromisoformat(batch["at"])
    assert timedelta() <= datetime.now(UTC) - at < timedelta(minutes=10)
    assert 0 <= batch["seconds_ago"] < 600
    assert batch["engine"] == "onnxruntime"


def test_backlog_counts_images_of_the_next_run(story: Story) -> None:
    backlogs = {when: result["backlog"] for when, result in story.statuses.items()}
    assert backlogs == {
        "empty": None,
        "waiting": 3,
        "end": 0,
    }


def test_refit_is_stale_after_rows_change(story: Story) -> None:
    assert story.made
    fresh = story.statuses["waiting"]["last_refit"]  # waiting files do not change rows
    assert fresh["refit_id"] == story.made.refit_id
    assert fresh["components"] == 2
    assert (fresh["rows"], fresh["new_rows_since"], fresh["stale"]) == (6, 0, False)
    stale = story.statuses["end"]["last_refit"]
    assert (stale["rows"], stale["stale"]) == (6, True)
    counts = [stale[f"{kind}_rows_since"] for kind in ("new", "replaced", "removed")]
    assert counts == [3, 1, 1]


def test_status_command_prints_the_result(story: Story, pomona: Command) -> None:
    result = pomona("status", story.lake.root.removeprefix("file:"), "--json").json
    end = story.statuses["end"]
    assert result["last_batch"].pop("seconds_ago") >= end["last_batch"].pop("seconds_ago")
    assert result == end
    lines = pomona("status", story.lake.root).out
    assert re.search(r"^rows +8 in 3 labels$", lines, re.MULTILINE)
    assert re.search(r"^quarantine +3 \(1 empty, 2 unidentified\)$", lines, re.MULTILINE)
    assert re.search(r"^backlog +0 images$", lines, re.MULTILINE)
    assert re.search(r"^writer +none: no process writes the lake now$", lines, re.MULTILINE)
    assert re.search(
        r"^last refit .* 2 components: stale, the features have changed since \(\+3 rows, "
        r"1 replaced, 1 removed\)$",
        lines,
        re.MULTILINE,
    )


def test_status_as_of_version_or_timestamp(story: Story, pomona: Command) -> None:
    assert story.made
    version = story.made.features_version
    last = deltalake.DeltaTable(story.lake.features.removeprefix("file:")).version()
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    # Waiting files are in no table: the lake has the state after the refit.
    for as_of, when, number in (
        (version, "waiting", version),
        (now, "end", last),
        ("latest", "end", last),
    ):
        result = pomona("status", story.lake.root, "--as-of", as_of, "--json").json
        assert result["as_of"]["version"] == number
        for key in ("rows", "labels", "model_id", "source", "last_refit"):
            assert result[key] == story.statuses[when][key], (as_of, key)
        assert result["backlog"] is None
    assert result["quarantine"] == story.statuses["end"]["quarantine"]
    first = pomona("status", story.lake.root, "--as-of", 0, "--json").json
    assert (first["rows"], first["quarantine"], first["last_refit"]) == (0, {}, None)
    lines = pomona("status", story.lake.root, "--as-of", version).out.splitlines()
    assert re.fullmatch(rf"as of {{8}}version {version} of \S+", lines[0])
    assert not any(line.startswith("backlog") for line in lines)
    assert lines[-1].endswith("components: up to date")
    result = pomona("status", story.lake.root, "--as-of", 0, "--max-age", "1h")
    assert (result.status, "--max-age and --as-of cannot be combined" in result.error_line) == (
        2,
        True,
    )


def test_status_with_unreachable_source(story: Story, pomona: Command) -> None:
    away = story.source.with_name("away")
    story.source.rename(away)
    try:
        assert questions.status(story.lake.root)["backlog"] is None
        assert "unknown: the source is not reachable" in pomona("status", story.lake.root).out
    finally:
        away.rename(story.source)


def test_quarantine_is_sorted_by_reason_and_path(story: Story, pomona: Command) -> None:
    result = pomona("quarantine", story.lake.root, "--json").json
    below = [(row["reason"], row["path"].removeprefix(f"{story.source}/")) for row in result]
    assert below == [
        ("empty", "Kiwi/empty.jpg"),
        ("unidentified", "Fig/1.jpg"),
        ("unidentified", "Kiwi/garbage.jpg"),
    ]
    assert {shown(row["path"]) for row in rows(story.lake.quarantine)} == {
        row["path"] for row in result
    }
    written = (story.source / "Fig" / "1.jpg").stat().st_mtime
    at = datetime.fromisoformat(result[1]["modification_time"])
    assert at == datetime.fromtimestamp(int(written), UTC)


def test_quarantine_filters_by_reason(story: Story, pomona: Command) -> None:
    result = pomona("quarantine", story.lake.root, "--reason", "empty", "--json").json
    assert [row["path"] for row in result] == [f"{story.source}/Kiwi/empty.jpg"]
    assert pomona("quarantine", story.lake.root, "--reason", "corrupt", "--json").json == []
    text = pomona("quarantine", story.lake.root, "--reason", "corrupt").out
    assert text == "no image is in quarantine for the reason corrupt\n"


def test_quarantine_as_of_lists_earlier_rows(story: Story, pomona: Command) -> None:
    assert story.made
    version = story.made.features_version
    result = pomona("quarantine", story.lake.root, "--as-of", version, "--json").json
    found = {row["path"].rpartition("/")[2] for row in result}
    assert {"garbage.jpg"} <= found <= {"garbage.jpg", "empty.jpg"}  # the sweep may commit later
    assert pomona("quarantine", story.lake.root, "--as-of", 0, "--json").json == []
    now = pomona("quarantine", story.lake.root, "--as-of", "0 seconds ago", "--json").json
    assert now == pomona("quarantine", story.lake.root, "--json").json
    assert "no image was in" in pomona("quarantine", story.lake.root, "--as-of", 0).out


def test_quarantine_prints_paths_unchanged(story: Story, pomona: Command) -> None:
    lines = pomona("quarantine", story.lake.root).out.splitlines()
    assert len(lines) == 4
    assert f"{story.source}/Kiwi/empty.jpg" in lines[1]  # with brackets and accents


def test_history_row_counts_match_delta_rs(story: Story, pomona: Command) -> None:
    result = pomona("history", story.lake.root, "--json").json
    table = deltalake.DeltaTable(story.lake.features.removeprefix("file:"))
    assert [row["version"] for row in result] == list(range(table.version() + 1))
    for row in result:
        table.load_as_version(row["version"])
        assert row["total"] == table.to_pyarrow_table(columns=["path"]).num_rows, row
    assert sum(row["added"] - row["removed"] for row in result) == result[-1]["total"] == 8
    assert sum(row["replaced"] for row in result) == 1
    assert sum(row["removed"] for row in result) == 1


def test_history_lists_refits_by_version(story: Story, pomona: Command) -> None:
    assert story.made
    result = pomona("history", story.lake.root, "--json").json
    made = {row["version"]: row["refits"] for row in result if row["refits"]}
    assert made == {story.made.features_version: [story.made.refit_id]}
    lines = pomona("history", story.lake.root).out.splitlines()
    assert len(lines) == 1 + len(result)
    assert story.made.refit_id in lines[1 + story.made.features_version]


def test_history_has_commit_times_and_rates(story: Story) -> None:
    result = history.history(story.lake.root)
    times = [datetime.fromisoformat(row["committed"]) for row in result]
    assert times == sorted(times)
    assert all(row["images_per_second"] > 0 for row in result if row["added"])


def test_rates_of_progress_summary_status_and_history_are_equal(story: Story) -> None:
    commits = [row for row in history.history(story.lake.root) if row["images_per_second"]]
    reported = [result for result in story.results if result.outcomes["features"]]
    assert [row["images_per_second"] for row in commits] == [
        result.images_per_second for result in reported
    ]
    for summary in story.summaries:
        assert summary.images == summary.outcomes["features"] + summary.outcomes["quarantine"]
        assert summary_json(summary)["images_per_second"] == summary.images_per_second
        assert 0 < summary.busy <= summary.last_row_at - summary.first_trigger_at
    written = [result for result in story.results if result.written]
    busy = sum(summary.busy for summary in story.summaries)
    assert sum(result.seconds for result in written) == pytest.approx(busy)
    batch = story.statuses["end"]["last_batch"]
    assert (batch["seconds"], batch["images_per_second"]) == (
        written[-1].seconds,
        written[-1].images_per_second,
    )


def test_backlog_of_status_equals_that_of_reconcile(story: Story, pomona: Command) -> None:
    assert story.made
    listed = story.statuses["waiting"]["sources"]
    assert listed == [
        {
            "source": str(story.source),
            "listed": 11,
            "missing": 3,
            "changed": 0,
            "backlog": 3,
            "error": None,
        }
    ]
    result = pomona("reconcile", story.source, story.lake.root, "--json").json
    now = displayed(questions.status(story.lake.root)["sources"][0])
    assert [len(result["missing"]), len(result["changed"]), result["backlog"]] == [
        now["missing"],
        now["changed"],
        now["backlog"],
    ]
    assert result["listed"] == now["listed"]


def test_queries_do_not_change_the_lake(story: Story) -> None:
    def files() -> set[Path]:
        return set(Path(story.lake.root.removeprefix("file:")).rglob("*.json"))

    before = files()
    questions.status(story.lake.root)
    questions.quarantine(story.lake.root)
    history.history(story.lake.root)
    assert files() == before
