"""Tests for concurrent refits: each publishes the version that it read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

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
row = refit(sys.argv[1], RefitOptions(FitOptions(components=int(sys.argv[2])))).row
print(json.dumps({"id": row.refit_id, "rows": row.rows, "version": row.features_version}))
"""


def start(lake: str, components: int) -> subprocess.Popen[str]:
    """Start a process that refits once a byte is written to its stdin."""
    command, pipe = [sys.executable, "-c", REFIT, lake, str(components)], subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment())


def test_two_concurrent_refits_during_commits(spark: Any, tmp_path: Path) -> None:
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
        results = [json.loads(process.communicate(timeout=300)[0]) for process in (first, second)]
    rows = refit_rows(lake)
    assert rows.keys() == {refit["id"] for refit in results} == refit_folders(lake)
    assert len(read_refits(lake)) == 2
    for refit in results:
        # Version 2 is the first with rows; each later version adds ten.
        assert refit["rows"] == 40 + 10 * (refit["version"] - 2)
        assert rows[refit["id"]]["rows"] == refit["rows"]
        csv = Path(lake.reduced.removeprefix("file:"), refit["id"], "reduced.csv")
        assert len(csv.read_bytes().splitlines()) > refit["rows"]
