"""Tests for `batch_pca.refits.prune` on lakes written by delta-rs, without Spark."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from batch_pca.refits.catalog import read_refits, read_refits_and_abandoned
from batch_pca.refits.folder import (
    RefitFolder,
    check_not_removed,
    create_folder,
    find_abandoned,
    mark_for_removal,
)
from batch_pca.refits.prune import PruneOptions, PruneResult, prune
from streaming.errors import ExternalError, LakeError, UsageError
from streaming.lake.format_version import write_format
from streaming.lake.layout import Lake
from streaming.lake.schemas import REFITS
from streaming.lake.tags import Tag, set_tag
from streaming.storage.interface import TransientError
from streaming.storage.local import LocalStorage
from streaming.storage.s3 import S3Storage
from support.lakes.deltars_lakes import append as append_features
from support.lakes.deltars_lakes import create_deltars_lake, random_images
from support.lakes.feature_lakes import delta, refit_folders, refit_rows
from support.lakes.refits_without_spark import append
from support.lakes.small_lakes import upload_tree
from support.processes.cli import Command

NOW = datetime.now(UTC)
FILES = {"parquet/part-00000.parquet": 700, "pipeline/metadata/part-0": 20, "moments.npz": 80}
# Prune in a child process that is killed at each of its operations on files; one copy of the lake for each.
KILLED_PRUNE = """
import itertools, os, shutil, signal, sys
from batch_pca.refits.prune import PruneOptions, prune
from streaming.lake.layout import Lake
import deltalake

template, folder = sys.argv[1:]
changes = {"os.rename", "os.remove", "os.rmdir", "shutil.rmtree"}
for point in itertools.count(1):
    lake = shutil.copytree(template, f"{folder}/{point}")
    child = os.fork()
    if not child:
        events = itertools.count(1)
        def kill(event, arguments):
            if event in changes and next(events) == point:
                os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(kill)
        prune(Lake.at(lake), PruneOptions(keep=2))
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
        break
"""


def leave_refit(lake: Lake, refit_id: str, version: int, **columns: Any) -> None:
    """Publish a refit whose files have other content."""
    for name, size in FILES.items():
        path = f"{lake.reduced}/{refit_id}/{name}"
        LocalStorage().write(path, b"x" * size)
    row = dict.fromkeys(REFITS.names) | {
        "refit_id": refit_id,
        "features_version": version,
        "features_timestamp": NOW,
        "model_id": "made-up",
        "parameters": '{"components": 2, "variance": null, "fit_on": null}',
        "rows": 10,
        "rows_fitted": 10,
        "components": 2,
        "explained_variance_ratio": [0.5, 0.25],
        "seconds": 1.0,
        "created_at": NOW,
        "pomona_version": "0.1",
    }
    append(lake.refits, REFITS, [row | columns])


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake with the refits a, b, c, d, e of versions 0 to 4, published 5 to 1 days ago."""
    folder = tmp_path_factory.mktemp("template") / "My lake"
    lake = create_deltars_lake(folder, *(random_images(4, 3, seed) for seed in range(5)))
    for version, name in enumerate("abcde"):
        baseline = {"drift_from": "abcde"[version - 1]} if version else {}
        created_at = NOW - timedelta(days=5 - version)
        leave_refit(lake, name, version, created_at=created_at, **baseline)
    return folder


@pytest.fixture
def lake(template: Path, tmp_path: Path) -> Lake:
    return Lake.at(str(shutil.copytree(template, tmp_path / "My lake")))


def remaining(lake: Lake) -> str:
    """Return the ids of the rows, after checking that they are those of the folders."""
    ids = {row.refit_id for row in read_refits(lake)}
    assert ids == refit_folders(lake) == set(refit_rows(lake))
    return "".join(sorted(ids))


def keep(lake: Lake, count: int, **options: Any) -> PruneResult:
    return prune(lake, PruneOptions(keep=count, **options))


