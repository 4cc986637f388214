"""Tests for `batch_pca.refits.folder` with refits that were killed by SIGKILL at various points."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from batch_pca.pca.fit import FitOptions
from batch_pca.refit import RefitOptions, refit
from batch_pca.refits.folder import (
    RefitFolder,
    check_not_removed,
    create_folder,
    find_abandoned,
    mark_complete,
    remove_abandoned,
)
from streaming.errors import ExternalError
from streaming.lake.layout import Lake
from support.lakes.feature_lakes import commit, images, new_lake, refit_folders, refit_rows

MARKER = "_unpublished.json"
KILLED_REFIT = """
import os, signal, sys
from batch_pca.refits.folder import create_folder
from streaming.lake.layout import Lake
with create_folder(Lake.at(sys.argv[1]), sys.argv[2]) as folder:
    folder.write("moments.npz", b"half of it")
    folder.write("parquet/part-00000.parquet", b"a part of it")
    os.kill(os.getpid(), signal.SIGKILL)
"""
REFIT = """
import sys
from batch_pca.refit import refit
refit(sys.argv[1])
"""


def leave_killed_refit(lake: Lake, refit_id: str) -> None:
    """Run a process that is killed while it writes the folder of a refit."""
    done = subprocess.run([sys.executable, "-c", KILLED_REFIT, lake.root, refit_id], check=False)
    assert done.returncode == -signal.SIGKILL
    assert refit_id in refit_folders(lake)


def clean_up(lake: Lake, published: set[str]) -> set[str]:
    """Remove abandoned folders, and return the remaining ones."""
    remove_abandoned(find_abandoned(lake), published)
    return refit_folders(lake)


def leave_refit_of(lake: Lake, refit_id: str, **changes: Any) -> None:
    """Create the folder of a refit by another process or host."""
    with create_folder(lake, refit_id) as folder:
        folder.write("moments.npz", b"half of it")
    folder.write(MARKER, json.dumps(json.loads(folder.read(MARKER)) | changes).encode())


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.at(str(tmp_path))


@pytest.mark.slow
def test_folder_of_dead_process_is_removed(lake: Lake) -> None:
    leave_killed_refit(lake, "dead")
    assert clean_up(lake, set()) == set()


def test_folder_of_failed_refit_of_this_process_is_removed(lake: Lake) -> None:
    with create_folder(lake, "failed") as folder:
        folder.write("moments.npz", b"half of it")
    assert clean_up(lake, set()) == set()


def test_folder_of_running_refit_of_this_process_is_kept(lake: Lake) -> None:
    with ThreadPoolExecutor(1) as pool, create_folder(lake, "running") as folder:
        folder.write("moments.npz", b"half of it")
        assert pool.submit(clean_up, lake, set()).result() == {"running"}
        check_not_removed(folder)


@pytest.mark.parametrize("interrupted", [False, True])
def test_refit_whose_files_another_process_removes_is_not_published(
    lake: Lake, interrupted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with create_folder(lake, "running") as folder:
        check_not_removed(folder)
        with monkeypatch.context() as patch:
            patch.setattr("batch_pca.refits.folder._ACTIVE", {})  # a container with the same pid
            if interrupted:
                patch.setattr(RefitFolder, "delete", lambda folder: None)
            clean_up(lake, set())
        with pytest.raises(ExternalError, match="its own host name, then refit again"):
            check_not_removed(folder)


def test_folder_of_running_process_is_kept(lake: Lake) -> None:
    leave_refit_of(lake, "running", pid=os.getppid())
    leave_refit_of(lake, "of-another-user", pid=1)
    assert clean_up(lake, set()) == {"running", "of-another-user"}


@pytest.mark.parametrize(("hours", "kept"), [(23, {"elsewhere"}), (25, set())])
def test_folder_of_another_host_is_kept_for_a_day(lake: Lake, hours: float, kept: set[str]) -> None:
    at = datetime.now(UTC) - timedelta(hours=hours)
    leave_refit_of(lake, "elsewhere", host="another.example", at=at.isoformat())
    assert clean_up(lake, set()) == kept


def test_published_folder_of_killed_process_loses_only_its_marker(
    lake: Lake,
) -> None:
    leave_killed_refit(lake, "published")
    files = {file.name for file in Path(lake.reduced.removeprefix("file:"), "published").iterdir()}
    assert clean_up(lake, {"published"}) == {"published"}
    remaining = {
        file.name for file in Path(lake.reduced.removeprefix("file:"), "published").iterdir()
    }
    assert remaining == files - {MARKER}
    assert clean_up(lake, set()) == {"published"}  # never removed without a marker


def test_complete_folder_has_no_marker(lake: Lake) -> None:
    with create_folder(lake, "complete") as folder:
        folder.write("moments.npz", b"all of it")
        mark_complete(folder)
    assert clean_up(lake, set()) == {"complete"}
    assert not find_abandoned(Lake.at(f"{lake.root}/missing"))


@pytest.mark.long
@pytest.mark.spark
def test_next_refit_removes_folders_of_killed_refits(spark: Any, tmp_path: Path) -> None:
    lake = new_lake(spark, tmp_path / "My lake")
    commit(spark, lake, images(20, seed=1))
    options = RefitOptions(FitOptions(components=2))
    leave_killed_refit(lake, "killed-before-any")
    first = refit(lake.root, options)
    assert refit_folders(lake) == {first.refit_id} == set(refit_rows(lake))
    leave_killed_refit(lake, "killed-after-one")
    # As if killed after the commit of its row and before the removal of its marker.
    first.folder.write(MARKER, json.dumps({"host": os.uname().nodename, "pid": 2**22 + 1}).encode())
    again = refit(lake.root, options)
    assert (again.is_new, again.refit_id) == (False, first.refit_id)
    assert refit_folders(lake) == {first.refit_id} == set(refit_rows(lake))
    assert again.folder.read("report.html")


@pytest.mark.spark
@pytest.mark.end_to_end
def test_killed_refit_leaves_no_row(spark: Any, tmp_path: Path) -> None:
    lake = new_lake(spark, tmp_path / "My lake")
    commit(spark, lake, images(60, seed=1))
    reduced = Path(lake.reduced.removeprefix("file:"))
    process = subprocess.Popen([sys.executable, "-c", REFIT, lake.root], start_new_session=True)
    try:
        while not list(reduced.glob(f"*/{MARKER}")):
            assert process.poll() is None
            time.sleep(0.005)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert [marker.name for marker in reduced.glob(f"*/{MARKER}")] == [
        MARKER
    ]  # it was not complete
    assert refit_rows(lake) == {}
    row = refit(lake.root).row
    assert refit_folders(lake) == {row.refit_id} == set(refit_rows(lake))
    assert row.folder.read("reduced.csv").count(b".jpg") == row.rows == 60
