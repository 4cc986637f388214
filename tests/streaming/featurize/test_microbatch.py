"""Tests for `streaming.featurize.microbatch` and `streaming.delta.writer`.

Each image is in one table, once, also after replays.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from streaming.delta.log import parse_metadata
from streaming.delta.writer import BatchId, Writer
from streaming.featurize.microbatch import MicroBatch
from streaming.featurize.worker import Featurizer
from streaming.lake.image_index import ImageIndex
from streaming.lake.layout import Lake
from streaming.lake.schemas import QUARANTINE
from streaming.model.store import find_model, read_model
from streaming.spark.errors import translate_exception
from streaming.storage.interface import StoredFile
from support.images.image_files import damaged_tiff
from support.lakes.microbatch import process
from support.lakes.small_lakes import (
    GARBAGE,
    actions,
    below,
    jpeg,
    photos,
    put,
    put_all,
    rows,
    version,
    versions,
)

pytestmark = pytest.mark.spark

COMMIT_SETTINGS = ("write.txnAppId", "write.txnVersion", "commitInfo.userMetadata")


@pytest.fixture(scope="module")
def micro(spark: SparkSession, new_lake: Callable[[], Path]) -> MicroBatch:
    lake = Lake.at(str(new_lake()))
    model_info = find_model(lake.models)
    assert model_info
    model = spark.sparkContext.broadcast(read_model(lake.models, model_info, "onnxruntime"))
    featurizer = Featurizer(
        model_info, "onnxruntime", model, model_info.decode_settings(), retry_timeout=0.5
    )
    index = ImageIndex.load(lake)
    return MicroBatch(spark, lake, featurizer, index, {"engine": "onnxruntime"})


def tables(micro: MicroBatch, root: Path) -> tuple[list[str], list[str]]:
    """Return the names in features and in quarantine that are below one folder; the tests share a lake."""
    return (
        [name for name in below(root, micro.lake.features) if not name.startswith("file:")],
        [name for name in below(root, micro.lake.quarantine) if not name.startswith("file:")],
    )


def txn(location: str) -> dict[str, Any] | None:
    """Return the transaction id of the latest commit of a table."""
    found = [line["txn"] for line in actions(location, version(location)) if "txn" in line]
    return {"id": found[0]["appId"], "version": found[0]["version"]} if found else None


def test_warnings_of_decoders_are_counted(micro: MicroBatch, tmp_path: Path) -> None:
    names = {f"Scan/{number}.tif": damaged_tiff("group4") for number in range(2)}
    files = put_all(tmp_path, names | photos("Scan", range(1)))
    counts = process(micro, files, BatchId("query-warnings", 0)).warnings
    assert counts.images == 2
    message, images = counts.messages.most_common(1)[0]
    assert (message[:12], images) == ("Fax4Decode: ", 2)
    assert counts.examples[message].startswith(f"file:{tmp_path}/Scan/")


@pytest.mark.long
def test_replayed_batch_adds_no_version(micro: MicroBatch, tmp_path: Path) -> None:
    files = put_all(tmp_path, {**photos("Fig", range(3)), "Fig/bad.jpg": GARBAGE})
    first = process(micro, files, BatchId("query-1", 0))
    assert (first.written, first.skipped) == (4, 0)
    before = versions(micro.lake)
    replay = process(micro, files, BatchId("query-1", 0))
    assert (replay.written, replay.skipped) == (0, 4)
    assert versions(micro.lake) == before
    assert tables(micro, tmp_path) == (sorted(photos("Fig", range(3))), ["Fig/bad.jpg"])


def test_batch_zero_of_new_query_writes_only_new_images(micro: MicroBatch, tmp_path: Path) -> None:
    files = put_all(tmp_path, photos("Fig", range(2)))
    process(micro, files, BatchId("query-2", 0))
    files += put_all(tmp_path, {"Fig/new.jpg": jpeg(5), "Fig/bad.jpg": GARBAGE})
    result = process(micro, files, BatchId("query-3", 0))
    assert (result.written, result.skipped) == (2, 2)
    names = sorted([*photos("Fig", range(2)), "Fig/new.jpg"])
    assert tables(micro, tmp_path) == (names, ["Fig/bad.jpg"])


def test_image_with_two_states_in_a_batch_has_one_row(micro: MicroBatch, tmp_path: Path) -> None:
    (file,) = put_all(tmp_path, photos("Fig", range(1)))
    earlier = dataclasses.replace(file, modified_ms=file.modified_ms - 60_000)
    assert process(micro, [earlier, file], BatchId("query-states", 0)).written == 1
    assert tables(micro, tmp_path) == (["Fig/0.jpg"], [])
    assert process(micro, [file], BatchId("query-states", 1)).skipped == 1


class ProcessKilled(BaseException):
    """Stands for the death of the process."""


@pytest.fixture
def killed_before_features(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    upsert = Writer.upsert

    def upsert_quarantine_only(writer: Writer, new: DataFrame, *, merge: bool) -> None:
        if writer.location.endswith("/features"):
            raise ProcessKilled
        upsert(writer, new, merge=merge)

    monkeypatch.setattr(Writer, "upsert", upsert_quarantine_only)
    return monkeypatch


def test_image_with_changed_outcome_is_in_one_table(
    micro: MicroBatch, tmp_path: Path, killed_before_features: pytest.MonkeyPatch
) -> None:
    names = {"Fig/bad.jpg": GARBAGE, "Fig/good.jpg": jpeg(1), "Fig/changed.jpg": jpeg(2)}
    with pytest.raises(ProcessKilled):
        process(micro, put_all(tmp_path, names), BatchId("query-4", 5))
    killed_before_features.undo()
    assert tables(micro, tmp_path) == ([], ["Fig/bad.jpg"])
    assert txn(micro.lake.quarantine) == {"id": "pomona/query-4", "version": 5}

    files = put_all(tmp_path, {"Fig/good.jpg": jpeg(1), "Fig/changed.jpg": GARBAGE})
    files.append(quarantined_file(micro, tmp_path / "Fig" / "bad.jpg"))
    restarted = dataclasses.replace(micro, image_index=ImageIndex.load(micro.lake))
    result = process(restarted, files, BatchId("query-4", 5))
    assert (result.written, result.skipped) == (2, 1)
    assert tables(micro, tmp_path) == (["Fig/good.jpg"], ["Fig/bad.jpg", "Fig/changed.jpg"])


def quarantined_file(micro: MicroBatch, file: Path) -> StoredFile:
    """Return a file with the length and time that its quarantine row has."""
    (row,) = (row for row in rows(micro.lake.quarantine) if row["path"] == f"file:{file}")
    modified_ms = round(row["modification_time"].timestamp() * 1000)
    return StoredFile(row["path"], row["length"], modified_ms)


@pytest.mark.long
def test_replaced_image_is_merged_with_batch_id_and_attempts(
    micro: MicroBatch, tmp_path: Path
) -> None:
    process(micro, put_all(tmp_path, {"Fig/a.jpg": jpeg(1), "Fig/b.jpg": GARBAGE}))
    files = [put(tmp_path / "Fig" / "a.jpg", jpeg(2), 1e9), put(tmp_path / "Fig" / "c.jpg", jpeg())]
    files.append(put(tmp_path / "Fig" / "b.jpg", GARBAGE + b"!", 1e9))
    result = process(micro, files, BatchId("query-5", 3))
    assert result.replaced == 2
    assert tables(micro, tmp_path) == (["Fig/a.jpg", "Fig/c.jpg"], ["Fig/b.jpg"])
    for location in (micro.lake.features, micro.lake.quarantine):
        assert txn(location) == {"id": "pomona/query-5", "version": 3}
        info = actions(location, version(location))[0]["commitInfo"]
        assert info["operation"] == "MERGE"
        metadata = parse_metadata(info["userMetadata"])
        assert (metadata["query"], metadata["batch"], metadata["images"]) == ("query-5", 3, 2)
        assert metadata["quarantined"] == 1
    (row,) = (row for row in rows(micro.lake.quarantine) if row["path"] == files[-1].path)
    assert row["attempts"] == 2


def quarantine_rows(spark: SparkSession, path: str, detail: str) -> DataFrame:
    """Return one row for `quarantine`; an empty detail becomes null, which the table rejects."""
    now = datetime.now(UTC)
    row = (path, "Fig", 1, now, "", "corrupt", detail or None, 1, now, 7)
    return spark.createDataFrame([row], QUARANTINE.ddl)


def remaining_settings(spark: SparkSession) -> list[str]:
    """Return the Delta settings for a single commit that are still set."""
    names = [f"spark.databricks.delta.{name}" for name in COMMIT_SETTINGS]
    return [name for name in names if spark.conf.get(name, None) is not None]


@pytest.mark.parametrize("known", [False, True])
def test_repeated_commit_is_ignored(micro: MicroBatch, spark: SparkSession, known: bool) -> None:
    path = f"file:/repeated/{known}.jpg"
    writer = Writer(spark, micro.lake.quarantine, {}, BatchId(f"query-6-{known}", 7))
    for detail in ("first", "second"):
        writer.upsert(quarantine_rows(spark, path, detail), merge=known)
    found = [row["detail"] for row in rows(micro.lake.quarantine) if row["path"] == path]
    assert found == ["first"]


def test_commit_settings_are_unset_after_merge_and_failed_merge(
    micro: MicroBatch, spark: SparkSession
) -> None:
    writer = Writer(spark, micro.lake.quarantine, {}, BatchId("query-7", 0))
    writer.upsert(quarantine_rows(spark, "file:/merged.jpg", "merged"), merge=True)
    assert remaining_settings(spark) == []
    writer = dataclasses.replace(writer, batch=BatchId("query-7", 1))
    with pytest.raises(Exception, match="NULL"):
        writer.upsert(quarantine_rows(spark, "file:/refused.jpg", ""), merge=True)
    assert remaining_settings(spark) == []


def test_deleted_and_changing_images_write_nothing(micro: MicroBatch, tmp_path: Path) -> None:
    before = versions(micro.lake)
    changing = put(tmp_path / "Fig" / "a.jpg", jpeg())
    changing = StoredFile(changing.path, changing.length - 1, changing.modified_ms)
    deleted = StoredFile(f"file:{tmp_path}/Fig/deleted.jpg", 5, 0)
    result = process(micro, [changing, deleted], BatchId("query-8", 0))
    assert result.outcomes == {"changing": 1, "deleted": 1}
    assert result.changing == (changing.path,)
    assert versions(micro.lake) == before


def unreadable(file: Path) -> StoredFile:
    """Create a file that can be opened, and whose reads fail as on a broken disk."""
    file.symlink_to("/proc/self/mem")
    return StoredFile(f"file:{file}", 5, 0)


def test_permanent_read_error_does_not_block_other_images(
    micro: MicroBatch, tmp_path: Path
) -> None:
    broken = unreadable(tmp_path / "broken.jpg")
    result = process(micro, [put(tmp_path / "Fig" / "a.jpg", jpeg()), broken])
    assert result.unread[0].startswith(broken.path)
    assert "Input/output error" in result.unread[0]
    assert result.retries > 0
    assert tables(micro, tmp_path) == (["Fig/a.jpg"], [])
    assert not micro.image_index.filter_known([broken])


def test_unreadable_storage_fails_batch_with_one_line_error(
    micro: MicroBatch, tmp_path: Path
) -> None:
    before = versions(micro.lake)
    files = [unreadable(tmp_path / f"{number}.jpg") for number in range(20)]
    with pytest.raises(Exception, match="Input/output error") as caught:
        process(micro, files)
    assert str(translate_exception(caught.value)).startswith(f"file:{tmp_path}/")
    assert versions(micro.lake) == before


@pytest.mark.parametrize("before", [True, False])
def test_stream_continues_after_failed_commit_without_duplicates(
    micro: MicroBatch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    upsert = Writer.upsert

    def fail(writer: Writer, new: DataFrame, *, merge: bool) -> None:
        if not before or writer.location.endswith("/quarantine"):
            upsert(writer, new, merge=merge)
        if writer.location.endswith("/features"):
            raise OSError("the response was lost")

    files = put_all(tmp_path, {"Fig/good.jpg": jpeg(1), "Fig/bad.jpg": GARBAGE})
    with monkeypatch.context() as patch:
        patch.setattr(Writer, "upsert", fail)
        with pytest.raises(OSError, match="lost"):
            process(micro, files)
    assert set(micro.image_index.new_or_changed(files)) == set(files)
    result = process(micro, files)
    assert (result.written, result.skipped) == ((1, 1) if before else (0, 2))
    assert tables(micro, tmp_path) == (["Fig/good.jpg"], ["Fig/bad.jpg"])
    assert not list(micro.image_index.new_or_changed(files))


def test_rows_that_a_lost_executor_changed_are_processed_again(
    micro: MicroBatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Without the cached rows of the executor, Spark processes its images a second time."""
    files = put_all(tmp_path, {"Fig/kept.jpg": jpeg(1), "Fig/replaced.jpg": jpeg(2)})
    computed = micro.compute(files)
    computed.release()
    (tmp_path / "Fig" / "replaced.jpg").unlink()
    micro.commit(computed)
    assert "probably because an executor was lost" in caplog.text
    files = [files[0], put(tmp_path / "Fig" / "replaced.jpg", jpeg(3))]
    assert set(micro.image_index.new_or_changed(files)) == set(files)
    result = process(micro, files)
    assert (result.written, result.skipped) == (1, 1)
    assert tables(micro, tmp_path) == (["Fig/kept.jpg", "Fig/replaced.jpg"], [])
    assert not list(micro.image_index.new_or_changed(files))


