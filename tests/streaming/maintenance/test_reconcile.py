"""Tests for `streaming.maintenance.reconcile`, `streaming.maintenance.missing_images` and `--mirror`.

What differs is found, and mended with care.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from pyspark.sql import SparkSession

from streaming.ingest.pipeline import ingest
from streaming.ingest.settings import IngestSummary
from streaming.lake.layout import Lake
from streaming.maintenance.context import OperationContext
from streaming.maintenance.missing_images import ListingSnapshot, find_deleted_images
from streaming.maintenance.reconcile import compare, reconcile
from streaming.sources.listing import Source
from streaming.storage.s3 import S3Storage
from support.lakes import GARBAGE, ONCE, below, jpeg, photos, put, put_all, rows, versions
from support.moto_users import create_user, enforce_iam
from support.operation_context import ingest_all, open_context
from support.table_rows import add_features

pytestmark = pytest.mark.spark

NEW_LAKE = Callable[[], Path]


def compared(context: OperationContext, **options: Any) -> dict[str, Any]:
    """What `compare` finds, by the files' names."""
    assert context.source
    options = {"hashes": False, "limit": 0.5} | options
    found = compare(context.lake, context.source, context.batch.image_index, **options).as_json()
    return {
        key: [path.rsplit("/", 1)[1] for path in value] if isinstance(value, list) else value
        for key, value in found.items()
    }


def test_missing_changed_rewritten_and_gone_are_found_and_mended(
    spark: SparkSession, new_lake: NEW_LAKE, tmp_path: Path
) -> None:
    source, elsewhere = tmp_path / "It's mine", tmp_path / "It's mine too"
    put_all(source, photos("Fig", range(6)) | {"Fig/bad.jpg": GARBAGE})
    put_all(elsewhere, photos("Fig", range(2)))
    lake = new_lake()
    ingest_all(open_context(spark, lake, str(elsewhere)))
    context = open_context(spark, lake, str(source))
    ingest_all(context)
    agreed = {
        "listed": 7,
        "in_lake": 7,
        "missing": [],
        "changed": [],
        "missing_in_source": [],
        "rewritten": [],
    }
    assert compared(context, hashes=True).items() >= agreed.items()

    put(source / "Fig" / "new.jpg", jpeg(10))
    put(source / "Fig" / "0.jpg", jpeg(11), written=1e9)
    same = os.stat(source / "Fig" / "1.jpg")
    other = jpeg(1)[:-2] + b"\xff\xd8"  # as long, and no image any more
    put(source / "Fig" / "1.jpg", other, written=same.st_mtime)
    for name in ("2.jpg", "bad.jpg"):
        (source / "Fig" / name).unlink()
    found = {
        "missing": ["new.jpg"],
        "changed": ["0.jpg"],
        "missing_in_source": ["2.jpg", "bad.jpg"],
    }
    before = versions(context.lake)
    assert compared(context).items() >= found.items()
    assert compared(context)["rewritten"] == []
    assert compared(context, hashes=True)["rewritten"] == ["1.jpg"]
    assert versions(context.lake) == before

    rewritten = [f"file:{source}/Fig/1.jpg", f"file:{source}/Fig/2.jpg"]  # one of them is gone
    arguments = {"source": f"file:{source}", "rewritten": rewritten}
    mended = reconcile(context, arguments)
    assert mended["rewritten"] == rewritten[:1]
    assert (mended["featurized"] + mended["quarantined"], mended["removed"]) == (3, 2)
    agreed = agreed | {"listed": 6, "in_lake": 6}
    assert compared(context, hashes=True).items() >= agreed.items()
    everywhere = rows(context.lake.features) + rows(context.lake.quarantine)
    assert len({row["path"] for row in everywhere}) == len(everywhere) == 8
    again = reconcile(context, {"source": f"file:{source}"})
    assert again.items() >= (agreed | {"removed": 0}).items()


def test_a_listing_that_is_short_or_empty_or_would_remove_most_removes_nothing(
    spark: SparkSession, new_lake: NEW_LAKE, tmp_path: Path
) -> None:
    source = tmp_path / "mounted"
    put_all(source, photos("Fig", range(4)))
    context = open_context(spark, new_lake(), str(source))
    ingest_all(context)
    seen = ListingSnapshot()
    assert list(seen.record([*Source(f"file:{source}").images()][:1]))  # the others are there, too
    assert find_deleted_images(context.lake, f"file:{source}", seen, 1).paths == []
    arguments = {"source": f"file:{source}"}
    for name in ("0.jpg", "1.jpg", "2.jpg"):
        (source / "Fig" / name).unlink()
    told = reconcile(context, arguments)
    assert (told["removed"], len(told["missing_in_source"])) == (0, 3)
    assert "more than 50% of the 4 images" in told["skip_reason"]
    source.rename(tmp_path / "not mounted")
    told = reconcile(context, arguments | {"limit": 1})
    assert told["removed"] == 0
    assert "is empty: is it mounted?" in told["skip_reason"]
    (tmp_path / "not mounted").rename(source)
    assert reconcile(context, arguments | {"limit": 0.75})["removed"] == 3
    assert below(source, context.lake.features) == ["Fig/3.jpg"]


def test_rows_stay_unless_the_source_is_to_be_mirrored(
    spark: SparkSession, new_lake: NEW_LAKE, tmp_path: Path
) -> None:
    put_all(tmp_path, photos("Fig", range(3)) | {"Fig/bad.jpg": GARBAGE})
    lake = Lake.at(str(new_lake()))

    def run(**options: Any) -> IngestSummary:
        return ingest(str(tmp_path), lake.root, dataclasses.replace(ONCE, **options))

    run(mirror=True)
    for name in ("1.jpg", "bad.jpg"):
        (tmp_path / "Fig" / name).unlink()
    assert run().removed == 0
    assert below(tmp_path, lake.features) == ["Fig/0.jpg", "Fig/1.jpg", "Fig/2.jpg"]
    held_back = run(mirror=True, remove_limit=0.25)
    assert (held_back.removed, held_back.skipped_deletions) == (0, 2)
    assert run(mirror=True).removed == 2
    assert below(tmp_path, lake.features) == ["Fig/0.jpg", "Fig/2.jpg"]
    assert below(tmp_path, lake.quarantine) == []


@pytest.mark.s3
def test_objects_that_may_not_be_looked_for_are_not_gone(
    spark: SparkSession,
    new_lake: NEW_LAKE,
    aws: dict[str, str],
    bucket: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = f"s3a://{bucket}"
    for number in range(3):
        boto3.client("s3").put_object(Bucket=bucket, Key=f"{number}.jpg", Body=jpeg(number))
    lake, images = Lake.at(str(new_lake())), list(Source(root).images())
    add_features(spark, lake, images, datetime.now(UTC))
    boto3.client("s3").delete_object(Bucket=bucket, Key="2.jpg")
    seen = ListingSnapshot()
    list(seen.record(images[:2]))
    user = create_user(f"blind-{bucket}", ["s3:GetObject"], [bucket])
    with enforce_iam(aws["AWS_ENDPOINT_URL"]), monkeypatch.context() as patch:
        for name, value in user.items():
            patch.setenv(name, value)
        blind = S3Storage()
        patch.setattr("streaming.storage.s3.s3_storage", lambda: blind)
        assert find_deleted_images(lake, root, seen, 0.5).paths == []
        with pytest.raises(PermissionError):
            list(Source(root).images())
    assert find_deleted_images(lake, root, seen, 0.5).paths == [f"{root}/2.jpg"]