def tag(lake: Lake, name: str, version: int) -> None:
    set_tag(lake, Tag(name, version, NOW, NOW))


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"keep": 3}, "cde"),
        ({"keep": 5}, "abcde"),
        ({"keep": 500}, "abcde"),
        ({"keep": 1}, "de"),  # d is the baseline of e
        ({"older_than": 3.5 * 86400}, "cde"),
        ({"older_than": 1.0}, "de"),
        ({"older_than": 1e300}, "abcde"),
        ({"keep": 3, "older_than": 4.5 * 86400}, "bcde"),
        ({"keep": 4, "older_than": 1.0}, "bcde"),
    ],
)
def test_options_select_refits_to_remove(lake: Lake, options: dict[str, Any], kept: str) -> None:
    result = prune(lake, PruneOptions(**options))
    assert remaining(lake) == kept
    assert [refit.refit_id for refit in result.removed] == sorted(set("abcde") - set(kept))
    assert result.size == 800 * len(result.removed)
    assert result.remaining == len(kept)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"keep": 0},
        {"keep": -1},
        {"older_than": 0},
        {"older_than": -1},
        {"older_than": math.nan},
    ],
)
def test_options_that_name_no_refits_are_rejected(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"--keep|--older-than"):
        PruneOptions(**options)


def test_refit_of_tagged_version_is_kept(lake: Lake) -> None:
    tag(lake, "approved", 1)
    result = keep(lake, 2)
    assert remaining(lake) == "bde"
    assert result.protected == {"b": "tag approved"}


def test_refit_is_kept_if_tagged_version_has_the_same_rows(lake: Lake) -> None:
    delta(lake.features).optimize.compact()  # version 5
    append_features(lake, random_images(4, 3, seed=9))
    leave_refit(lake, "f", 6)
    tag(lake, "compacted", 5)
    assert keep(lake, 1).protected == {
        "e": "tag compacted",
        "d": "baseline of the drift of refit e",
    }
    assert remaining(lake) == "def"


def test_damaged_tag_removes_nothing(lake: Lake) -> None:
    LocalStorage().write(f"{lake.tags}/broken.json", b"{")
    with pytest.raises(LakeError, match="broken"):
        keep(lake, 1)
    assert remaining(lake) == "abcde"


def test_latest_scheduled_refit_is_kept_beside_a_later_one_of_an_old_version(lake: Lake) -> None:
    leave_refit(lake, "as-of", 0, scheduled=False)
    result = keep(lake, 1)
    assert {row.refit_id for row in read_refits(lake)} == {"as-of", "e", "d"}
    assert result.protected["e"] == "latest scheduled refit"


def test_dry_run_changes_nothing(lake: Lake) -> None:
    before = {path: path.stat().st_mtime_ns for path in Path(lake.root[5:]).rglob("*")}
    result = keep(lake, 2, dry_run=True)
    assert {path: path.stat().st_mtime_ns for path in Path(lake.root[5:]).rglob("*")} == before
    assert [refit.refit_id for refit in result.removed] == ["a", "b", "c"]
    assert (result.size, result.remaining, result.dry_run) == (2400, 2, True)


def test_rows_stay_in_earlier_versions_of_the_table(lake: Lake) -> None:
    version = delta(lake.refits).version()
    keep(lake, 2)
    table = delta(lake.refits, version).to_pyarrow_table()
    assert sorted(table["refit_id"].to_pylist()) == list("abcde")
    commit = delta(lake.refits).history(1)[0]
    assert (commit["operation"], commit["version"]) == ("DELETE", version + 1)
    assert '"removed": ["a", "b", "c"]' in commit["userMetadata"]


