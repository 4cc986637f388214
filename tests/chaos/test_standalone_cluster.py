"""Tests on a standalone cluster: a master, two workers, `spark-submit`, the environment archive, S3A on moto.

`POMONA_CHAOS_ARCHIVE` names an existing archive; otherwise one is built.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from bootstrap.environment.archive import build_environment
from streaming.lake.layout import Lake
from streaming.storage.s3 import S3Storage
from support.aws.moto_server import MotoServer
from support.lakes.lake_invariants import LakeChecker
from support.lakes.small_lakes import GARBAGE, photos
from support.processes.spark_standalone import Cluster

pytestmark = [pytest.mark.s3, pytest.mark.timeout(3000)]

IMAGES = 200
REGION = {"LocationConstraint": "eu-west-1"}


@pytest.fixture(scope="module")
def moto() -> Iterator[MotoServer]:
    service = MotoServer()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in service.variables.items():
            patch.setenv(name, value)
        yield service
    service.stop()


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    existing = os.environ.get("POMONA_CHAOS_ARCHIVE")
    if existing:
        return Path(existing)
    return build_environment(tmp_path_factory.mktemp("build") / "environment.tar.gz")


@pytest.fixture
def cluster(
    moto: MotoServer, archive: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("cluster"), archive, moto.variables)
    try:
        for _ in range(2):
            cluster.add_worker()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def bucket_with_images(moto: MotoServer, random_model: Path, request: pytest.FixtureRequest) -> str:
    """Return a new bucket with images, some of them broken, and a lake that contains only a model."""
    bucket = f"cluster-{hashlib.sha256(request.node.name.encode()).hexdigest()[:12]}"
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration=REGION)
    for name, content in images().items():
        s3.put_object(Bucket=bucket, Key=f"images/{name}", Body=content)
    for file in random_model.rglob("*"):
        if file.is_file():
            s3.upload_file(str(file), bucket, f"lake/models/{file.relative_to(random_model)}")
    return bucket


def images() -> dict[str, bytes]:
    bad = {f"Fig/broken {number}.jpg": GARBAGE for number in range(3)}
    return photos("Apple Red 1", range(IMAGES)) | bad


def checker(bucket: str, moto: MotoServer) -> LakeChecker:
    options = {
        "AWS_ENDPOINT_URL": moto.endpoint,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": "eu-west-1",
    }
    return LakeChecker(
        Lake.at(f"s3://{bucket}/lake"), f"s3a://{bucket}/images", options, S3Storage()
    )


def hashes(good: bool) -> dict[str, str]:
    return {
        name: hashlib.sha256(content).hexdigest()
        for name, content in images().items()
        if (content != GARBAGE) == good
    }


def test_ingest_and_refit_run_on_standalone_cluster(
    cluster: Cluster, bucket_with_images: str, moto: MotoServer
) -> None:
    done = cluster.run(
        "ingest",
        f"s3://{bucket_with_images}/images",
        f"s3://{bucket_with_images}/lake",
        "--once",
        "--json",
    )
    assert done.status == 0, done.err
    assert "not fenced" not in done.err
    lake_checker = checker(bucket_with_images, moto)
    lake_checker.assert_rows(hashes(True), hashes(False))
    refitted = cluster.run("refit", f"s3://{bucket_with_images}/lake", "--components", "5")
    assert refitted.status == 0, refitted.err
    assert lake_checker.assert_refits_complete() == 1
    again = cluster.run(
        "ingest", f"s3://{bucket_with_images}/images", f"s3://{bucket_with_images}/lake", "--once"
    )
    assert again.status == 0, again.err
    lake_checker.assert_rows(hashes(True), hashes(False))


def test_killed_worker_loses_no_row(
    cluster: Cluster, bucket_with_images: str, moto: MotoServer
) -> None:
    small = ("--max-files-per-trigger", "40")
    submitted = cluster.submit(
        "ingest",
        f"s3://{bucket_with_images}/images",
        f"s3://{bucket_with_images}/lake",
        "--once",
        *small,
    )
    read, killed = 0, False
    for event in moto.events(400):
        if submitted.process.poll() is not None:
            break
        read += event.what == "GET" and event.name.startswith("images/")
        if read >= 60 and not killed:  # in the middle of the second micro-batch
            cluster.kill_worker(0)
            killed = True
            at = time.time()
            break
    assert killed, submitted.err.read_text()
    done = submitted.wait()
    assert done.status == 0, done.err
    assert time.time() - at > 1  # there were images left
    checker(bucket_with_images, moto).assert_rows(hashes(True), hashes(False))
