"""Tests for `streaming.maintenance.retry_quarantined`."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pytest
from pyspark.sql import SparkSession

from streaming.delta.writer import Writer
from streaming.errors import SourceError
from streaming.lake.image_index import ImageIndex
from streaming.maintenance import retry_quarantined as module
from streaming.maintenance.finish_moves import finish_interrupted_moves
from streaming.maintenance.retry_quarantined import retry, stat_files
from streaming.sources.listing import Source
from streaming.storage.interface import StoredFile
from support.lakes.operation_context import ingest_all, open_context
from support.lakes.small_lakes import GARBAGE, jpeg, put, rows

pytestmark = pytest.mark.spark

NEW_LAKE = Callable[[], Path]


def deny(bucket: str, key_pattern: str) -> None:
    """Deny all reads of these objects of a bucket."""
    resource = f"arn:aws:s3:::{bucket}{key_pattern}"
    statement = {"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject", "Resource": resource}
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    boto3.client("s3").put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))


def rows_by_name(location: str) -> dict[str, Any]:
    """Return the rows of a table by file name."""
    return {row["path"].rsplit("/", 1)[1]: row for row in rows(location)}


@pytest.mark.long
@pytest.mark.s3
def test_denied_image_is_featurized_once_access_is_allowed(
    spark: SparkSession, new_lake: NEW_LAKE, bucket: str
) -> None:
    s3 = boto3.client("s3")
    for number in range(3):
        s3.put_object(Bucket=bucket, Key=f"Fig/{number}.jpg", Body=jpeg(number))
    s3.put_object(Bucket=bucket, Key="Fig/bad.jpg", Body=GARBAGE)
    deny(bucket, "/Fig/1.jpg")
    context = open_context(spark, new_lake(), f"s3://{bucket}/Fig")
    ingest_all(context)
    lake = context.lake
    assert rows_by_name(lake.features).keys() == {"0.jpg", "2.jpg"}
    denied = rows_by_name(lake.quarantine)["1.jpg"]
    assert (denied["reason"], denied["attempts"]) == ("access_denied", 1)
    assert "access denied" in denied["detail"]

    unchanged = {"retried": 1, "featurized": 0, "quarantined": 1, "reasons": {"access_denied": 1}}
    assert retry(context, {"reason": "access_denied"}).items() >= unchanged.items()
    assert rows_by_name(lake.quarantine)["1.jpg"]["attempts"] == 2
    assert rows_by_name(lake.quarantine)["bad.jpg"]["attempts"] == 1

    s3.delete_bucket_policy(Bucket=bucket)
    result = retry(context, {"reason": None})
    assert (result["retried"], result["featurized"], result["quarantined"]) == (2, 1, 1)
    assert rows_by_name(lake.features).keys() == {"0.jpg", "1.jpg", "2.jpg"}
    assert {name: row["attempts"] for name, row in rows_by_name(lake.quarantine).items()} == {
        "bad.jpg": 2
    }


@pytest.mark.s3
def test_check_readable_of_denied_prefix_raises_one_line(bucket: str) -> None:
    for number in range(3):
        boto3.client("s3").put_object(Bucket=bucket, Key=f"{number}.jpg", Body=jpeg(number))
    source = Source.at(f"s3://{bucket}")
    deny(bucket, "/0.jpg")
    source.check_readable()
    deny(bucket, "/*")
    with pytest.raises(SourceError, match=r"first 3 images.*s3:GetObject") as error:
        source.check_readable()
    assert "\n" not in str(error.value)


@pytest.mark.long
def test_retry_keeps_rows_of_deleted_images_and_uses_current_content(
    spark: SparkSession, new_lake: NEW_LAKE, tmp_path: Path
) -> None:
    for name in ("deleted.jpg", "repaired.jpg", "bad.jpg"):
        put(tmp_path / "Fig" / name, GARBAGE)
    context = open_context(spark, new_lake(), str(tmp_path))
    ingest_all(context)
    (tmp_path / "Fig" / "deleted.jpg").unlink()
    put(tmp_path / "Fig" / "repaired.jpg", jpeg(1))
    result = retry(context, {"reason": None})
    assert result == {
        "retried": 2,
        "featurized": 1,
        "quarantined": 1,
        "reasons": {"truncated": 1},
        "changing": 0,
        "missing_in_source": 1,
        "other_sources": 0,
    }
    assert rows_by_name(context.lake.features).keys() == {"repaired.jpg"}
    assert rows_by_name(context.lake.quarantine).keys() == {"bad.jpg", "deleted.jpg"}
    assert retry(context, {"reason": "empty"})["retried"] == 0


def test_files_are_looked_up_in_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [put(tmp_path / f"{number}.jpg", b"12345") for number in range(7)]
    (tmp_path / "5.jpg").unlink()
    queued = list[int]()

    class CountingPool(ThreadPoolExecutor):
        def map(self, function: Any, *arguments: Any, **options: Any) -> Any:
            (items,) = map(list, arguments)
            queued.append(len(items))
            return super().map(function, items, **options)

    monkeypatch.setattr(module, "ThreadPoolExecutor", CountingPool)
    monkeypatch.setattr(module, "_CHUNK", 3)
    found = stat_files(StoredFile(file.path, 0, 0) for file in files)
    assert found == [*files[:5], files[6]]
    assert queued == [3, 3, 1]


class Killed(BaseException):
    """Simulates a kill of the process."""


def test_interrupted_move_is_finished_at_next_start(
    spark: SparkSession, new_lake: NEW_LAKE, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "Fig" / "a.jpg", GARBAGE)
    context = open_context(spark, new_lake(), str(tmp_path))
    ingest_all(context)
    put(tmp_path / "Fig" / "a.jpg", jpeg(1))

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Writer, "delete", die)
        with pytest.raises(Killed):
            retry(context, {"reason": None})
    lake = context.lake
    assert rows_by_name(lake.features).keys() == rows_by_name(lake.quarantine).keys() == {"a.jpg"}
    assert ImageIndex.load(lake).has_duplicates
    assert finish_interrupted_moves(spark, lake) == 1
    assert (rows_by_name(lake.features).keys(), rows_by_name(lake.quarantine)) == ({"a.jpg"}, {})
