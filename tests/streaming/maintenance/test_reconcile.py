"""Tests for `streaming.maintenance.reconcile`, `streaming.maintenance.missing_images` and `--mirror`."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from pyspark.sql import SparkSession

from streaming.featurize.microbatch import MicroBatch
from streaming.featurize.results import BatchResult
from streaming.featurize.stopping import StopRequested
from streaming.ingest.pipeline import ingest
from streaming.ingest.settings import IngestSummary
from streaming.lake.layout import Lake
from streaming.maintenance.context import OperationContext
from streaming.maintenance.missing_images import (
    DeletedImages,
    ListingSnapshot,
    find_deleted_images,
)
from streaming.maintenance.reconcile import Comparison, compare, reconcile
from streaming.sources.listing import ListingCounts, Source
from streaming.storage.interface import StoredFile
from streaming.storage.s3 import S3Storage
from support.aws.moto_users import create_user, enforce_iam
from support.lakes.operation_context import ingest_all, open_context
from support.lakes.small_lakes import (
    GARBAGE,
    ONCE,
    below,
    jpeg,
    photos,
    put,
    put_all,
    rows,
    versions,
)
from support.lakes.table_rows import add_features

pytestmark = pytest.mark.spark

NEW_LAKE = Callable[[], Path]


def compare_names(context: OperationContext, **options: Any) -> dict[str, Any]:
    """Return the result of `compare`, with file names instead of paths."""
    assert context.source
    options = {"hashes": False, "limit": 0.5} | options
    result = compare(context.lake, context.source, context.batch.image_index, **options).as_json()
    return {
        key: [path.rsplit("/", 1)[1] for path in value] if isinstance(value, list) else value
        for key, value in result.items()
    }


@pytest.mark.long
def test_reconcile_repairs_missing_changed_rewritten_and_deleted_images(
    spark: SparkSession, new_lake: NEW_LAKE, tmp_path: Path
) -> None:
    source, elsewhere = tmp_path / "It's mine", tmp_path / "It's mine too"
    put_all(source, photos("Fig", range(6)) | {"Fig/bad.jpg": GARBAGE})
    put_all(elsewhere, photos("Fig", range(2)))
    lake = new_lake()
    ingest_all(open_context(spark, lake, str(elsewhere)))
    context = open_context(spark, lake, str(source))
    ingest_all(context)
    consistent = {
        "listed": 7,
        "in_lake": 7,
        "rows": 7,
        "missing": [],
        "changed": [],
        "missing_in_source": [],
        "rewritten": [],
    }
    assert compare_names(context, hashes=True).items() >= consistent.items()

    put(source / "Fig" / "new.jpg", jpeg(10))
    put(source / "Fig" / "0.jpg", jpeg(11), written=1e9)
    same = os.stat(source / "Fig" / "1.jpg")
    other = jpeg(1)[:-2] + b"\xff\xd8"  # of the same length, but not a valid image
    put(source / "Fig" / "1.jpg", other, written=same.st_mtime)
    for name in ("2.jpg", "bad.jpg"):
        (source / "Fig" / name).unlink()
    differences = {
        "listed": 6,
        "in_lake": 5,
        "rows": 7,
        "missing": ["new.jpg"],
        "changed": ["0.jpg"],
        "missing_in_source": ["2.jpg", "bad.jpg"],
    }
    before = versions(context.lake)
    assert compare_names(context).items() >= differences.items()
    assert compare_names(context)["rewritten"] == []
    assert compare_names(context, hashes=True)["rewritten"] == ["1.jpg"]
    assert versions(context.lake) == before

    rewritten = [f"file:{source}/Fig/1.jpg", f"file:{source}/Fig/2.jpg"]  # one of them was deleted
    arguments = {"source": f"file:{source}", "rewritten": rewritten}
    result = reconcile(context, arguments)
    assert result["rewritten"] == rewritten[:1]
    assert (result["featurized"] + result["quarantined"], result["removed"]) == (3, 2)
    consistent = consistent | {"listed": 6, "in_lake": 6, "rows": 6}
    assert compare_names(context, hashes=True).items() >= consistent.items()
    all_rows = rows(context.lake.features) + rows(context.lake.quarantine)
    assert len({row["path"] for row in all_rows}) == len(all_rows) == 8
    again = reconcile(context, {"source": f"file:{source}"})
    assert again.items() >= (consistent | {"removed": 0}).items()


def test_stream_continues_while_the_source_is_listed_and_a_stop_ends_the_listing(
    spark: SparkSession,
    new_lake: NEW_LAKE,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = tmp_path / "images"
    put_all(source, photos("Fig", range(3)))
    context = open_context(spark, new_lake(), str(source))
    continues, listed, processed = [False], list[bool](), list[bool]()

    @contextmanager
    def let_stream_continue() -> Iterator[None]:
        continues[0] = True
        yield
        continues[0] = False

    def images(self: Source, *arguments: Any) -> Iterator[StoredFile]:
        for image in list_images(self, *arguments):
            listed.append(continues[0])
            yield image

    def process(batch: MicroBatch, files: Sequence[StoredFile]) -> Sequence[BatchResult]:
        processed.append(continues[0])
        return context.process_files(batch, files)

    list_images = Source.images
    monkeypatch.setattr(Source, "images", images)
    request = replace(context, let_stream_continue=let_stream_continue, process_files=process)
    before = versions(context.lake)
    with pytest.raises(StopRequested):
        reconcile(replace(request, stopped=lambda: True), {"source": f"file:{source}"})
    assert (versions(context.lake), len(listed)) == (before, 1)

    assert reconcile(request, {"source": f"file:{source}"})["featurized"] == 3
    assert (listed, processed) == ([True] * 4, [False])

    (source / "Fig" / "0.jpg").unlink()
    with pytest.raises(StopRequested):
        reconcile(replace(request, stopped=lambda: len(listed) >= 6), {"source": f"file:{source}"})


def test_image_that_is_uploaded_again_during_a_comparison_keeps_its_row(
    spark: SparkSession, new_lake: NEW_LAKE, tmp_path: Path
) -> None:
    source = tmp_path / "images"
    put_all(source, photos("Fig", range(3)))
    context = open_context(spark, new_lake(), str(source))
    ingest_all(context)
    image = source / "Fig" / "0.jpg"
    content = image.read_bytes()
    image.unlink()

    @contextmanager
    def let_stream_continue() -> Iterator[None]:
        yield
        put(image, content)

    request = replace(context, let_stream_continue=let_stream_continue)
    result = reconcile(request, {"source": f"file:{source}"})
    assert (result["removed"], result["counts"]["missing_in_source"]) == (0, 0)
    assert len(rows(context.lake.features)) == 3


def test_answer_has_all_counts_and_the_first_paths() -> None:
    files = [StoredFile(f"file:/x/{number}.jpg", 1, 0) for number in range(3)]
    gone = DeletedImages(["file:/x/8.jpg", "file:/x/9.jpg"], 9)
    found = Comparison(10, files, files[:1], [], [], gone, ListingCounts())
    answer = found.as_json(max_paths=1)
    assert answer["counts"] == {
        "missing": 3,
        "changed": 1,
        "rewritten": 0,
        "missing_in_source": 2,
        "unread": 0,
    }
    assert (answer["missing"], answer["missing_in_source"]) == (["file:/x/0.jpg"], gone.paths[:1])
    assert (answer["in_lake"], answer["backlog"]) == (7, 4)
    assert len(found.as_json()["missing"]) == 3


def test_incomplete_empty_or_implausible_listing_removes_nothing(
    spark: SparkSession, new_lake: NEW_LAKE, tmp_path: Path
) -> None:
    source = tmp_path / "mounted"
    put_all(source, photos("Fig", range(4)))
    context = open_context(spark, new_lake(), str(source))
    ingest_all(context)
    snapshot = ListingSnapshot()
    assert list(
        snapshot.record([*Source(f"file:{source}").images()][:1])
    )  # the other images exist, too
    assert find_deleted_images(context.lake, f"file:{source}", snapshot, 1).paths == []
    arguments = {"source": f"file:{source}"}
    for name in ("0.jpg", "1.jpg", "2.jpg"):
        (source / "Fig" / name).unlink()
    result = reconcile(context, arguments)
    assert (result["removed"], len(result["missing_in_source"])) == (0, 3)
    assert result["skip_reason"] == (
        f"these are more than 50% of the 4 images of file:{source}: use --remove-limit 1 to delete them"
    )
    source.rename(tmp_path / "not mounted")
    result = reconcile(context, arguments | {"limit": 1})
    assert result["removed"] == 0
    assert result["skip_reason"] == (
        f"the listing of file:{source} is empty: mount it or check the prefix; to delete the rows anyway, "
        "use `pomona forget`"
    )
    (tmp_path / "not mounted").rename(source)
    assert reconcile(context, arguments | {"limit": 0.75})["removed"] == 3
    assert below(source, context.lake.features) == ["Fig/3.jpg"]


def test_rows_of_deleted_images_are_removed_only_with_mirror(
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
    limited = run(mirror=True, remove_limit=0.25)
    assert (limited.removed, limited.skipped_deletions) == (0, 2)
    assert run(mirror=True).removed == 2
    assert below(tmp_path, lake.features) == ["Fig/0.jpg", "Fig/2.jpg"]
    assert below(tmp_path, lake.quarantine) == []


@pytest.mark.s3
def test_objects_that_cannot_be_checked_are_not_deleted(
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
    snapshot = ListingSnapshot()
    list(snapshot.record(images[:2]))
    user = create_user(f"blind-{bucket}", ["s3:GetObject"], [bucket])
    with enforce_iam(aws["AWS_ENDPOINT_URL"]), monkeypatch.context() as patch:
        for name, value in user.items():
            patch.setenv(name, value)
        blind = S3Storage()
        patch.setattr("streaming.storage.s3.s3_storage", lambda: blind)
        assert find_deleted_images(lake, root, snapshot, 0.5).paths == []
        with pytest.raises(PermissionError):
            list(Source(root).images())
    assert find_deleted_images(lake, root, snapshot, 0.5).paths == [f"{root}/2.jpg"]
