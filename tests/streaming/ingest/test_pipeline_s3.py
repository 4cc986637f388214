"""Tests for `streaming.ingest.pipeline` with source and lake on S3; delta-rs reads the tables that Spark wrote."""

from __future__ import annotations

import dataclasses
import io
import queue
import shutil
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import boto3
import deltalake
import numpy as np
import pytest
from pyspark.sql import SparkSession

from streaming.images.synthetic import SAMPLE_LABELS, draw
from streaming.ingest import cloudwatch
from streaming.ingest.pipeline import ingest
from streaming.ingest.settings import IngestSummary
from streaming.outcomes import Outcome
from support.aws.metrics import published
from support.lakes.small_lakes import GARBAGE, ONCE, put_all
from support.lakes.small_lakes import rows as local_rows

pytestmark = [pytest.mark.s3, pytest.mark.long]

RANDOM = dataclasses.replace(ONCE, weights="random")
# Characters with a special meaning in URIs, queries, globs or Hadoop paths.
LABELS = {
    "Été/Crème brûlée 50%/a+b c.jpg": "Crème brûlée 50%",
    "Été/Crème brûlée 50%/2.JPG": "Crème brûlée 50%",
    "x%20y/%41.jpg": "x%20y",
    "x%20y/x y+z.png": "x%20y",
    "x y/1.jpg": "x y",
    "a+b/1=1&2.jpg": "a+b",
    "[x] {a} *?/q#1.jpg": "[x] {a} *?",
    "10:30/1:2.jpg": "10:30",
    "a\\b/c\\d.jpg": "a\\b",
    "双/👍.webp": "双",
    "'single' \"double\"/`.jpg": "'single' \"double\"",
    "~/100%.jpg": "~",
}
REPLACED, ADDED = "x%20y/%41.jpg", "x y/2.jpg"


def draw_image(seed: int, name: str = "a.jpg") -> bytes:
    image = draw(SAMPLE_LABELS[seed % len(SAMPLE_LABELS)], np.random.default_rng(seed))
    buffer = io.BytesIO()
    suffix = name.rsplit(".", 1)[1].lower()
    image.save(buffer, {"jpg": "JPEG"}.get(suffix, suffix))
    return buffer.getvalue()


def put_objects(bucket: str, contents: Mapping[str, bytes], prefix: str = "") -> None:
    for name, content in contents.items():
        boto3.client("s3").put_object(Bucket=bucket, Key=prefix + name, Body=content)


def contents_of(folder: Path, prefix: str) -> dict[str, bytes]:
    files = [file for file in folder.rglob("*") if file.is_file()]
    return {f"{prefix}/{file.relative_to(folder)}": file.read_bytes() for file in files}


