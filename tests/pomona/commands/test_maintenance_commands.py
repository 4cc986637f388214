"""Tests for `pomona quarantine --retry`, `forget` and `reconcile`: effects and output."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from streaming.featurize.results import BatchResult
from streaming.ingest.pipeline import ingest
from streaming.ingest.settings import IngestSettings
from streaming.lake.layout import Lake
from support.lakes.operation_context import ingest_all, open_context
from support.lakes.small_lakes import (
    GARBAGE,
    below,
    commit_metadata,
    jpeg,
    photos,
    put,
    put_all,
    versions,
)
from support.processes.cli import Command

pytestmark = pytest.mark.spark


@pytest.fixture
def existing_lake(
    spark: SparkSession,
    new_lake: Callable[[], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Lake:
    """Change to a folder with `fruits/` and a lake of its images: three rows, and two images in quarantine."""
    source = tmp_path / "fruits"
    put_all(source, photos("Fig", range(3)) | {"Fig/bad.jpg": GARBAGE, "Fig/empty.jpg": b""})
    lake = new_lake()
    lake.rename(tmp_path / "lake")
    context = open_context(spark, tmp_path / "lake", str(source))
    ingest_all(context)
    monkeypatch.chdir(tmp_path)
    return context.lake


@pytest.mark.long
def test_commands_compare_and_repair_a_lake(existing_lake: Lake, pomona: Command) -> None:
    fruits = Path("fruits").absolute()
    agreed = pomona("reconcile", "fruits", "lake", "--hash").out
    assert agreed.splitlines() == [
        f"5 images of {fruits}: 5 in the lake, 0 missing; 5 rows of this source in the lake",
        "source and lake are consistent",
    ]
    put(fruits / "Fig" / "new.jpg", jpeg(7))
    (fruits / "Fig" / "0.jpg").unlink()
    before = versions(existing_lake)
    output = pomona("reconcile", "fruits", "lake").out.splitlines()
    assert output == [
        f"5 images of {fruits}: 4 in the lake, 1 missing; 5 rows of this source in the lake",
        "1 missing: in neither table",
        f"    {fruits}/Fig/new.jpg",
        "1 missing in source: the image of a row was deleted",
        f"    {fruits}/Fig/0.jpg",
        "use --fix to process missing and changed images and delete the rows of deleted ones",
    ]
    original, state = (fruits / "Fig" / "1.jpg").read_bytes(), os.stat(fruits / "Fig" / "1.jpg")
    put(fruits / "Fig" / "1.jpg", original[::-1], written=state.st_mtime)
    output = pomona("reconcile", "fruits", "lake", "--hash").out.splitlines()
    assert output[3:5] == [
        "1 rewritten: content differs, but length and modification time are the same",
        f"    {fruits}/Fig/1.jpg",
    ]
    assert output[-1] == (
        "run the same command with --hash --fix to process missing, changed and rewritten images "
        "and delete the rows of deleted ones"
    )
    put(fruits / "Fig" / "1.jpg", original, written=state.st_mtime)
    assert versions(existing_lake) == before
    found = pomona("reconcile", "fruits", "lake", "--fix", "--hash", "--json").json
    assert (found["featurized"], found["removed"], found["skip_reason"]) == (1, 1, "")
    assert below(fruits, existing_lake.features) == ["Fig/1.jpg", "Fig/2.jpg", "Fig/new.jpg"]

    put(fruits / "Fig" / "empty.jpg", jpeg(8))
    output = pomona("quarantine", "lake", "--retry").out.splitlines()
    assert output == ["2 images processed again: 1 featurized, 1 still in quarantine (1 truncated)"]
    assert below(fruits, existing_lake.quarantine) == ["Fig/bad.jpg"]
    output = pomona("quarantine", "lake", "--retry", "--reason", "empty").out.splitlines()
    assert output == ["no image is in quarantine for the reason empty"]

    (fruits / "Fig" / "bad.jpg").unlink()
    output = pomona(
        "forget", "lake", "fruits/Fig/bad.jpg", "fruits/Fig/1.jpg", "x.jpg"
    ).out.splitlines()
    assert output == [
        "2 images deleted from the lake: 1 row of features, 1 of quarantine; earlier versions of the tables keep them",
        "not in the lake:",
        f"    {Path('x.jpg').absolute()}",
        "still in the source, so that the next sweep processes them again:",
        f"    {fruits}/Fig/1.jpg",
    ]
    assert below(fruits, existing_lake.features) == ["Fig/2.jpg", "Fig/empty.jpg", "Fig/new.jpg"]


def test_patterns_of_ingestion_apply_to_status_and_reconcile(
    existing_lake: Lake, pomona: Command
) -> None:
    fruits = Path("fruits").absolute()
    ingested = {"Fig/0.jpg", "Fig/1.jpg", "Fig/2.jpg"}
    for name in ("Fig/draft_1.jpg", "Fig/@eaDir/0.jpg", "Fig/DSC_1.NEF", ".trash/0.jpg"):
        put(fruits / name, jpeg(11))
    (fruits / "Fig" / "loop").symlink_to("..")
    assert pomona("status", "lake", "--json").json["backlog"] == 1  # draft_1.jpg
    arguments = ("ingest", "fruits", "lake", "--once", "--json")
    done = pomona(*arguments, "--exclude", "draft_*", "--exclude", "/Kiwi/")
    assert (done.json["featurized"], done.json["waiting"]) == (0, 0)
    assert (done.json["ignored_hidden"], done.json["ignored_excluded"]) == (1, 2)
    assert done.json["ignored_suffixes"] == {".nef": 1}
    assert done.json["unlisted"] == {"link_loop": 1}
    assert set(below(fruits, existing_lake.features)) == ingested  # nothing was committed
    put(fruits / "Kiwi" / "0.jpg", jpeg(12))
    assert pomona("status", "lake", "--json").json["backlog"] == 0
    lines = pomona("reconcile", "fruits", "lake").out.splitlines()
    assert lines[1:] == [
        "not compared, because they could not be listed: 1 link_loop",
        "no differences among the images that were compared",
    ]
    fixed = pomona("reconcile", "fruits", "lake", "--fix", "--json").json
    assert (fixed["featurized"], fixed["removed"]) == (0, 0)
    found = pomona("reconcile", "fruits", "lake", "--no-default-excludes", "--json").json
    assert found["missing"] == [f"{fruits}/Fig/@eaDir/0.jpg"]
    assert pomona(*arguments, "--include", "Kiwi").json["featurized"] == 1
    selection = {
        "include": ["Kiwi"],
        "exclude": [],
        "default_excludes": True,
        "follow_links": False,
    }
    assert commit_metadata(existing_lake.features)[0]["selection"] == selection
    assert set(below(fruits, existing_lake.features)) == {*ingested, "Kiwi/0.jpg"}
    assert pomona("reconcile", "fruits", "lake", "--json").json["missing_in_source"] == []
    assert pomona(*arguments, "--include", "../Kiwi").status == 2


@pytest.mark.long
def test_running_stream_executes_requests_between_micro_batches(
    existing_lake: Lake, pomona: Command
) -> None:
    fruits, stop, swept = Path("fruits").absolute(), threading.Event(), threading.Event()
    settings = IngestSettings(trigger=0.5, settle=0, sweep_every=1000)
    put(fruits / "Fig" / "none.jpg", b"")  # found only by the first sweep

    def on_batch(result: BatchResult) -> None:
        if result.batch.query is None:
            swept.set()

    with ThreadPoolExecutor(1) as pool:
        end = pool.submit(
            ingest,
            str(fruits),
            existing_lake.root,
            settings,
            lambda result, _: on_batch(result),
            stop,
        )
        try:
            while not swept.wait(0.1):
                assert not end.done(), end.result()
            put(fruits / "Fig" / "bad.jpg", jpeg(9))
            output = pomona("quarantine", "lake", "--retry", "--json").json
            assert (output["retried"], output["featurized"], output["quarantined"]) == (3, 1, 2)
            assert below(fruits, existing_lake.quarantine) == ["Fig/empty.jpg", "Fig/none.jpg"]
            (fruits / "Fig" / "1.jpg").unlink()
            found = pomona("forget", "lake", "fruits/Fig/1.jpg", "fruits/Fig/2.jpg", "--json").json
            assert found["existing"] == [f"{fruits}/Fig/2.jpg"]
            assert below(fruits, existing_lake.features) == ["Fig/0.jpg", "Fig/bad.jpg"]
            found = pomona("reconcile", "fruits", "lake", "--fix", "--json").json
            assert (found["featurized"], found["removed"]) == (1, 0)  # the image still exists
            writer = pomona("status", "lake", "--json").json["writer"]
            assert (writer["pid"], writer["host"]) == (os.getpid(), socket.gethostname())
            assert not end.done()  # the stream owned the lease all the time
        finally:
            stop.set()
        summary = end.result(timeout=60)
    assert below(fruits, existing_lake.features) == ["Fig/0.jpg", "Fig/2.jpg", "Fig/bad.jpg"]
    assert summary.outcomes["features"] == 2


def test_stop_without_permission_ends_in_one_line(
    pomona: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Lake) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(tmp_path))

    monkeypatch.setattr(Lake, "ensure_writable_location", refuse)  # root may read any folder
    done = pomona("stop", tmp_path)
    assert done.status == 1
    assert f"Permission denied: '{tmp_path}'" in done.error_line
