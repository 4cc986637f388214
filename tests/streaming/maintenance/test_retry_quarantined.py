"""Tests for `streaming.maintenance.retry_quarantined`.

Images of the quarantine are taken again, and move where they now work.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
from pyspark.sql import SparkSession

from streaming.delta.writer import Writer
from streaming.errors import SourceError
from streaming.lake.image_index import ImageIndex
from streaming.maintenance.finish_moves import finish_interrupted_moves
from streaming.maintenance.retry_quarantined import retry
from streaming.sources.listing import Source
from support.lakes import GARBAGE, jpeg, put, rows
from support.operation_context import ingest_all, open_context

pytestmark = pytest.mark.spark

NEW_LAKE = Callable[[], Path]


def deny(bucket: str, what: str) -> None:
    """Nobody may read these objects of a bucket."""
    resource = f"arn:aws:s3:::{bucket}{what}"
    statement = {"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject", "Resource": resource}
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    boto3.client("s3").put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))


def names(location: str) -> dict[str, Any]:
    """The rows of a table by the file's name."""
    return {row["path"].rsplit("/", 1)[1]: row for row in rows(location)}


@pytest.mark.s3
def test_what_was_not_handed_out_is_featurized_once_it_is(
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
    assert names(lake.features).keys() == {"0.jpg", "2.jpg"}
    denied = names(lake.quarantine)["1.jpg"]
    assert (denied["reason"], denied["attempts"]) == ("access_denied", 1)
    assert "access denied" in denied["detail"]

    still = {"tried": 1, "featurized": 0, "quarantined": 1, "reasons": {"access_denied": 1}}
    assert retry(context, {"reason": "access_denied"}).items() >= still.items()
    assert names(lake.quarantine)["1.jpg"]["attempts"] == 2
    assert names(lake.quarantine)["bad.jpg"]["attempts"] == 1

    s3.delete_bucket_policy(Bucket=bucket)
    found = retry(context, {"reason": None})
    assert (found["tried"], found["featurized"], found["quarantined"]) == (2, 1, 1)
    assert names(lake.features).keys() == {"0.jpg", "1.jpg", "2.jpg"}
    assert {name: row["attempts"] for name, row in names(lake.quarantine).items()} == {"bad.jpg": 2}


@pytest.mark.s3
def test_a_prefix_that_may_be_listed_and_not_read_is_one_line(bucket: str) -> None:
    for number in range(3):
        boto3.client("s3").put_object(Bucket=bucket, Key=f"{number}.jpg", Body=jpeg(number))
    source = Source.at(f"s3://{bucket}")
    deny(bucket, "/0.jpg")
    source.check_readable()
    deny(bucket, "/*")
    with pytest.raises(SourceError, match=r"first 3 images.*s3:GetObject") as refused:
        source.check_readable()
    assert "\n" not in str(refused.value)


def test_what_is_gone_keeps_its_row_and_what_has_changed_is_taken_as_it_is(
    spark: SparkSession, new_lake: NEW_LAKE, tmp_path: Path
) -> None:
    for name in ("gone.jpg", "mended.jpg", "bad.jpg"):
        put(tmp_path / "Fig" / name, GARBAGE)
    context = open_context(spark, new_lake(), str(tmp_path))
    ingest_all(context)
    (tmp_path / "Fig" / "gone.jpg").unlink()
    put(tmp_path / "Fig" / "mended.jpg", jpeg(1))
    found = retry(context, {"reason": None})
    assert found == {
        "tried": 2,
        "featurized": 1,
        "quarantined": 1,
        "reasons": {"truncated": 1},
        "changing": 0,
        "missing_in_source": 1,
    }
    assert names(context.lake.features).keys() == {"mended.jpg"}
    assert names(context.lake.quarantine).keys() == {"bad.jpg", "gone.jpg"}
    assert retry(context, {"reason": "empty"})["tried"] == 0


class Killed(BaseException):
    """The process ends here."""


def test_a_move_that_is_killed_halfway_is_finished_at_the_next_start(
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
    assert names(lake.features).keys() == names(lake.quarantine).keys() == {"a.jpg"}
    assert ImageIndex.load(lake).has_duplicates
    assert finish_interrupted_moves(spark, lake) == 1
    assert (names(lake.features).keys(), names(lake.quarantine)) == ({"a.jpg"}, {})