def test_row_without_folder_is_removed(lake: Lake) -> None:
    shutil.rmtree(Path(lake.reduced[5:], "a"))
    assert keep(lake, 2).size == 1600
    assert remaining(lake) == "de"


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../features", "c/../../features", "x\n", "_x", "é"]
)
def test_row_whose_id_is_no_folder_name_is_kept(lake: Lake, name: str) -> None:
    append(
        lake.refits,
        REFITS,
        [refit_rows(lake)["a"] | {"refit_id": name, "created_at": NOW - timedelta(days=9)}],
    )
    result = keep(lake, 2)
    assert result.protected == {name: "its ID is not the name of a folder"}
    assert refit_folders(lake) == {"d", "e"}
    assert delta(lake.features).version() == 4


def test_linked_folder_loses_the_link_and_no_file_behind_it(lake: Lake, tmp_path: Path) -> None:
    folder = Path(lake.reduced[5:], "a")
    moved = shutil.move(folder, tmp_path / "elsewhere")
    folder.symlink_to(moved)
    Path(lake.reduced[5:], "b", "link").symlink_to(tmp_path / "elsewhere")
    names = os.listdir(moved)
    keep(lake, 2)
    assert remaining(lake) == "de"
    assert os.listdir(moved) == names
    assert Path(moved, "moments.npz").stat().st_size == 80


def test_lake_without_refits_is_unchanged(tmp_path: Path) -> None:
    lake = create_deltars_lake(tmp_path / "lake", random_images(4, 3))
    assert keep(lake, 1).remaining == 0
    with pytest.raises(LakeError, match="is not a lake"):
        keep(Lake.at(str(tmp_path)), 1)


def test_lake_of_older_format_is_rejected(lake: Lake) -> None:
    LocalStorage().write(f"{lake.root}/lake.json", b'{"format": 2, "pomona": "0.0.1"}')
    with pytest.raises(LakeError, match="pomona upgrade"):
        keep(lake, 1)
    write_format(lake.root)
    assert remaining(lake) == "abcde"


