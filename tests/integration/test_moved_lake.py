"""Tests for a lake that was moved to another folder: every command continues there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

import pomona as api
from batch_pca.pca.fit import FitOptions
from batch_pca.refit import RefitOptions, refit
from streaming.ingest.pipeline import ingest
from streaming.lake.layout import Lake
from streaming.outcomes import Outcome
from support.lakes.small_lakes import GARBAGE, ONCE, below, jpeg, photos, put, put_all
from support.processes.cli import Command

pytestmark = pytest.mark.spark


@pytest.mark.long
def test_moved_lake_is_continued_by_every_command(
    spark: SparkSession, new_lake: Callable[[], Path], tmp_path: Path, pomona: Command
) -> None:
    source, former, moved = tmp_path / "photos", new_lake(), tmp_path / "moved lake"
    put_all(
        source, {**photos("Fig", range(6)), **photos("Kiwi", range(6, 9)), "Fig/bad.jpg": GARBAGE}
    )
    options = RefitOptions(FitOptions(components=2))
    ingest(str(source), str(former), ONCE)
    first = refit(str(former), options).row
    pomona("tag", former, "before")
    shutil.move(former, moved)
    lake = Lake.at(str(moved))

    put(source / "Fig" / "new.jpg", jpeg(99))
    summary = ingest(str(source), lake.root, ONCE)
    assert summary.outcomes == {Outcome.FEATURES: 1}
    second = refit(lake.root, options).row
    assert (second.rows, second.statistics_from) == (10, first.refit_id)
    put(source / "Fig" / "bad.jpg", jpeg(98))
    assert pomona("quarantine", lake.root, "--retry", "--json").json["retried"] == 1
    names = [f"Fig/{number}.jpg" for number in range(6)]
    names += [f"Kiwi/{number}.jpg" for number in range(6, 9)]
    assert sorted(below(source, lake.features)) == sorted([*names, "Fig/bad.jpg", "Fig/new.jpg"])
    assert below(source, lake.quarantine) == []

    status = pomona("status", lake.root, "--json").json
    assert (status["backlog"], status["source"]) == (0, str(source))
    assert pomona("show", lake.root, "--as-of", "before", "--json").json["rows"] == 9
    assert (
        pomona("query", lake.root, "SELECT count(*) FROM reduced", "--csv").out.split()[-1] == "19"
    )
    similar = pomona("similar", lake.root, source / "Fig" / "new.jpg", "--json").json
    assert similar["neighbors"][0]["path"] != str(source / "Fig" / "new.jpg")
    assert pomona("export", lake.root, tmp_path / "features.npz").status == 0
    assert Path(pomona("report", lake.root).out.strip()).is_relative_to(moved)
    assert api.open_lake(lake.root).latest_pca().transform(
        api.open_lake(lake.root).features_arrow()
    ).shape == (11, 2)
    assert pomona("reconcile", source, lake.root, "--json").json["missing"] == []
    assert not former.exists()
