"""Tests for `streaming.featurize.failure_rate`.

A mostly undecodable batch is rejected before it is written; a few broken images are not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pyspark.sql import Row, SparkSession

from streaming.errors import FailureRateExceeded
from streaming.featurize.failure_rate import FailureRate
from streaming.featurize.results import ComputedPart
from streaming.ingest.pipeline import ingest
from streaming.lake.layout import Lake
from support.lakes.small_lakes import GARBAGE, ONCE, below, photos, put_all, versions


def part(good: int, bad: int, retried: int = 0, deleted: int = 0) -> ComputedPart:
    """Return a part of these numbers of images; `retried` ones were in quarantine before and failed again."""
    outcomes = ["features"] * good + ["quarantine"] * (bad + retried) + ["deleted"] * deleted
    names = [f"file:/x/{number}.jpg" for number in range(len(outcomes))]
    rows = [
        Row(path=name, outcome=outcome, reason="truncated" if outcome == "quarantine" else None)
        for name, outcome in zip(names, outcomes, strict=True)
    ]
    existing: dict[str, set[str]] = defaultdict(set)
    existing["quarantine"] = set(names[good + bad : good + bad + retried])
    return ComputedPart([], existing, 0, verdicts=rows)


def passes(rate: FailureRate, computed: ComputedPart) -> bool:
    try:
        rate.check(computed)
    except FailureRateExceeded:
        return False
    return True


@pytest.mark.parametrize(
    ("good", "bad", "limit", "accepted"),
    [
        (100, 100, 0.5, True),
        (99, 101, 0.5, False),
        (0, 199, 0.5, True),  # fewer than MIN_IMAGES
        (0, 200, 0.5, False),
        (0, 5000, 1.0, True),
        (5000, 1, 0.0, False),
        (5000, 0, 0.0, True),
    ],
)
def test_large_part_is_checked_by_itself(good: int, bad: int, limit: float, accepted: bool) -> None:
    assert passes(FailureRate(limit), part(good, bad)) is accepted


def test_small_part_is_checked_with_previous_parts() -> None:
    rate = FailureRate(0.5)
    assert [passes(rate, part(0, 60)) for _ in range(4)] == [True, True, True, False]
    rate = FailureRate(0.5)
    assert passes(rate, part(1000, 0))
    assert [passes(rate, part(0, 60)) for _ in range(2)] == [
        True,
        True,
    ]  # 60 of 1,060 and 120 of 1,120
    rate = FailureRate(0.5)
    assert passes(rate, part(150, 0))
    # 60 of 210, 120 of 270, 180 of 330: the bad parts alone have fewer than MIN_IMAGES images.
    assert [passes(rate, part(0, 60)) for _ in range(3)] == [True, True, False]


def test_old_parts_do_not_count() -> None:
    rate = FailureRate(0.5)
    assert passes(rate, part(5000, 0))
    assert passes(rate, part(200, 0))
    assert passes(rate, part(0, 150))
    assert not passes(rate, part(0, 150))


def test_part_within_limit_passes_after_bad_parts() -> None:
    rate = FailureRate(0.5)
    assert passes(rate, part(0, 199))
    assert passes(rate, part(10, 2))


def test_retried_and_deleted_images_do_not_count() -> None:
    assert passes(FailureRate(0.5), part(0, 0, retried=500))
    assert passes(FailureRate(0.5), part(10, 0, deleted=500))
    assert not passes(FailureRate(0.5), part(10, 300, retried=500))


def test_all_parts_are_rejected_after_first_rejection() -> None:
    rate = FailureRate(0.5)
    assert not passes(rate, part(0, 300))
    assert not passes(rate, part(300, 0))


def test_message_states_counts_reasons_and_remedy() -> None:
    with pytest.raises(FailureRateExceeded) as caught:
        FailureRate(0.25).check(part(100, 300))
    message = str(caught.value)
    for part_of_message in (
        "300 of the last 400",
        "--max-failure-rate 0.25",
        "300 truncated",
        "/399.jpg",
    ):
        assert part_of_message in message
    assert "--max-failure-rate 1" in message


@pytest.mark.spark
def test_exceeded_failure_rate_writes_nothing_until_limit_is_raised(
    spark: SparkSession, new_lake: Callable[[], Path], tmp_path: Path
) -> None:
    lake, source = Lake.at(str(new_lake())), tmp_path / "images"
    put_all(source, photos("Fig", range(5)))
    ingest(str(source), lake.root, ONCE)
    before = versions(lake)
    put_all(source, photos("Plum", range(20)))
    put_all(source, {f"Plum/{number}.png": GARBAGE for number in range(220)})
    with pytest.raises(FailureRateExceeded, match="220 of the last 240 images"):
        ingest(str(source), lake.root, ONCE)
    assert versions(lake) == before
    with pytest.raises(FailureRateExceeded):
        ingest(str(source), lake.root, ONCE)
    summary = ingest(str(source), lake.root, replace(ONCE, max_failure_rate=0.95))
    assert summary.outcomes == {"features": 20, "quarantine": 220}
    assert len(set(below(source, lake.features))) == len(below(source, lake.features)) == 25
    assert len(set(below(source, lake.quarantine))) == len(below(source, lake.quarantine)) == 220
    assert ingest(str(source), lake.root, ONCE).outcomes == {}