def test_folders_of_earlier_refits_are_not_read(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    with create_folder(lake, "failed") as folder:
        folder.write("moments.npz", b"half of it")
    read: list[str] = []
    whole = RefitFolder.read

    def note(folder: RefitFolder, name: str) -> bytes:
        read.append(f"{folder.refit_id}/{name}")
        return whole(folder, name)

    whole_list = LocalStorage.list

    def list_log(storage: LocalStorage, prefix: str, *args: Any, **options: Any) -> Any:
        assert prefix != lake.reduced
        return whole_list(storage, prefix, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(RefitFolder, "read", note)
        patch.setattr(LocalStorage, "list", list_log)
        refits, abandoned = read_refits_and_abandoned(lake)
    assert [row.refit_id for row in refits] == list("abcde")
    assert [each.folder.refit_id for each in abandoned] == ["failed"]
    assert read == ["e/_unpublished.json", "failed/_unpublished.json"]


def test_unpublished_refit_of_another_thread_is_kept(lake: Lake) -> None:
    with ThreadPoolExecutor(1) as pool, create_folder(lake, "running") as folder:
        folder.write("moments.npz", b"half of it")
        assert pool.submit(keep, lake, 2).result().interrupted == ()
        assert refit_folders(lake) == {"d", "e", "running"}
        check_not_removed(folder)


def test_unpublished_refit_of_running_process_is_kept(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    with create_folder(lake, "running") as folder:
        folder.write("moments.npz", b"half of it")
    monkeypatch.setattr(os, "getpid", os.getppid)  # another process
    assert keep(lake, 2).interrupted == ()
    assert refit_folders(lake) == {"d", "e", "running"}


def test_marker_of_running_prune_stays_until_its_row_is_deleted(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    (row, *_) = read_refits(lake)
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", os.getppid)
        mark_for_removal(row.folder)
    keep(lake, 5)
    assert [(a.folder.refit_id, a.has_ended) for a in find_abandoned(lake)] == [("a", False)]
    delta(lake.refits).delete("refit_id = 'a'")
    assert keep(lake, 5).interrupted == ("a",)
    assert remaining(lake) == "bcde"


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (TransientError("s3a://bucket: SlowDown"), "rerun the same command"),
        (PermissionError(13, "Permission denied", "/lake/refits"), "give this user access"),
    ],
)
def test_error_of_the_storage_is_one_line_with_a_remedy(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, error: Exception, remedy: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch, pytest.raises(ExternalError, match=remedy) as caught:
        patch.setattr("batch_pca.refits.prune.mark_for_removal", fail)
        keep(lake, 2)
    assert "\n" not in str(caught.value)
    assert remaining(lake) == "abcde"


def test_folder_that_cannot_be_deleted_is_reported_and_removed_later(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("streaming.storage.local._delete", lambda path: None)
        with pytest.raises(LakeError, match="3 folders of removed refits cannot be deleted"):
            keep(lake, 2)
    assert set(refit_rows(lake)) == {"d", "e"}
    result = keep(lake, 2)
    assert sorted(result.interrupted) == ["a", "b", "c"]
    assert remaining(lake) == "de"


def test_command_prints_what_it_removed(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pomona = Command(monkeypatch, capsys)
    tag(lake, "approved", 1)
    assert pomona("prune", lake.root, "--keep", "3", "--dry-run").out.splitlines() == [
        "would be removed: a, version 0 of the features, 0.8 kB",
        "kept: b (tag approved)",
        "1 refit would be removed, 4 kept, 0.8 kB would be freed",
    ]
    result = pomona("prune", lake.root, "--keep", "3", "--older-than", "4.5d", "--json").json
    assert [refit["refit_id"] for refit in result["removed"]] == ["a"]
    assert (result["kept"], result["remaining"], result["bytes"]) == ({}, 4, 800)
    assert remaining(lake) == "bcde"
    again = pomona("prune", lake.root, "--older-than", "4.5d").out
    assert again == "0 refits removed, 4 kept, 0.0 kB freed\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --keep, --older-than or both"),
        (["--keep", "0"], "--keep 0: give 1 or more"),
        (["--older-than", "soon"], "--older-than soon: give a number and a unit"),
    ],
)
def test_command_rejects_other_values(
    lake: Lake,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    done = Command(monkeypatch, capsys)("prune", lake.root, *arguments)
    assert done.status == 2
    assert message in done.error_line
    assert remaining(lake) == "abcde"


@pytest.mark.s3
def test_lake_on_s3_is_pruned(template: Path, bucket: str) -> None:
    upload_tree(template, bucket, "lakes/My lake")
    lake = Lake.at(f"s3://{bucket}/lakes/My lake")
    result = keep(lake, 2)
    assert [refit.refit_id for refit in result.removed] == ["a", "b", "c"]
    assert (result.size, result.remaining) == (2400, 2)
    assert [row.refit_id for row in read_refits(lake)] == ["d", "e"]
    files = [file.path.removeprefix(f"{lake.reduced}/") for file in S3Storage().list(lake.reduced)]
    assert sorted(files) == sorted(f"{name}/{file}" for name in "de" for file in FILES)
    with create_folder(lake, "killed") as folder:
        folder.write("moments.npz", b"half of it")
    assert keep(lake, 2).interrupted == ("killed",)


@pytest.mark.slow
def test_prune_that_was_killed_is_completed_by_the_next(template: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED_PRUNE, str(template), str(tmp_path)]
    subprocess.run(command, check=True, timeout=300)
    folders = sorted(tmp_path.iterdir(), key=lambda folder: int(folder.name))
    assert len(folders) > 20
    for folder in folders:
        lake = Lake.at(str(folder))
        rows, reduced = set(refit_rows(lake)), Path(lake.reduced[5:])
        assert rows in ({"d", "e"}, set("abcde"))
        for name in rows:  # a published refit is complete
            assert all((reduced / name / file).stat().st_size == FILES[file] for file in FILES)
        keep(lake, 2)
        for empty in set(refit_folders(lake)) - {"d", "e"}:
            (reduced / empty).rmdir()  # killed after the deletion of the last file
        assert remaining(lake) == "de"
        assert not list(reduced.rglob("_*"))