def test_only_image_of_a_sweep_that_a_lost_executor_changed_is_processed_again(
    micro: MicroBatch, tmp_path: Path
) -> None:
    """Delta makes no commit, because no row is left to write."""
    file = put(tmp_path / "Fig" / "only.jpg", jpeg(1))
    computed = micro.compute([file])
    computed.release()
    (tmp_path / "Fig" / "only.jpg").rename(tmp_path / "kept.jpg")
    before = versions(micro.lake)
    micro.commit(computed)
    assert versions(micro.lake) == before
    (tmp_path / "kept.jpg").rename(tmp_path / "Fig" / "only.jpg")
    assert list(micro.image_index.new_or_changed([file])) == [file]
    assert process(micro, [file]).written == 1
    assert tables(micro, tmp_path) == (["Fig/only.jpg"], [])
    assert not list(micro.image_index.new_or_changed([file]))


def test_rows_are_complete_if_the_commit_has_no_numbers(
    micro: MicroBatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = put_all(tmp_path, photos("Fig", range(2)))
    setting = "spark.databricks.delta.history.metricsEnabled"
    micro.spark.conf.set(setting, "false")
    try:
        process(micro, files)
    finally:
        micro.spark.conf.unset(setting)
    assert "executor" not in caplog.text
    assert not list(micro.image_index.new_or_changed(files))
