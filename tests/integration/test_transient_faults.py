"""Tests for transient errors: all images are ingested, no error reaches a table, and the summary counts the retries.

`tests/chaos/test_faults.py` is the extended test, with the lake on S3 behind the same proxy.
"""

from __future__ import annotations

import dataclasses
import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from streaming.errors import ExternalError
from streaming.ingest.pipeline import ingest
from streaming.storage.s3 import S3Storage
from support.faults.faulty_proxy import FaultyProxy
from support.lakes.small_lakes import GARBAGE, ONCE, below, jpeg, photos, put_all, rows
from support.processes.cli import environment, needs_program, program

pytestmark = pytest.mark.s3

IMAGES = 40


@pytest.mark.long
@pytest.mark.end_to_end
@needs_program
def test_ingest_succeeds_when_a_third_of_requests_fail(
    aws: dict[str, str], bucket: str, random_model: Path, tmp_path: Path
) -> None:
    s3 = boto3.client("s3")
    for number in range(IMAGES):
        s3.put_object(
            Bucket=bucket, Key=f"My fruit/Fig {number % 3}/{number}.jpg", Body=jpeg(number)
        )
    for name, content in (("bad", GARBAGE), ("cut", jpeg(1)[:300]), ("empty", b"")):
        s3.put_object(Bucket=bucket, Key=f"My fruit/Fig/{name}.jpg", Body=content)
    lake = tmp_path / "lake"
    shutil.copytree(random_model, lake / "models")
    with FaultyProxy(aws["AWS_ENDPOINT_URL"], 0.3, seed=6) as proxy:
        env = environment(AWS_ENDPOINT_URL=proxy.url)
        command = (
            "ingest",
            f"s3://{bucket}/My fruit",
            lake,
            "--once",
            "--json",
            "--weights",
            "random",
        )
        done = program(*command, env=env)
    assert done.status == 0, done.err
    assert len({row["path"] for row in rows(f"{lake}/features")}) == IMAGES
    assert len(rows(f"{lake}/features")) == IMAGES
    reasons = {row["path"].rsplit("/")[-1]: row["reason"] for row in rows(f"{lake}/quarantine")}
    assert reasons == {"bad.jpg": "truncated", "cut.jpg": "truncated", "empty.jpg": "empty"}
    retries = done.json["retries"]
    assert retries["reads"] > IMAGES / 10
    assert retries["tables"] > 0
    failed = proxy.faults.total() - proxy.faults["delay"]
    assert retries["reads"] + retries["listings"] <= failed


@pytest.mark.long
def test_truncated_table_responses_are_retried(
    spark: SparkSession, aws: dict[str, str], bucket: str
) -> None:
    count = 20_000
    columns = {"path": [f"Fig/{n}.jpg" for n in range(count)], "length": list(range(count))}
    content = io.BytesIO()
    pq.write_table(pa.table(columns), content)
    boto3.client("s3").put_object(Bucket=bucket, Key="t.parquet", Body=content.getvalue())
    requests = nth = 0

    def is_nth(method: str, path: str) -> bool:
        nonlocal requests
        is_part = method == "GET" and path.endswith(".parquet")
        requests += is_part
        return is_part and requests == nth

    def read(cut: int) -> int:
        nonlocal requests, nth
        requests, nth = 0, cut
        table = spark.read.parquet(f"s3a://{bucket}/t.parquet")
        assert table.agg(F.sum("length"), F.count("path")).first() == (sum(range(count)), count)
        return requests

    with FaultyProxy(aws["AWS_ENDPOINT_URL"], 1, kinds=["cut"], only=is_nth) as proxy:
        hadoop: Any = spark.sparkContext._jsc.hadoopConfiguration()  # type: ignore[attr-defined]
        hadoop.set(f"fs.s3a.bucket.{bucket}.endpoint", proxy.url)
        responses = read(cut=0)
        for number in range(1, responses + 1):
            read(cut=number)
    assert proxy.faults == {"cut": responses}


@pytest.mark.parametrize("kind", ["cut", "lost"])
def test_lake_files_are_read_copied_and_moved_when_first_responses_fail(
    aws: dict[str, str], bucket: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[tuple[str, str]] = set()

    def is_first(method: str, path: str) -> bool:
        first = (method, path) not in seen
        seen.add((method, path))
        return first

    root = f"s3a://{bucket}/My lake"
    s3 = boto3.client("s3")
    for name in ("a", "b"):
        s3.put_object(Bucket=bucket, Key=f"My lake/before/{name}", Body=name.encode() * 1000)
    with FaultyProxy(aws["AWS_ENDPOINT_URL"], 1, kinds=[kind], only=is_first) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        storage = S3Storage()
        assert storage.read(f"{root}/before/a", None) == b"a" * 1000
        storage.copy(f"{root}/before/a", f"{root}/copy")
        storage.move_tree(f"{root}/before", f"{root}/after")
        found = {file.path: storage.read(file.path, None) for file in storage.list(root)}
    assert proxy.faults[kind] > 5
    assert found == {
        f"{root}/after/a": b"a" * 1000,
        f"{root}/after/b": b"b" * 1000,
        f"{root}/copy": b"a" * 1000,
    }


def test_permanent_read_error_fails_run_after_other_rows_are_committed(
    spark: SparkSession, new_lake: Callable[[], Path], tmp_path: Path
) -> None:
    source, lake = tmp_path / "images", new_lake()
    put_all(source, photos("Fig", range(3)))
    broken = source / "Fig" / "broken.jpg"
    broken.symlink_to("/proc/self/mem")  # reading its first byte fails
    settings = dataclasses.replace(ONCE, retry_timeout=1, follow_links=True)
    with pytest.raises(ExternalError) as caught:
        ingest(str(source), str(lake), settings)
    assert str(caught.value).startswith(f"file:{broken}: ")
    assert "\n" not in str(caught.value)
    assert below(source, f"{lake}/features") == sorted(photos("Fig", range(3)))
    assert rows(f"{lake}/quarantine") == []
    broken.unlink()
    put_all(source, {"Fig/broken.jpg": jpeg(3)})
    assert ingest(str(source), str(lake), settings).outcomes == {"features": 1}
