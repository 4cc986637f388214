"""Refits that were killed, by SIGKILL, at various points: none counts, and the next one cleans up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from batch_pca.pca.fit import FitOptions
from batch_pca.refit import RefitOptions, refit
from batch_pca.refits.folder import create_folder, find_abandoned, mark_complete, remove_abandoned
from streaming.lake.layout import Lake
from support.feature_lakes import commit, images, new_lake, refit_folders, refit_rows

MARK = "_unpublished.json"
DIES = """
import os, signal, sys
from batch_pca.refits.folder import create_folder
from streaming.lake.layout import Lake
folder = create_folder(Lake.at(sys.argv[1]), sys.argv[2])
folder.write("moments.npz", b"half of it")
folder.write("parquet/part-00000.parquet", b"a part of it")
os.kill(os.getpid(), signal.SIGKILL)
"""
REFITS = """
import sys
from batch_pca.refit import refit
refit(sys.argv[1])
"""


def killed(lake: Lake, refit_id: str) -> None:
    """Leave behind what a process does that is killed while it writes."""
    done = subprocess.run([sys.executable, "-c", DIES, lake.root, refit_id], check=False)
    assert done.returncode == -signal.SIGKILL
    assert refit_id in refit_folders(lake)


def clean_up(lake: Lake, published: set[str]) -> set[str]:
    """What is left below ``reduced/``."""
    remove_abandoned(find_abandoned(lake), published)
    return refit_folders(lake)


def owned(lake: Lake, refit_id: str, **changes: Any) -> None:
    """A folder begun by somebody else."""
    folder = create_folder(lake, refit_id)
    folder.write("moments.npz", b"half of it")
    folder.write(MARK, json.dumps(json.loads(folder.read(MARK)) | changes).encode())


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.at(str(tmp_path))


def test_the_folder_of_a_dead_process_goes(lake: Lake) -> None:
    killed(lake, "dead")
    assert clean_up(lake, set()) == set()


def test_the_folder_of_this_process_goes_it_failed_before(lake: Lake) -> None:
    create_folder(lake, "failed").write("moments.npz", b"half of it")
    assert clean_up(lake, set()) == set()


def test_the_folder_of_a_living_process_stays(lake: Lake) -> None:
    owned(lake, "living", pid=os.getppid())
    owned(lake, "of another user", pid=1)
    assert clean_up(lake, set()) == {"living", "of another user"}


@pytest.mark.parametrize(("hours", "left"), [(23, {"elsewhere"}), (25, set())])
def test_the_folder_of_another_machine_stays_for_a_day(
    lake: Lake, hours: float, left: set[str]
) -> None:
    at = datetime.now(UTC) - timedelta(hours=hours)
    owned(lake, "elsewhere", host="another.example", at=at.isoformat())
    assert clean_up(lake, set()) == left


def test_what_is_published_stays_even_where_its_process_was_killed_before_it_took_its_mark_away(
    lake: Lake,
) -> None:
    killed(lake, "published")
    files = {file.name for file in Path(lake.reduced.removeprefix("file:"), "published").iterdir()}
    assert clean_up(lake, {"published"}) == {"published"}
    left = {file.name for file in Path(lake.reduced.removeprefix("file:"), "published").iterdir()}
    assert left == files - {MARK}
    assert clean_up(lake, set()) == {"published"}  # without a mark, it is nobody's to remove


def test_what_has_ended_bears_no_mark(lake: Lake) -> None:
    folder = create_folder(lake, "whole")
    folder.write("moments.npz", b"all of it")
    mark_complete(folder)
    assert clean_up(lake, set()) == {"whole"}
    assert not find_abandoned(Lake.at(f"{lake.root}/of nobody"))


@pytest.mark.spark
def test_the_next_refit_works_and_removes_what_a_killed_one_left(
    spark: Any, tmp_path: Path
) -> None:
    lake = new_lake(spark, tmp_path / "My lake")
    commit(spark, lake, images(20, seed=1))
    options = RefitOptions(FitOptions(components=2))
    killed(lake, "killed-before-any")
    first = refit(lake.root, options)
    assert refit_folders(lake) == {first.refit_id} == set(refit_rows(lake))
    killed(lake, "killed-after-one")
    # Killed after its row, before its mark was taken away.
    first.folder.write(MARK, json.dumps({"host": os.uname().nodename, "pid": 2**22 + 1}).encode())
    again = refit(lake.root, options)
    assert (again.is_new, again.refit_id) == (False, first.refit_id)
    assert refit_folders(lake) == {first.refit_id} == set(refit_rows(lake))
    assert again.folder.read("report.html")


@pytest.mark.spark
@pytest.mark.end_to_end
def test_a_refit_killed_with_its_spark_while_it_writes_leaves_no_row(
    spark: Any, tmp_path: Path
) -> None:
    lake = new_lake(spark, tmp_path / "My lake")
    commit(spark, lake, images(60, seed=1))
    reduced = Path(lake.reduced.removeprefix("file:"))
    victim = subprocess.Popen([sys.executable, "-c", REFITS, lake.root], start_new_session=True)
    try:
        while not list(reduced.glob(f"*/{MARK}")):
            assert victim.poll() is None
            time.sleep(0.005)
    finally:
        os.killpg(victim.pid, signal.SIGKILL)
        victim.wait()
    assert [mark.name for mark in reduced.glob(f"*/{MARK}")] == [MARK]  # it had not ended
    assert refit_rows(lake) == {}
    made = refit(lake.root).row
    assert refit_folders(lake) == {made.refit_id} == set(refit_rows(lake))
    assert made.folder.read("reduced.csv").count(b".jpg") == made.rows == 60
