"""Tests for `pomona.commands.refit`: rendered results, and the schedule."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from batch_pca.refit import RefitOptions, RefitResult
from batch_pca.refits.catalog import RefitRow
from batch_pca.refits.drift import DriftThresholds
from pomona.commands.refit import drift_thresholds, refit_every, refit_json, refit_lines
from streaming.errors import ExternalError, LakeError, SnapshotError, UsageError
from streaming.lake.format_version import write_format
from streaming.lake.layout import Lake
from streaming.signals import stop_on_signals
from support.processes.cli import Command

ROW = RefitRow(
    refit_id="20260303T120000Z-v4-ab12",
    lake=Lake("file:/data/My lake"),
    features_version=4,
    features_timestamp=datetime(2026, 3, 3, 12, tzinfo=UTC),
    model_id="mobilenetv2-224-71e4c4ec4aa2-gap-d1-float32",
    parameters="{}",
    rows=1200,
    rows_fitted=1100,
    explained_variance_ratio=(0.5, 0.25, 0.125),
    created_at=datetime(2026, 3, 3, 12, tzinfo=UTC),
    pomona_version="0.1.0",
    seconds=7.04,
    statistics="incremental",
    statistics_from="20260302T120000Z-v3-cd34",
)
RESULT = RefitResult(
    ROW,
    statistics_summary="12 rows added, 0 removed since refit 20260302T120000Z-v3-cd34",
    phases={"statistics": 0.4, "decomposition": 0.9004, "publishing": 3.25},
)


def result(**columns: Any) -> RefitResult:
    """Return RESULT with other values in its row."""
    return replace(RESULT, row=replace(ROW, **columns))


def test_lines_of_new_refit_contain_numbers_and_paths() -> None:
    text = "\n".join(refit_lines(RESULT))
    assert "refit 20260303T120000Z-v4-ab12: 1,200 rows of features version 4 in 7.0 s" in text
    assert "3 components explain 87.5% of the variance" in text
    assert "statistics: 12 rows added, 0 removed since refit 20260302T120000Z-v3-cd34" in text
    assert "seconds: statistics 0.4, decomposition 0.9, publishing 3.2" in text
    folder = "/data/My lake/reduced/20260303T120000Z-v4-ab12"
    for kind, name in (("CSV", "reduced.csv"), ("Parquet", "parquet"), ("report", "report.html")):
        assert f"{kind}:" in text
        assert f"{folder}/{name}" in text  # a path to paste, not a URI
    assert "file:" not in text
    assert "limit" not in text


def test_lines_name_maximum_number_of_components_if_limited_by_rows() -> None:
    lines = refit_lines(replace(result(rows_fitted=12), limited_by_rows=True))
    message = "12 rows allow at most 11 components: with more rows, more components may be needed"
    assert any(line.startswith(message) for line in lines)


def test_resolved_version_is_first_line_and_json_key() -> None:
    as_of = "2026-03-03 (start of the day, UTC) is version 4 of 2026-03-02T12:00:00Z"
    assert refit_lines(replace(RESULT, as_of=as_of))[0] == f"as of: {as_of}"
    assert refit_lines(replace(RESULT, as_of=as_of, is_new=False))[0] == f"as of: {as_of}"
    assert refit_json(replace(RESULT, as_of=as_of))["as_of"] == as_of
    assert refit_json(RESULT)["as_of"] is None


def test_drift_is_reported_and_thresholds_only_if_exceeded() -> None:
    assert "drift: no earlier refit to compare with" in refit_lines(RESULT)
    columns = {
        "drift_from": "20260302T120000Z-v3-cd34",
        "drift_angle": 12.34,
        "drift_limits": '{"angle": 15, "shift": 0.5, "label": 1}',
        "drift_vanished_labels": '{"Pear": 1200}',
        "drift_shift": 0.256,
        "drift_labels": '{"Fig": 0.5, "Kiwi": 0.1}',
    }
    line = (
        "drift: since 20260302T120000Z-v3-cd34: correlation matrix rotated by 12.3°, "
        "mean shifted by 0.26 standard deviations, largest label shift 0.50 (Fig), "
        "vanished labels: Pear (1,200 rows)"
    )
    below = result(**columns)
    assert line in refit_lines(below)
    assert "threshold" not in "\n".join(refit_lines(below))
    exceeded = "label Fig shifted by 0.50 standard deviations (threshold 0.4)"
    above = result(**columns, drift_exceeded=exceeded)
    assert f"drift threshold exceeded: {exceeded}" in refit_lines(above)
    drift = refit_json(above)["drift"]
    assert (drift["angle"], drift["labels"]) == (12.34, {"Fig": 0.5, "Kiwi": 0.1})
    assert drift["exceeded"] == exceeded
    assert (drift["new_labels"], drift["vanished_labels"]) == ({}, {"Pear": 1200})
    assert drift["limits"] == {"angle": 15, "shift": 0.5, "label": 1}
    assert refit_json(RESULT)["drift"] is None


def test_drift_thresholds_are_parsed_and_bad_ones_rejected() -> None:
    assert drift_thresholds([]) == DriftThresholds()
    assert drift_thresholds(["angle=12.5", "label=2"]) == DriftThresholds(angle=12.5, label=2.0)
    for text in ("angle", "30", "turn=3", "angle=", "shift=nan", "label=-1"):
        with pytest.raises(UsageError, match="--max-drift"):
            drift_thresholds([text])


def test_lines_of_unchanged_refit_name_the_earlier_one() -> None:
    text = "\n".join(refit_lines(replace(RESULT, is_new=False)))
    assert "no changes since refit 20260303T120000Z-v4-ab12 (features version 4)" in text
    assert "report.html" in text


def test_location_on_s3_is_a_uri() -> None:
    assert "s3a://fruits/lake/reduced/" in refit_lines(result(lake=Lake("s3a://fruits/lake")))[-1]


def test_json_contains_the_same_values() -> None:
    document = json.loads(json.dumps(refit_json(RESULT)))
    assert document["refit_id"] == "20260303T120000Z-v4-ab12"
    assert (document["rows"], document["rows_fitted"], document["components"]) == (1200, 1100, 3)
    assert document["explained_variance"] == 0.875
    assert document["explained_variance_ratio"] == [0.5, 0.25, 0.125]
    assert document["csv"].endswith("/reduced.csv")
    assert document["is_new"] is True
    assert document["seconds"] == 7.04
    assert document["phases"] == {"statistics": 0.4, "decomposition": 0.9, "publishing": 3.25}
    assert document["statistics"] == "incremental"
    assert document["statistics_from"] == "20260302T120000Z-v3-cd34"
    assert document["statistics_summary"].startswith("12 rows added")


# The schedule, with a `refit` that returns or raises at once.

Outcome = RefitResult | Exception


@pytest.fixture
def schedule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[float]]:
    """Return a function that runs `refit_every` with these outcomes, one per call; the last one raises a signal."""
    (tmp_path / "features" / "_delta_log").mkdir(parents=True)
    (tmp_path / "features" / "_delta_log" / "0.json").touch()
    write_format(str(tmp_path))
    monkeypatch.setattr("streaming.spark.session.start_session", lambda **_: None)

    def run(*outcomes: Outcome, number: signal.Signals = signal.SIGINT) -> list[float]:
        remaining = list(outcomes)
        calls: list[float] = []

        def refit(lake: str, options: RefitOptions) -> RefitResult:
            calls.append(len(calls))
            outcome = remaining.pop(0)
            if not remaining:
                signal.raise_signal(number)
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        monkeypatch.setattr(sys.modules["batch_pca.refit"], "refit", refit)
        refit_every(str(tmp_path), RefitOptions(), "0.1s", as_json=False)
        return calls

    return run


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_schedule_runs_until_signal_and_finishes_current_refit(
    schedule: Callable[..., list[float]],
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals,
) -> None:
    before = signal.getsignal(number)
    calls = schedule(RESULT, replace(RESULT, is_new=False), result(rows=7), number=number)
    assert len(calls) == 3
    output = capsys.readouterr().out
    assert output.index("1,200 rows") < output.index("no changes since") < output.index("7 rows")
    assert signal.getsignal(number) is before


def test_schedule_continues_after_too_few_rows_and_external_errors(
    schedule: Callable[..., list[float]], capsys: pytest.CaptureFixture[str]
) -> None:
    calls = schedule(SnapshotError("1 rows"), ExternalError("the network"), RESULT)
    assert len(calls) == 3
    output, errors = capsys.readouterr()
    assert "refit skipped: 1 rows" in errors
    assert "refit skipped: the network" in errors
    assert "skipped" not in output
    assert "1,200 rows" in output


def test_schedule_ends_when_java_has_ended(
    schedule: Callable[..., list[float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    java = subprocess.Popen(["false"])
    java.wait()
    monkeypatch.setattr("pyspark.SparkContext._gateway", SimpleNamespace(proc=java))
    with pytest.raises(ExternalError, match="Java exited with status 1"):
        schedule(ExternalError("Java exited with status 1"), RESULT)


def test_schedule_ends_on_permanent_error(schedule: Callable[..., list[float]]) -> None:
    with stop_on_signals(), pytest.raises(LakeError, match="gone"):
        schedule(LakeError("gone"))


def test_interval_is_validated_before_the_lake(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="soon"):
        refit_every(str(tmp_path / "none"), RefitOptions(), "soon", as_json=False)
    with pytest.raises(LakeError, match="is not a lake"):
        refit_every(str(tmp_path / "none"), RefitOptions(), "1h", as_json=False)


def test_schedule_waits_for_the_lake_if_empty_ones_are_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    starts: list[object] = []

    def start_session(**_: object) -> None:
        starts.append(None)
        if len(starts) == 3:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("streaming.spark.session.start_session", start_session)
    lake = str(tmp_path / "lake")
    refit_every(lake, RefitOptions(), "0.1s", skip_empty=True, as_json=False)
    assert capsys.readouterr().err.count(f"refit skipped: {lake} has no features yet\n") == 2


@pytest.mark.spark
def test_refit_of_empty_lake_is_skipped_on_request(
    spark: Any, new_lake: Callable[[], Path], tmp_path: Path, pomona: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """YARN reports an application without a SparkContext as failed: one is created for a missing lake, too."""
    starts: list[object] = []

    def start_session(**options: Any) -> Any:
        starts.append(options)
        return start(**options)

    from streaming.spark.session import start_session as start

    monkeypatch.setattr("streaming.spark.session.start_session", start_session)
    missing, empty = tmp_path / "lake", new_lake()
    done = pomona("refit", str(missing), "--skip-empty", "--variance", "0.95")
    assert (done.status, done.out) == (0, "")
    assert done.err == f"pomona: refit skipped: {missing} has no features yet\n"
    assert starts == [{"s3": False}]
    done = pomona("refit", str(empty), "--skip-empty")
    assert (done.status, done.out) == (0, "")
    assert re.match(r"pomona: refit skipped: version \d+ of .* has 0 rows, but a fit", done.err)
    assert not [*(empty / "refits").glob("2*")]
    for lake in (missing, empty):
        assert pomona("refit", str(lake)).status == 1


@pytest.mark.spark
def test_skipping_empty_lakes_hides_no_other_error(
    spark: Any, new_lake: Callable[[], Path], tmp_path: Path, pomona: Command
) -> None:
    newer = new_lake()
    (newer / "lake.json").write_text('{"format": 99}')
    done = pomona("refit", str(newer), "--skip-empty")
    assert done.status == 1
    assert "format 99" in done.err


THREADS = """
import sys
from pomona.cli import main
try:
    main()
except SystemExit:
    import numpy, threadpoolctl
    print(*(pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("setting", "threads"), [({}, "1"), ({"OPENBLAS_NUM_THREADS": "2"}, "2")])
def test_blas_has_one_thread_unless_set(
    setting: dict[str, str], threads: str, tmp_path: Path
) -> None:
    pytest.importorskip("threadpoolctl")
    environment = {k: v for k, v in os.environ.items() if k != "OPENBLAS_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", THREADS, "refit", str(tmp_path / "missing")],
        env=environment | setting,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == [threads], done.stderr
