"""Tests for refits that are not alone: beside an ingestion, and two at once, each publishes what it saw."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from batch_pca.refits.catalog import read_refits
from support.cli import environment
from support.feature_lakes import commit, images, new_lake, refit_folders, refit_rows

pytestmark = [pytest.mark.spark, pytest.mark.end_to_end]

REFIT = """
import json, sys
from batch_pca import refit
from batch_pca.pca.fit import FitOptions
from batch_pca.refit import RefitOptions
from streaming.spark.session import start_session

start_session()
print("ready", flush=True)
sys.stdin.read(1)
made = refit(sys.argv[1], RefitOptions(FitOptions(components=int(sys.argv[2])))).row
print(json.dumps({"id": made.refit_id, "rows": made.rows, "version": made.features_version}))
"""


def start(lake: str, components: int) -> subprocess.Popen[str]:
    """A process that is ready to refit, once it is told so."""
    command, pipe = [sys.executable, "-c", REFIT, lake, str(components)], subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment())


def test_two_refits_at_once_beside_an_ingestion(spark: Any, tmp_path: Path) -> None:
    lake = new_lake(spark, tmp_path / "lake")
    commit(spark, lake, images(40, seed=1))
    with start(lake.root, 2) as first, start(lake.root, 3) as second:
        for process in (first, second):
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
        for process in (first, second):
            assert process.stdin
            process.stdin.write("x")
            process.stdin.flush()
        for seed in range(2, 5):
            commit(spark, lake, images(10, seed=seed))
        told = [json.loads(process.communicate(timeout=300)[0]) for process in (first, second)]
    rows = refit_rows(lake)
    assert rows.keys() == {refit["id"] for refit in told} == refit_folders(lake)
    assert len(read_refits(lake)) == 2
    for refit in told:
        # Version 2 is the first with rows; each that follows adds ten.
        assert refit["rows"] == 40 + 10 * (refit["version"] - 2)
        assert rows[refit["id"]]["rows"] == refit["rows"]
        csv = Path(lake.reduced.removeprefix("file:"), refit["id"], "reduced.csv")
        assert len(csv.read_bytes().splitlines()) > refit["rows"]
