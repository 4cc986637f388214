"""Tests for commands on an S3 lake behind a proxy that injects errors: each succeeds and prints no error."""

from __future__ import annotations

from pathlib import Path

import boto3
import pytest

from support.faults.faulty_proxy import FaultyProxy
from support.lakes.small_lakes import GARBAGE, jpeg, upload_tree
from support.processes.cli import environment, needs_program, program

pytestmark = [pytest.mark.s3, pytest.mark.end_to_end, pytest.mark.timeout(3600), needs_program]


@pytest.mark.parametrize("seed", [1, 2])
def test_each_command_succeeds_despite_transient_errors(
    aws: dict[str, str], bucket: str, random_model: Path, seed: int
) -> None:
    s3 = boto3.client("s3")
    upload_tree(random_model, bucket, "lake/models")
    for number in range(60):
        s3.put_object(Bucket=bucket, Key=f"fruit/Fig {number % 3}/{number}.jpg", Body=jpeg(number))
    s3.put_object(Bucket=bucket, Key="fruit/Fig/bad.jpg", Body=GARBAGE)
    source, lake = f"s3://{bucket}/fruit", f"s3://{bucket}/lake"
    assert program("ingest", source, lake, "--once").status == 0
    commands: list[tuple[object, ...]] = [
        ("status", lake),
        ("tag", lake, "first"),
        ("refit", lake, "--components", 2),
        ("refit", lake, "--components", 3),  # reuses the statistics of the previous refit
        ("status", lake, "--max-age", "10d"),
        ("history", lake),
        ("show", lake),
        ("show", lake, f"{source}/Fig 0/0.jpg"),
        ("quarantine", lake),
        ("quarantine", lake, "--retry"),
        ("similar", lake, f"{source}/Fig 0/0.jpg"),
        ("duplicates", lake),
        ("query", lake, "SELECT count(*) FROM features"),
        ("reconcile", source, lake),
        ("forget", lake, f"{source}/Fig 1/1.jpg"),
        ("reconcile", source, lake, "--fix"),  # ingests the forgotten image again
        ("diff", lake, "first", "0 seconds ago"),
        ("refit", lake, "--as-of", "first"),
        ("stop", lake),
        ("tag", lake, "first", "--delete"),
    ]
    with FaultyProxy(aws["AWS_ENDPOINT_URL"], 0.3, seed=seed) as proxy:
        env = environment(AWS_ENDPOINT_URL=proxy.url)
        results = {command: program(*command, env=env) for command in commands}
    print(f"{proxy.faults.total()} faults in {proxy.requests:,} requests")
    assert proxy.faults.total() > proxy.requests / 5
    assert {command: (done.status, done.err) for command, done in results.items()} == dict.fromkeys(
        commands, (0, "")
    )
    assert "60 images" in results[commands[0]].out, results[commands[0]].out
