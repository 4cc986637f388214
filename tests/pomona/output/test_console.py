"""Tests for `pomona.output`: results and progress on the right streams, formatting of summaries and tables."""

from __future__ import annotations

import io
import json
import math
import time
from collections import Counter
from datetime import UTC, datetime

import pytest
from rich.cells import cell_len
from rich.console import Console as RichConsole

from pomona.commands.ingest import stage_reporter, summary_json, summary_lines
from pomona.output.console import Console, _StatusLine, print_error
from streaming.delta.writer import SWEEP, BatchId
from streaming.featurize.results import BatchResult
from streaming.ingest.settings import IngestSummary, Stage
from streaming.outcomes import Outcome
from streaming.sources.listing import ListingCounts

Capture = pytest.CaptureFixture[str]


def summary() -> IngestSummary:
    """Return the summary of 1,195 images featurized and 5 quarantined, busy for 20 s."""
    return IngestSummary(
        outcomes=Counter({Outcome.FEATURES: 1195, Outcome.QUARANTINE: 5}),
        reasons=Counter({"truncated": 3, "empty": 2}),
        batches=2,
        retries=Counter(reads=12, tables=3),
        seconds=30.0,
        busy=20.0,
    )


def batch(number: int | None = 4, good: int = 1000, seconds: float = 10.0) -> BatchResult:
    batch_id = SWEEP if number is None else BatchId("query", number)
    return BatchResult(batch_id, seconds, Counter({Outcome.FEATURES: good}))


def test_summary_lines() -> None:
    assert summary_lines(summary()) == [
        "1,195 images featurized, 5 quarantined in 20.0 s (60.0 per second)",
        "quarantined: 2 empty, 3 truncated",
        "retried after transient errors: 12 reads, 3 table requests",
    ]


def test_summary_lines_report_unusual_counts() -> None:
    result = summary()
    result.replaced, result.waiting = 1234, 2
    result.listing = ListingCounts(
        hidden=3,
        excluded=4,
        suffixes=Counter({".cr2": 16, ".txt": 1}),
        unlisted=Counter(unreadable=2),
    )
    result.outcomes[Outcome.DELETED] = 3
    lines = summary_lines(result)
    assert lines[0].endswith("1,234 of them replaced")
    assert "3 images deleted before the first read" in lines
    assert "17 files ignored, no image suffix: 16 .cr2, 1 .txt" in lines
    assert "3 files ignored, hidden: a name begins with _ or ." in lines
    assert "4 files ignored, excluded by a pattern" in lines
    assert "2 entries could not be listed: 2 unreadable" in lines
    document = summary_json(result)
    assert (document["ignored"], document["ignored_hidden"], document["ignored_excluded"]) == (
        24,
        3,
        4,
    )
    assert document["ignored_suffixes"] == {".cr2": 16, ".txt": 1}
    assert document["unlisted"] == {"unreadable": 2}
    assert "2 images left for the next run" in lines


def test_summary_names_warnings_and_missing_extras() -> None:
    result = summary()
    result.missing_extras = Counter(heif=1200, jxl=2)
    for number in range(1100):
        result.warnings.add(f"scan{number}.tif", [f"Bad code word at line {number}"])
    result.warnings.add("b.tif", ["unknown field"])
    lines = summary_lines(result)
    assert "an extra is needed for 1,200 of them: pip install 'pomona[heif]'" in lines
    assert "an extra is needed for 2 of them: pip install 'pomona[jxl]'" in lines
    first = lines.index("1,101 images with decoder warnings")
    assert lines[first + 1 : first + 3] == [
        "  1,100: Bad code word at line N (for example scan0.tif)",
        "  1: unknown field (for example b.tif)",
    ]
    document = summary_json(result)
    assert document["missing_extras"] == {"heif": 1200, "jxl": 2}
    assert document["images_with_warnings"] == 1101
    assert document["warnings"][0] == {
        "message": "Bad code word at line N",
        "images": 1100,
        "example": "scan0.tif",
    }


def test_summary_lines_without_images_have_no_rate() -> None:
    assert summary_lines(IngestSummary()) == ["0 images featurized, 0 quarantined in 0.0 s"]


def test_summary_json_has_numbers() -> None:
    document = json.loads(json.dumps(summary_json(summary())))
    assert document["featurized"] == 1195
    assert document["quarantined"] == 5
    assert document["reasons"] == {"truncated": 3, "empty": 2}
    assert document["batches"] == 2
    assert (document["seconds"], document["busy_seconds"]) == (30.0, 20.0)
    assert set(document) >= {"replaced", "deleted_before_read", "ignored", "waiting"}
    assert document["retries"] == {"reads": 12, "listings": 0, "tables": 3}


