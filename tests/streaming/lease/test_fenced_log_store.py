"""Tests for the log store in `java/`: only the lease owner commits, and no commit replaces another."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import threading
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import deltalake
import pytest
from py4j.java_gateway import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from streaming.delta.tables import create_table
from streaming.errors import LeaseError
from streaming.lake.layout import Lake
from streaming.lake.schemas import QUARANTINE
from streaming.lease.acquire import acquire_lease
from streaming.lease.fencing import fence
from streaming.lease.holder import Holder
from streaming.lease.s3 import TERM_VARIABLE, S3Lease
from streaming.spark.errors import translate_exception
from streaming.spark.jars import FENCED_LOG_STORE
from streaming.storage.interface import StoredFile
from streaming.storage.open import open_storage
from support.faults.blocking_proxy import BlockingProxy, blocking_proxy
from support.lakes.table_rows import add_quarantine

pytestmark = pytest.mark.s3

JAVA = Path(__file__).parents[3] / "java"


@pytest.fixture
def lake(spark: SparkSession, bucket: str, proxy: BlockingProxy) -> Lake:
    """A lake on S3 with one table, which Java accesses through the proxy."""
    lake = Lake.at(f"s3://{bucket}/Mon lac 50%")
    create_table(spark, lake.quarantine, QUARANTINE)
    return lake


@pytest.fixture
def proxy(spark: SparkSession, aws: dict[str, str], bucket: str) -> Iterator[BlockingProxy]:
    """A proxy between Java and one bucket; Python does not use it."""
    with blocking_proxy(aws["AWS_ENDPOINT_URL"]) as proxy:
        hadoop: Any = spark.sparkContext._jsc.hadoopConfiguration()  # type: ignore[attr-defined]
        hadoop.set(f"fs.s3a.bucket.{bucket}.endpoint", proxy.endpoint)
        yield proxy


def add_row(spark: SparkSession, lake: Lake, name: str) -> None:
    add_quarantine(spark, lake, [StoredFile(f"s3a://x/Fig/{name}.jpg", 5, 0)], datetime.now(UTC))


def row_names(lake: Lake, aws: dict[str, str]) -> list[str]:
    location, options = lake.quarantine.replace("s3a:", "s3:"), {**aws, "AWS_ALLOW_HTTP": "true"}
    table = deltalake.DeltaTable(location, storage_options=options).to_pyarrow_table()
    return sorted(Path(row["path"]).stem for row in table.to_pylist())


def count_commits(lake: Lake) -> int:
    return sum(
        file.path.endswith(".json") for file in open_storage(lake.root).list(lake.quarantine)
    )


def test_jar_was_built_from_current_sources() -> None:
    sources = sorted(JAVA.rglob("*.java"))
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in sources)).hexdigest()
    with zipfile.ZipFile(FENCED_LOG_STORE) as jar:
        manifest = jar.read("META-INF/MANIFEST.MF").decode().replace("\n ", "")
        assert f"Sources-SHA-256: {digest}" in manifest, "run make jar"
        classes = {str(file.relative_to(JAVA).with_suffix(".class")) for file in sources}
        assert classes <= set(jar.namelist())
    spec = importlib.util.spec_from_file_location("build", JAVA / "build.py")
    assert spec
    assert spec.loader
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    assert digest in build.manifest().replace("\n ", "")


def test_write_creates_file_once_and_accepts_its_own_repetition(
    spark: SparkSession, bucket: str
) -> None:
    jvm: Any = spark._jvm
    conf = spark.sparkContext._jsc.hadoopConfiguration()  # type: ignore[attr-defined]
    store = jvm.pomona.delta.FencedLogStore(conf)
    path = jvm.org.apache.hadoop.fs.Path(f"s3a://{bucket}/a b/_delta_log/{0:020}.json")

    def write(*lines: str) -> None:
        store.write(path, jvm.java.util.ArrayList(list(lines)).iterator(), False, conf)

    write("1", "2")
    write("1", "2")  # as the SDK repeats a request without a response
    with pytest.raises(Py4JJavaError, match="FileAlreadyExistsException"):
        write("3")
    content = boto3.client("s3").get_object(Bucket=bucket, Key=f"a b/_delta_log/{0:020}.json")
    assert content["Body"].read() == b"1\n2\n"


def test_commit_fails_after_lease_was_taken_over(
    spark: SparkSession, lake: Lake, aws: dict[str, str]
) -> None:
    add_row(spark, lake, "before")
    with acquire_lease(lake) as lease:
        lease.guard(spark)
        add_row(spark, lake, "leased")
        before = count_commits(lake)
        content = Holder(pid=0).as_json(term=30, released=False, checkpoint="ingest")
        open_storage(lake.root).write(f"{lake.root}/lease.json", content)
        with pytest.raises((PySparkException, Py4JJavaError)) as raised:
            add_row(spark, lake, "lost")
        error = translate_exception(raised.value)
        assert isinstance(error, LeaseError)
        assert "another process has taken over the lake, see" in str(error)
        assert "\n" not in str(error)
        assert count_commits(lake) == before
    add_row(spark, lake, "after")  # without a lease, as a refit commits
    assert row_names(lake, aws) == ["after", "before", "leased"]


def test_writer_paused_between_lease_check_and_put_commits_nothing(
    spark: SparkSession,
    lake: Lake,
    proxy: BlockingProxy,
    aws: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(TERM_VARIABLE, "1")
    with acquire_lease(lake) as paused, ThreadPoolExecutor(1) as thread:
        paused.guard(spark)
        add_row(spark, lake, "first")
        assert isinstance(paused, S3Lease)
        paused._stopped.set()  # stop the renewals, as if the process were paused
        proxy.blocked_suffix = f"{count_commits(lake):020}.json"
        writing = thread.submit(add_row, spark, lake, "late")
        assert proxy.is_blocking.wait(60)
        until = time.monotonic() + 60
        while True:
            try:
                second = S3Lease(lake)
                break
            except LeaseError:
                assert time.monotonic() < until
                threading.Event().wait(0.2)
        second.begin()
        before = count_commits(lake)
        proxy.release.set()
        error = writing.exception(timeout=60)
        assert isinstance(error, (PySparkException, Py4JJavaError))
        assert isinstance(translate_exception(error), LeaseError)
        assert count_commits(lake) == before
        second.release()
        last = json.loads(open_storage(lake.root).read(f"{lake.root}/lease.json", None))
        assert last["id"] == second.holder.id
    assert row_names(lake, aws) == ["first"]


def test_concurrent_commits_without_lease_are_both_kept(
    spark: SparkSession, lake: Lake, proxy: BlockingProxy, aws: dict[str, str]
) -> None:
    proxy.blocked_suffix = f"{count_commits(lake):020}.json"
    with ThreadPoolExecutor(1) as thread:
        writing = thread.submit(add_row, spark, lake, "second")
        assert proxy.is_blocking.wait(60)
        first = f"{lake.quarantine}/_delta_log/{proxy.blocked_suffix}"
        fence(lake, Holder())  # stands for a commit of another writer
        content = open_storage(first).read(first, None)
        proxy.release.set()
        writing.result(timeout=60)
    assert open_storage(first).read(first, None) == content
    assert row_names(lake, aws) == ["second"]
