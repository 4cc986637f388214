"""Tests for transient errors, extended: source and lake on S3 behind a proxy that injects errors."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import boto3
import deltalake
import pytest

from support.faults.faulty_proxy import FaultyProxy
from support.lakes.small_lakes import GARBAGE, jpeg, upload_tree
from support.processes.cli import environment, needs_program, program

pytestmark = [pytest.mark.s3, pytest.mark.end_to_end, pytest.mark.timeout(3600), needs_program]

IMAGES = int(os.environ.get("POMONA_CHAOS_IMAGES", "400"))


def put(bucket: str, name: str, content: bytes) -> None:
    boto3.client("s3").put_object(Bucket=bucket, Key=f"My fruit/{name}", Body=content)


def rows(uri: str, aws: dict[str, str]) -> list[dict[str, Any]]:
    options = {**aws, "AWS_ALLOW_HTTP": "true"}
    table = deltalake.DeltaTable(uri, storage_options=options).to_pyarrow_table()
    found: list[dict[str, Any]] = table.select(["path", "length"]).to_pylist()
    return found


@pytest.mark.parametrize(("rate", "seed"), [(0.05, 1), (0.3, 2), (0.3, 3)])
def test_transient_errors_neither_lose_nor_quarantine_images(
    aws: dict[str, str], bucket: str, random_model: Path, rate: float, seed: int
) -> None:
    upload_tree(random_model, bucket, "lake/models")
    for number in range(IMAGES):
        put(bucket, f"Fig {number % 7}/{number}.jpg", jpeg(number))
    for name, content in (("bad", GARBAGE), ("cut", jpeg(1)[:300]), ("empty", b"")):
        put(bucket, f"Fig/{name}.jpg", content)
    source, lake = f"s3://{bucket}/My fruit", f"s3://{bucket}/lake"
    retries: list[dict[str, int]] = []
    started = time.monotonic()
    with FaultyProxy(aws["AWS_ENDPOINT_URL"], rate, seed=seed) as proxy:
        env = environment(AWS_ENDPOINT_URL=proxy.url)
        for run in range(2):
            if run:  # add and replace images
                for number in range(IMAGES, IMAGES + 50):
                    put(bucket, f"Fig {number % 7}/{number}.jpg", jpeg(number))
                for number in range(20):
                    put(bucket, f"Fig {number % 7}/{number}.jpg", jpeg(number + 5000) + b"\0")
            done = program(
                "ingest", source, lake, "--once", "--json", "--max-files-per-trigger", 100, env=env
            )
            assert done.status == 0, done.err
            retries.append(done.json["retries"])
    features = rows(f"{lake}/features", aws)
    assert len(features) == len({row["path"] for row in features}) == IMAGES + 50
    replaced = {row["path"].rsplit("/", 1)[1]: row["length"] for row in features}
    assert all(replaced[f"{n}.jpg"] == len(jpeg(n + 5000)) + 1 for n in range(20))
    quarantined = {row["path"].rsplit("/", 1)[1] for row in rows(f"{lake}/quarantine", aws)}
    assert quarantined == {"bad.jpg", "cut.jpg", "empty.jpg"}
    figures = {
        "rate": rate,
        "requests": proxy.requests,
        "faults": dict(proxy.faults),
        "retries": retries,
        "seconds": round(time.monotonic() - started),
    }
    print(json.dumps(figures))
