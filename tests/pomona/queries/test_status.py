"""Tests for `status`, `quarantine` and `history`: a lake's life in numbers, as delta-rs finds them too."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import deltalake
import pytest
from pyspark.sql import SparkSession

from batch_pca.pca.fit import FitOptions
from batch_pca.refit import RefitOptions, refit
from batch_pca.refits.catalog import RefitRow
from pomona.queries import history
from pomona.queries import status as questions
from streaming.ingest.pipeline import ingest
from streaming.lake.layout import Lake
from support.cli import Command, shown
from support.lakes import ONCE, photos, put, put_all, rows

pytestmark = pytest.mark.spark

REFIT = RefitOptions(FitOptions(components=2))


def displayed(value: Any) -> Any:
    """Return an answer with its locations as the command prints them."""
    if isinstance(value, dict):
        return {key: displayed(item) for key, item in value.items()}
    return shown(value) if isinstance(value, str) else value


@dataclass
class Story:
    """A lake after three deliveries and a refit, and what `status` said on the way."""

    source: Path
    lake: Lake
    statuses: dict[str, dict[str, Any]]
    made: RefitRow | None = None

    def deliver(self) -> None:
        """`ingest --once`."""
        ingest(str(self.source), self.lake.root, ONCE)

    def look(self, when: str) -> None:
        """Keep what `status` says."""
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
    told = Story(source, Lake.at(str(new_lake())), {})
    told.look("empty")
    told.deliver()
    told.made = refit(told.lake.root, REFIT).row
    put_all(source, photos("Fig", range(3)))
    told.look("waiting")
    told.deliver()
    put(source / "Fig" / "0.jpg", photos("", [77])["/77.jpg"])  # replaced by another picture
    put(source / "Fig" / "1.jpg", b"no image")  # no longer an image
    told.deliver()
    told.look("end")
    return told


def test_a_lake_without_rows_has_a_status(story: Story) -> None:
    told = story.statuses["empty"]
    assert (told["rows"], told["labels"], told["quarantine"]) == (0, 0, {})
    assert [told[key] for key in ("model_id", "source", "backlog")] == [None] * 3
    assert told["last_batch"] is None
    assert told["last_refit"] is None


def test_an_empty_lake_has_no_source_that_could_be_out_of_reach(
    new_lake: Callable[[], Path], pomona: Command
) -> None:
    said = pomona("status", new_lake()).out
    assert "backlog      unknown: nothing was ingested yet" in said


def test_rows_labels_and_quarantine_are_counted(story: Story) -> None:
    told = story.statuses["waiting"]
    assert (told["rows"], told["labels"]) == (6, 2)
    assert told["quarantine"] == {"unidentified": 1, "empty": 1}
    assert told["source"] == str(story.source)
    assert told["lake"] == shown(story.lake.root)
    assert {row["model_id"] for row in rows(story.lake.features)} == {told["model_id"]}


def test_the_last_batch_is_told_with_its_age(story: Story) -> None:
    batch = story.statuses["waiting"]["last_batch"]
    at = datetime.fromisoformat(batch["at"])
    assert timedelta() <= datetime.now(UTC) - at < timedelta(minutes=10)
    assert 0 <= batch["seconds_ago"] < 600
    assert batch["engine"] == "onnxruntime"


def test_the_backlog_is_what_the_next_run_would_take(story: Story) -> None:
    backlogs = {when: told["backlog"] for when, told in story.statuses.items()}
    assert backlogs == {
        "empty": None,
        "waiting": 3,
        "end": 0,
    }


def test_a_refit_is_fresh_until_the_rows_change(story: Story) -> None:
    assert story.made
    fresh = story.statuses["waiting"]["last_refit"]  # files alone change no rows
    assert fresh["refit_id"] == story.made.refit_id
    assert fresh["components"] == 2
    assert (fresh["rows"], fresh["new_rows_since"], fresh["stale"]) == (6, 0, False)
    stale = story.statuses["end"]["last_refit"]
    assert (stale["rows"], stale["new_rows_since"], stale["stale"]) == (6, 2, True)


def test_status_as_the_command_prints_it(story: Story, pomona: Command) -> None:
    told = pomona("status", story.lake.root.removeprefix("file:"), "--json").json
    end = story.statuses["end"]
    assert told["last_batch"].pop("seconds_ago") >= end["last_batch"].pop("seconds_ago")
    assert told == end
    lines = pomona("status", story.lake.root).out
    assert re.search(r"^rows +8 in 3 labels$", lines, re.MULTILINE)
    assert re.search(r"^quarantine +3 \(1 empty, 2 unidentified\)$", lines, re.MULTILINE)
    assert re.search(r"^backlog +0 images$", lines, re.MULTILINE)
    assert re.search(r"^last refit .* 2 components: stale, \+2 rows since$", lines, re.MULTILINE)


def test_a_lake_stands_as_it_stood_at_a_version_or_a_time(story: Story, pomona: Command) -> None:
    assert story.made
    version = story.made.features_version
    last = deltalake.DeltaTable(story.lake.features.removeprefix("file:")).version()
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    # Files that wait are in no table: then the lake stood as it did after the refit.
    for as_of, when, number in (
        (version, "waiting", version),
        (now, "end", last),
        ("latest", "end", last),
    ):
        told = pomona("status", story.lake.root, "--as-of", as_of, "--json").json
        assert told["as_of"]["version"] == number
        for key in ("rows", "labels", "model_id", "source", "last_refit"):
            assert told[key] == story.statuses[when][key], (as_of, key)
        assert told["backlog"] is None
    assert told["quarantine"] == story.statuses["end"]["quarantine"]
    first = pomona("status", story.lake.root, "--as-of", 0, "--json").json
    assert (first["rows"], first["quarantine"], first["last_refit"]) == (0, {}, None)
    lines = pomona("status", story.lake.root, "--as-of", version).out.splitlines()
    assert re.fullmatch(rf"as of {{8}}version {version} of \S+", lines[0])
    assert not any(line.startswith("backlog") for line in lines)
    assert "fresh" in lines[-1]
    told = pomona("status", story.lake.root, "--as-of", 0, "--max-age", "1h")
    assert (told.status, "--max-age watches what is now" in told.complaint) == (2, True)


def test_a_source_out_of_reach_is_no_fault_of_the_lake(story: Story, pomona: Command) -> None:
    away = story.source.with_name("away")
    story.source.rename(away)
    try:
        assert questions.status(story.lake.root)["backlog"] is None
        assert "unknown: the source is not reachable" in pomona("status", story.lake.root).out
    finally:
        away.rename(story.source)


def test_the_quarantine_is_listed_in_the_order_of_reason_and_path(
    story: Story, pomona: Command
) -> None:
    told = pomona("quarantine", story.lake.root, "--json").json
    below = [(row["reason"], row["path"].removeprefix(f"{story.source}/")) for row in told]
    assert below == [
        ("empty", "Kiwi/empty.jpg"),
        ("unidentified", "Fig/1.jpg"),
        ("unidentified", "Kiwi/garbage.jpg"),
    ]
    assert {shown(row["path"]) for row in rows(story.lake.quarantine)} == {
        row["path"] for row in told
    }
    written = (story.source / "Fig" / "1.jpg").stat().st_mtime
    at = datetime.fromisoformat(told[1]["modification_time"])
    assert at == datetime.fromtimestamp(int(written), UTC)


def test_the_quarantine_can_be_narrowed_to_one_reason(story: Story, pomona: Command) -> None:
    told = pomona("quarantine", story.lake.root, "--reason", "empty", "--json").json
    assert [row["path"] for row in told] == [f"{story.source}/Kiwi/empty.jpg"]
    assert pomona("quarantine", story.lake.root, "--reason", "corrupt", "--json").json == []
    words = pomona("quarantine", story.lake.root, "--reason", "corrupt").out
    assert words == "no image is in quarantine for the reason corrupt\n"


def test_the_quarantine_as_it_was_holds_what_came_until_then(story: Story, pomona: Command) -> None:
    assert story.made
    version = story.made.features_version
    told = pomona("quarantine", story.lake.root, "--as-of", version, "--json").json
    found = {row["path"].rpartition("/")[2] for row in told}
    assert {"garbage.jpg"} <= found <= {"garbage.jpg", "empty.jpg"}  # the sweep's may come after
    assert pomona("quarantine", story.lake.root, "--as-of", 0, "--json").json == []
    now = pomona("quarantine", story.lake.root, "--as-of", "0 seconds ago", "--json").json
    assert now == pomona("quarantine", story.lake.root, "--json").json
    assert "no image was in" in pomona("quarantine", story.lake.root, "--as-of", 0).out


def test_the_quarantine_names_paths_as_they_are(story: Story, pomona: Command) -> None:
    lines = pomona("quarantine", story.lake.root).out.splitlines()
    assert len(lines) == 4
    assert f"{story.source}/Kiwi/empty.jpg" in lines[1]  # brackets, accents and all


def test_history_counts_rows_as_delta_rs_finds_them_at_each_version(
    story: Story, pomona: Command
) -> None:
    told = pomona("history", story.lake.root, "--json").json
    table = deltalake.DeltaTable(story.lake.features.removeprefix("file:"))
    assert [row["version"] for row in told] == list(range(table.version() + 1))
    for row in told:
        table.load_as_version(row["version"])
        assert row["total"] == table.to_pyarrow_table(columns=["path"]).num_rows, row
    assert sum(row["added"] - row["removed"] for row in told) == told[-1]["total"] == 8
    assert sum(row["replaced"] for row in told) == 1
    assert sum(row["removed"] for row in told) == 1


def test_history_names_the_refits_of_each_version(story: Story, pomona: Command) -> None:
    assert story.made
    told = pomona("history", story.lake.root, "--json").json
    made = {row["version"]: row["refits"] for row in told if row["refits"]}
    assert made == {story.made.features_version: [story.made.refit_id]}
    lines = pomona("history", story.lake.root).out.splitlines()
    assert len(lines) == 1 + len(told)
    assert story.made.refit_id in lines[1 + story.made.features_version]


def test_history_tells_when_and_how_fast(story: Story) -> None:
    told = history.history(story.lake.root)
    times = [datetime.fromisoformat(row["committed"]) for row in told]
    assert times == sorted(times)
    assert all(row["images_per_second"] > 0 for row in told if row["added"])


def test_questions_change_nothing(story: Story) -> None:
    def files() -> set[Path]:
        return set(Path(story.lake.root.removeprefix("file:")).rglob("*.json"))

    before = files()
    questions.status(story.lake.root)
    questions.quarantine(story.lake.root)
    history.history(story.lake.root)
    assert files() == before
