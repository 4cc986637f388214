"""Tests for concurrent refits: each publishes the version that it read."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from batch_pca.pca.fit import FitOptions
from batch_pca.refit import RefitOptions, refit
from batch_pca.refits.catalog import read_refits
from support.lakes.feature_lakes import commit, images, new_lake, refit_folders, refit_rows
from support.processes.cli import environment

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
row = refit(sys.argv[1], RefitOptions(FitOptions(components=2))).row
print(json.dumps({"id": row.refit_id, "rows": row.rows, "version": row.features_version}))
"""


def test_two_concurrent_refits_during_commits(spark: Any, tmp_path: Path) -> None:
    lake = new_lake(spark, tmp_path / "lake")
    commit(spark, lake, images(40, seed=1))
    command, pipe = [sys.executable, "-c", REFIT, lake.root], subprocess.PIPE
    with (
        subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment()) as other,
        ThreadPoolExecutor(1) as pool,
    ):
        assert other.stdout
        assert other.stdout.readline() == "ready\n"
        assert other.stdin
        other.stdin.write("x")
        other.stdin.flush()
        own = pool.submit(refit, lake.root, RefitOptions(FitOptions(components=3)))
        for seed in range(2, 5):
            commit(spark, lake, images(10, seed=seed))
        found = json.loads(other.communicate(timeout=300)[0])
        row = own.result(timeout=300).row
    results = [found, {"id": row.refit_id, "rows": row.rows, "version": row.features_version}]
    rows = refit_rows(lake)
    assert rows.keys() == {result["id"] for result in results} == refit_folders(lake)
    assert len(read_refits(lake)) == 2
    for result in results:
        # Version 2 is the first with rows; each later version adds ten.
        assert result["rows"] == 40 + 10 * (result["version"] - 2)
        assert rows[result["id"]]["rows"] == result["rows"]
        csv = Path(lake.reduced.removeprefix("file:"), result["id"], "reduced.csv")
        assert len(csv.read_bytes().splitlines()) > result["rows"]