def rows(uri: str, aws: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the rows of a table on S3, ordered by path, read with delta-rs."""
    table = deltalake.DeltaTable(uri, storage_options={**aws, "AWS_ALLOW_HTTP": "true"})
    return sorted(table.to_pyarrow_table().to_pylist(), key=lambda row: str(row["path"]))


@dataclasses.dataclass
class Runs:
    """Three runs from one bucket to another."""

    root: str
    summaries: list[IngestSummary]
    features: list[list[dict[str, Any]]]
    quarantine: list[list[dict[str, Any]]]


@pytest.fixture(scope="module")
def runs(spark: SparkSession, aws: dict[str, str], random_model: Path) -> Runs:
    source_bucket, lake_bucket = "fruits-of-three-runs", "lake-of-three-runs"
    for name in (source_bucket, lake_bucket):
        region = {"LocationConstraint": aws["AWS_REGION"]}
        boto3.client("s3").create_bucket(Bucket=name, CreateBucketConfiguration=region)
    source, lake = "Marché 100%+", "Mon lac 50%"
    put_objects(lake_bucket, contents_of(random_model, f"{lake}/models"))
    good = {key: draw_image(seed, key) for seed, key in enumerate(LABELS)}
    others = {"Fig/": b"", "Fig/notes.txt": b"1", "_tmp/a.jpg": draw_image(0), "Fig/.b.jpg": b"1"}
    bad = {"Fig/empty.jpg": b"", "Fig/bad.jpg": GARBAGE}
    put_objects(source_bucket, good | others | bad, f"{source}/")
    runs = Runs(f"s3a://{source_bucket}/{source}", [], [], [])

    def run() -> None:
        runs.summaries.append(
            ingest(f"s3a://{source_bucket}/{source}/", f"s3a://{lake_bucket}/{lake}", RANDOM)
        )
        runs.features.append(rows(f"s3://{lake_bucket}/{lake}/features", aws))
        runs.quarantine.append(rows(f"s3://{lake_bucket}/{lake}/quarantine", aws))

    run()
    run()
    put_objects(source_bucket, {REPLACED: draw_image(99), ADDED: draw_image(98)}, f"{source}/")
    run()
    return runs


def test_paths_and_labels_match_keys(runs: Runs) -> None:
    found = {row["path"]: row["label"] for row in runs.features[0]}
    assert found == {f"{runs.root}/{key}": label for key, label in LABELS.items()}
    assert len(runs.features[0]) == len(LABELS)


def test_lengths_and_times_match_objects(runs: Runs) -> None:
    bucket = runs.root.removeprefix("s3a://").partition("/")[0]
    for row in [row for row in runs.features[2] if row["path"].endswith((REPLACED, ADDED))]:
        key = row["path"].removeprefix(f"s3a://{bucket}/")
        head = boto3.client("s3").head_object(Bucket=bucket, Key=key)
        assert row["length"] == head["ContentLength"]
        assert row["modification_time"] == head["LastModified"]


def test_empty_and_broken_objects_are_quarantined(runs: Runs) -> None:
    assert [row["path"] for row in runs.quarantine[0]] == [
        f"{runs.root}/Fig/bad.jpg",
        f"{runs.root}/Fig/empty.jpg",
    ]
    assert {row["label"] for row in runs.quarantine[0]} == {"Fig"}


def test_other_objects_are_ignored_and_counted(runs: Runs) -> None:
    summary = runs.summaries[0]
    assert summary.outcomes == {Outcome.FEATURES: len(LABELS), Outcome.QUARANTINE: 2}
    assert summary.ignored == 3


def test_second_run_adds_nothing(runs: Runs) -> None:
    assert runs.summaries[1].batches == 0
    assert runs.features[1] == runs.features[0]
    assert runs.quarantine[1] == runs.quarantine[0]


def test_overwritten_object_replaces_row(runs: Runs) -> None:
    before, after = ({row["path"]: row for row in rows} for rows in runs.features[1:])
    replaced, added = f"{runs.root}/{REPLACED}", f"{runs.root}/{ADDED}"
    assert after.keys() == before.keys() | {added}
    assert len(runs.features[2]) == len(LABELS) + 1
    assert [path for path in before if after[path] != before[path]] == [replaced]
    assert after[replaced]["length"] == len(draw_image(99))
    assert runs.summaries[2].replaced == 1


def test_ingest_from_bucket_root_into_folder(
    spark: SparkSession, bucket: str, random_model: Path, tmp_path: Path
) -> None:
    put_objects(bucket, {"My fruit/1.jpg": draw_image(1), "2.jpg": draw_image(2)})
    shutil.copytree(random_model, tmp_path / "lake" / "models")
    ingest(f"s3://{bucket}/", str(tmp_path / "lake"), RANDOM)
    found = {row["path"]: row["label"] for row in local_rows(f"{tmp_path}/lake/features")}
    assert found == {f"s3a://{bucket}/My fruit/1.jpg": "My fruit", f"s3a://{bucket}/2.jpg": bucket}


def test_ingest_from_folder_into_bucket_root(
    spark: SparkSession, aws: dict[str, str], bucket: str, random_model: Path, tmp_path: Path
) -> None:
    put_all(tmp_path, {"My fruit/1.jpg": draw_image(1), "My fruit/2.jpg": draw_image(2)})
    put_objects(bucket, contents_of(random_model, "models"))
    ingest(str(tmp_path), f"s3://{bucket}", RANDOM)
    found = {row["path"]: row["label"] for row in rows(f"s3://{bucket}/features", aws)}
    assert found == {f"file:{tmp_path}/My fruit/{number}.jpg": "My fruit" for number in (1, 2)}


def test_key_that_spark_cannot_list_arrives_during_stream(
    spark: SparkSession,
    bucket: str,
    random_model: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cloudwatch, "INTERVAL", 0.1)
    hadoop: Any = spark.sparkContext._jsc.hadoopConfiguration()  # type: ignore[attr-defined]
    hadoop.set(f"fs.s3a.bucket.{bucket}.retry.limit", "0")  # two minutes by default
    shutil.copytree(random_model, tmp_path / "lake" / "models")
    found: queue.Queue[int] = queue.Queue()
    namespace = f"Pomona/{bucket}"
    settings = dataclasses.replace(RANDOM, once=False, trigger=1, cloudwatch=namespace)
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(
            ingest,
            f"s3://{bucket}/fruits",
            str(tmp_path / "lake"),
            settings,
            lambda result, _: found.put(result.written) if result.written else None,
            stop,
        )
        try:
            for number, key in enumerate(("Fig/a.jpg", "Fig/\x01.jpg", "Kiwi\x1f/b.jpg", "c.jpg")):
                put_objects(bucket, {f"fruits/{key}": draw_image(number)})
                assert found.get(timeout=200) == 1
        finally:
            stop.set()
    summary = run.result()
    assert (summary.images, summary.waiting) == (4, 0)
    assert len(local_rows(f"{tmp_path}/lake/features")) == 4
    (warning,) = [text for text in caplog.messages if "Spark cannot list a prefix" in text]
    assert warning.startswith(f"s3a://{bucket}/fruits/Fig/\x01.jpg: ")
    # The age of the last commit falls at each commit.
    metrics = published(namespace)
    assert metrics.keys() == cloudwatch.METRICS.keys()
    assert any(later < earlier for earlier, later in pairwise(metrics["LastCommitAge"]))
    assert min(metrics["Backlog"]) == 0
