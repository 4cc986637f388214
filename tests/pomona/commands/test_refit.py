"""Tests for `pomona.commands.refit`: durations as people write them, what a refit says, and the schedule."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from batch_pca.refit import RefitOptions
from batch_pca.refits.catalog import RefitRow
from batch_pca.refits.drift import DriftLimits
from pomona.commands.refit import drift_limits, refit_every, refit_json, refit_lines
from pomona.output.durations import parse_duration
from streaming.errors import ExternalError, LakeError, SnapshotError, UsageError
from streaming.lake.format_version import write_format
from streaming.lake.layout import Lake
from streaming.signals import stop_on_signals


def made(**changes: object) -> RefitRow:
    """A refit of 1,200 rows that keeps three components."""
    moment = datetime(2026, 3, 3, 12, tzinfo=UTC)
    refit = RefitRow(
        refit_id="20260303T120000Z-v4-ab12",
        lake=Lake("file:/data/My lake"),
        features_version=4,
        features_timestamp=moment,
        model_id="mobilenetv2-224-71e4c4ec4aa2-gap-d1-float32",
        options="{}",
        rows=1200,
        rows_fitted=1100,
        explained_variance_ratio=(0.5, 0.25, 0.125),
        created_at=moment,
        pomona_version="0.1.0",
        seconds=7.04,
        statistics="incremental",
        statistics_from="20260302T120000Z-v3-cd34",
        statistics_remark="12 rows added, 0 taken away since refit 20260302T120000Z-v3-cd34",
        phases={"statistics": 0.4, "decomposition": 0.9004, "publishing": 3.25},
    )
    return replace(refit, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("45s", 45), ("30m", 1800), ("1h", 3600), ("1.5h", 5400), ("1d", 86400), (" 2h ", 7200)],
)
def test_a_duration_is_a_number_and_a_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "1", "h", "1 hour", "0h", "0.0s", "-1h", "1h30m", "1H", "infh", "1e3s"]
)
def test_anything_else_is_refused_with_examples(text: str) -> None:
    with pytest.raises(UsageError, match="such as 45s, 30m, 1h or 1d") as refused:
        parse_duration(text)
    assert str(refused.value).startswith(f"--every {text}: ")


def test_a_new_refit_tells_its_numbers_and_its_places() -> None:
    text = "\n".join(refit_lines(made()))
    assert "refit 20260303T120000Z-v4-ab12: 1,200 rows of features version 4 in 7.0 s" in text
    assert "3 components explain 87.5% of the variance" in text
    assert "statistics: 12 rows added, 0 taken away since refit 20260302T120000Z-v3-cd34" in text
    assert "seconds: statistics 0.4, decomposition 0.9, publishing 3.2" in text
    folder = "/data/My lake/reduced/20260303T120000Z-v4-ab12"
    for kind, name in (("CSV", "reduced.csv"), ("Parquet", "parquet"), ("report", "report.html")):
        assert f"{kind}:" in text
        assert f"{folder}/{name}" in text  # a path to paste, not a URI
    assert "file:" not in text
    assert "limits" not in text


def test_a_refit_with_few_rows_says_that_they_are_the_limit() -> None:
    lines = refit_lines(made(limited_by_rows=True, rows_fitted=12))
    assert "the number of components is limited by the number of rows (12)" in lines


def test_what_the_words_of_as_of_meant_is_said() -> None:
    said = "2026-03-03 (its first moment, in UTC) is version 4 of 2026-03-02T12:00:00Z"
    assert refit_lines(made(as_of=said))[0] == f"as of: {said}"
    assert refit_lines(made(as_of=said, is_new=False))[0] == f"as of: {said}"
    assert refit_json(made(as_of=said))["as_of"] == said
    assert refit_json(made())["as_of"] is None


def test_drift_is_said_and_its_limits_only_where_they_were_passed() -> None:
    assert "drift: no earlier refit to compare with" in refit_lines(made())
    moved = made(
        drift_from="20260302T120000Z-v3-cd34",
        drift_angle=12.34,
        drift_largest_angle=80.0,
        drift_shift=0.256,
        drift_labels='{"Fig": 0.5, "Kiwi": 0.1}',
    )
    told = (
        "drift: since 20260302T120000Z-v3-cd34: the subspace turned by 12.3° (largest principal angle 80.0°), "
        "the mean moved by 0.26 standard deviations, that of Fig the furthest, by 0.50"
    )
    assert told in refit_lines(moved)
    assert "drifted" not in "\n".join(refit_lines(moved))
    passed = replace(moved, drift_passed="label Fig by 0.50 deviations (limit 0.4)")
    assert f"drift threshold exceeded: {passed.drift_passed}" in refit_lines(passed)
    drift = refit_json(passed)["drift"]
    assert (drift["angle"], drift["labels"]) == (12.34, {"Fig": 0.5, "Kiwi": 0.1})
    assert drift["passed"] == passed.drift_passed
    assert refit_json(made())["drift"] is None


def test_limits_of_drift_are_names_and_numbers() -> None:
    assert drift_limits([]) == DriftLimits()
    assert drift_limits(["angle=12.5", "label=2"]) == DriftLimits(angle=12.5, label=2.0)
    for text in ("angle", "30", "turn=3", "angle=", "shift=nan", "label=-1"):
        with pytest.raises(UsageError, match="--max-drift"):
            drift_limits([text])


def test_what_has_not_changed_is_said_to_be_the_earlier_refit() -> None:
    text = "\n".join(refit_lines(made(is_new=False)))
    assert "no changes since refit 20260303T120000Z-v4-ab12 (features version 4)" in text
    assert "report.html" in text


def test_a_place_on_s3_is_its_uri() -> None:
    assert "s3a://fruits/lake/reduced/" in refit_lines(made(lake=Lake("s3a://fruits/lake")))[-1]


def test_a_script_gets_the_same_as_json() -> None:
    told = json.loads(json.dumps(refit_json(made())))
    assert told["refit_id"] == "20260303T120000Z-v4-ab12"
    assert (told["rows"], told["rows_fitted"], told["components"]) == (1200, 1100, 3)
    assert told["explained_variance"] == 0.875
    assert told["explained_variance_ratio"] == [0.5, 0.25, 0.125]
    assert told["csv"].endswith("/reduced.csv")
    assert told["is_new"] is True
    assert told["seconds"] == 7.04
    assert told["phases"] == {"statistics": 0.4, "decomposition": 0.9, "publishing": 3.25}
    assert told["statistics"] == "incremental"
    assert told["statistics_from"] == "20260302T120000Z-v3-cd34"
    assert told["statistics_remark"].startswith("12 rows added")


# The schedule, with a refit that answers at once.

JsonObject = RefitRow | Exception


@pytest.fixture
def schedule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[float]]:
    """Runs `refit_every` with these answers, one a call; the last brings a signal with it."""
    (tmp_path / "features" / "_delta_log").mkdir(parents=True)
    (tmp_path / "features" / "_delta_log" / "0.json").touch()
    write_format(str(tmp_path))
    monkeypatch.setattr("streaming.spark.session.start_session", lambda **_: None)

    def run(*answers: JsonObject, number: signal.Signals = signal.SIGINT) -> list[float]:
        left = list(answers)
        calls: list[float] = []

        def refit(lake: str, options: RefitOptions) -> RefitRow:
            calls.append(len(calls))
            answer = left.pop(0)
            if not left:
                signal.raise_signal(number)
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr(sys.modules["batch_pca.refit"], "refit", refit)
        refit_every(str(tmp_path), RefitOptions(), "0.1s", as_json=False)
        return calls

    return run


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_goes_on_until_a_signal_and_finishes_the_refit_under_way(
    schedule: Callable[..., list[float]],
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals,
) -> None:
    before = signal.getsignal(number)
    calls = schedule(made(), made(is_new=False), made(rows=7), number=number)
    assert len(calls) == 3
    said = capsys.readouterr().out
    assert said.index("1,200 rows") < said.index("no changes since") < said.index("7 rows")
    assert signal.getsignal(number) is before


def test_too_few_rows_and_faults_that_pass_are_told_and_tried_again(
    schedule: Callable[..., list[float]], capsys: pytest.CaptureFixture[str]
) -> None:
    calls = schedule(SnapshotError("1 rows"), ExternalError("the network"), made())
    assert len(calls) == 3
    said = capsys.readouterr().out
    assert "refit skipped: 1 rows" in said
    assert "refit skipped: the network" in said
    assert "1,200 rows" in said


def test_what_no_waiting_mends_ends_it(schedule: Callable[..., list[float]]) -> None:
    with stop_on_signals(), pytest.raises(LakeError, match="gone"):
        schedule(LakeError("gone"))


def test_the_text_is_looked_at_before_the_lake(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="soon"):
        refit_every(str(tmp_path / "none"), RefitOptions(), "soon", as_json=False)
    with pytest.raises(LakeError, match="is not a lake"):
        refit_every(str(tmp_path / "none"), RefitOptions(), "1h", as_json=False)