def test_batch_prints_one_line_without_a_terminal(capsys: Capture) -> None:
    console = Console()
    with console.status("starting"):
        console.report_batch(batch(), summary())
        console.report_batch(batch(None, 1), summary())
        console.report_batch(batch(5, good=0), summary())  # prints nothing: no rows were written
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "micro-batch 4: 1,000 images in 10.0 s; 1,200 images done, 100.0 per second, 0 waiting",
        "sweep: 1 image in 10.0 s; 1,200 images done, 0.1 per second, 0 waiting",
    ]


def test_json_prints_only_the_result_to_stdout(capsys: Capture) -> None:
    console = Console(as_json=True)
    with console.status("starting"):
        console.report_batch(batch(), summary())
    console.print("a note")
    console.print_json(
        {
            "label": "Crème brûlée",
            "at": datetime(2026, 3, 3, tzinfo=UTC),
            "none": None,
            "nan": [math.nan],
        }
    )
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert (document["label"], document["nan"]) == ("Crème brûlée", [None])
    assert "Crème brûlée" in captured.out  # non-ASCII is not escaped
    assert captured.err.splitlines()[-1] == "a note"
    assert captured.err.startswith("micro-batch 4: ")


def test_batch_updates_the_status_line_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    console = Console()
    monkeypatch.setattr(
        console, "_progress", RichConsole(file=terminal, force_terminal=True, width=100)
    )
    with console.status("starting"):
        time.sleep(0.2)
        console.report_batch(batch(), summary())
        progress = summary()
        progress.waiting = 12345
        console.report_batch(batch(), progress)
        assert console._status
        assert console._status.text == "1,200 images done, 100.0 per second, 12,345 waiting"
    assert "starting" in terminal.getvalue()
    assert console._status is None


def test_line_is_not_wrapped_and_has_no_markup(capsys: Capture) -> None:
    text = "[bold]not markup[/] " + "/a/very/long/folder" * 200
    Console().print(text)
    assert capsys.readouterr().out == f"{text}\n"


def test_table_formats_numbers_lists_and_none(capsys: Capture) -> None:
    rows = [
        {"version": 12345, "refits": ["one", "two"], "rate": None, "path": "file:/a/[x] {y}.jpg"},
        {"version": 2, "refits": [], "rate": 6.5, "path": "s3a://b/c d" + "e" * 900},
    ]
    Console().print_table(
        {"version": "version", "refits": "refits", "rate": "per second", "path": "path"}, rows
    )
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == ["version", "refits", "per", "second", "path"]
    assert first.split() == ["12,345", "one,", "two", "/a/[x]", "{y}.jpg"]
    assert second.split() == ["2", "6.5", "s3://b/c", "d" + "e" * 900]


def test_print_error_prints_one_line_to_stderr(capsys: Capture) -> None:
    print_error("lake: \n  is not\ta lake")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "pomona: lake: is not a lake\n"


def test_stages_are_plain_lines_without_repetition(capsys: Capture) -> None:
    console = Console()
    report = stage_reporter(console, "./fruits")
    with console.status("starting"):
        for stage in (*list(Stage)[:-1], Stage.PROCESS, Stage.WATCH):
            report(stage, 182)
    assert capsys.readouterr().out.splitlines() == [
        "exporting the model",
        "starting Spark",
        "watching ./fruits",
    ]


def test_stages_on_a_terminal_have_counts_and_elapsed_time(monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console()
    terminal = RichConsole(file=io.StringIO(), force_terminal=True, width=100)
    monkeypatch.setattr(console, "_progress", terminal)
    report = stage_reporter(console, "./fruits")
    with console.status("starting"):
        report(Stage.WATCH, 1820)
        line = console._status
        assert line
        assert line.text == "watching ./fruits: 1,820 images, nothing new; Ctrl-C to stop"
        line._since -= 65
        assert line.render(100).plain.endswith("Ctrl-C to stop (1 min 5 s)")


@pytest.mark.parametrize("width", [60, 80, 200])
@pytest.mark.parametrize(
    "source", ["/data/" + "long-folder/" * 12 + "fruits", "s3://b/" + "é双" * 90]
)
def test_status_line_shortens_the_path_and_keeps_the_rest(source: str, width: int) -> None:
    stage = ": 1,820 images, nothing new; Ctrl-C to stop"
    terminal = RichConsole(file=io.StringIO(), force_terminal=True, width=width, color_system=None)
    with terminal.capture() as shown:
        terminal.print(_StatusLine(f"watching {source}{stage}"))
    text = shown.get().rstrip("\n")
    assert cell_len(text) <= width
    assert " watching /da" in text or " watching s3:" in text
    assert stage[:29] in text if width == 60 else text.endswith(stage)
