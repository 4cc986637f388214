"""Tests for secrets on S3: credentials are not written anywhere, and no key leads outside the source and the lake.

The commands run with a KMS key: each object that they write must be encrypted with it, whichever client writes it.
"""

from __future__ import annotations

import base64
import io
import os
import subprocess
import sys
import urllib.parse
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pyspark
import pytest

from streaming.cache_dir import cache_folder
from support.lakes.small_lakes import GARBAGE, jpeg
from support.processes.cli import environment

pytestmark = [pytest.mark.s3, pytest.mark.long]

SECRETS = ("wJalrPlanted/K7MDENG+bPxRfiCYEXAMPLEKEY0", "FwoGPlantedToken/abc+def==XYZ0123456789")
KMS_KEY = "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
VALID = ("Fig/0.jpg", "Fig/1.jpg", "=cmd()/<b>.jpg", 'a"b;c/%2e%2e.jpg', "Fig//double.jpg")
BROKEN = ("Fig/bad.jpg",)
# Ignored, as all keys with a part that begins with a dot; Hadoop would resolve them to other keys.
UPWARD = ("../outside/up.jpg", "Fig/../../lake/features/Fig/up.jpg", "./Fig/dot.jpg")
if pyspark.__version__ < "4":  # lists folders without a name, or of dots, endlessly
    VALID, UPWARD = VALID[:-1], ()
OUTSIDE = ("outside/up.jpg", "outside/Fig/lone.jpg", "photos2/Fig/near.jpg")
#: Runs all commands in one process, so that Spark starts once.
PROGRAM = """
import sys
from pomona.cli import main
from streaming.spark import session
session._LOCAL |= {settings!r}
for arguments in {commands!r}:
    sys.argv = ["pomona", *arguments]
    try:
        main()
    except SystemExit as error:
        print("exit status", error.code)
from pyspark.sql import SparkSession
spark = SparkSession.getActiveSession()
rows = spark.read.format("delta").load({features!r})
rows.join(rows, "path").explain(True)
print(spark.sparkContext.getConf().toDebugString())
"""


def forms(secret: str) -> Iterator[bytes]:
    """Yield the encodings in which a secret could be run."""
    yield secret.encode()
    yield urllib.parse.quote(secret, safe="").encode()
    yield secret.replace("/", "\\/").encode()
    yield base64.b64encode(secret.encode())


def contains_secret(content: bytes) -> bool:
    """Return whether the bytes of a file, or the rows of a Parquet file, contain a secret."""
    if content.startswith(b"PAR1"):
        content += repr(pq.read_table(io.BytesIO(content)).to_pylist()).encode()
    return any(form in content for secret in SECRETS for form in forms(secret))


@dataclass
class RunOutput:
    """The files and objects that exist after a run and before it, by name, and the output of the run."""

    bucket: str
    files: dict[str, bytes]
    before: dict[str, bytes]
    output: str

    def paths(self, table: str) -> list[str]:
        """Return the paths of the rows of a table, relative to the source."""
        from streaming.delta.reader import open_table, query

        found = query(open_table(f"s3a://{self.bucket}/lake/{table}"), "path")
        paths = [row["path"] for batch in found for row in batch.to_pylist()]
        return sorted(path.removeprefix(f"s3a://{self.bucket}/photos/") for path in paths)


def objects(bucket: str) -> dict[str, bytes]:
    """Return the content of all objects in a bucket."""
    from streaming.storage.s3_client import s3_client

    client, found = s3_client(), {}
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for entry in page["Contents"]:
            response = client.get_object(Bucket=bucket, Key=entry["Key"])
            found[f"s3:{entry['Key']}"] = response["Body"].read()
    return found


@pytest.fixture(scope="module")
def run(
    aws: dict[str, str], random_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> RunOutput:
    from streaming.storage.s3_client import s3_client

    root, name = tmp_path_factory.mktemp("run"), f"fruits-{uuid.uuid4().hex[:12]}"
    folders = {folder: root / folder for folder in ("home", "tmp", "events")}
    for folder in folders.values():
        folder.mkdir()
    settings = {
        "spark.eventLog.enabled": "true",
        "spark.eventLog.dir": folders["events"].as_uri(),
        "spark.eventLog.compress": "false",
    }
    client, region = s3_client(), aws["AWS_REGION"]
    client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": region})
    for number, key in enumerate((*VALID, *UPWARD)):
        client.put_object(Bucket=name, Key=f"photos/{key}", Body=jpeg(number))
    for number, key in enumerate(OUTSIDE):
        client.put_object(Bucket=name, Key=key, Body=jpeg(100 + number))
    client.put_object(Bucket=name, Key=f"photos/{BROKEN[0]}", Body=GARBAGE)
    for file in random_model.glob("*/*"):
        client.upload_file(str(file), name, f"lake/models/{file.relative_to(random_model)}")
    lake = f"s3://{name}/lake"
    commands = [
        ["ingest", f"s3://{name}/photos", lake, "--once", "--settle", "0"],
        ["refit", lake, "--components", "2"],
        ["status", lake],
        ["refit", f"{lake}/nowhere"],
    ]
    before = objects(name)
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            PROGRAM.format(
                commands=commands, settings=settings, features=f"s3a://{name}/lake/features"
            ),
        ],
        cwd=root,
        env=environment(
            AWS_SECRET_ACCESS_KEY=SECRETS[0],
            AWS_SESSION_TOKEN=SECRETS[1],
            AWS_SSE_KMS_KEY_ID=KMS_KEY,
            HOME=str(folders["home"]),
            TMPDIR=str(folders["tmp"]),
            XDG_CACHE_HOME=str(cache_folder().parent),
            PYTHONPATH=os.pathsep.join(sys.path),
        ),
        capture_output=True,
        text=True,
        timeout=400,
        check=True,
    )
    files = {str(f.relative_to(root)): f.read_bytes() for f in root.rglob("*") if f.is_file()}
    return RunOutput(name, files | objects(name), before, done.stdout + done.stderr)


def test_secret_search_finds_known_text() -> None:
    rows = io.BytesIO()
    pq.write_table(pa.table({"detail": [f"key {SECRETS[0]}"]}), rows, compression="zstd")
    assert contains_secret(rows.getvalue())
    assert contains_secret(f"https://{urllib.parse.quote(SECRETS[1], safe='')}@x".encode())
    assert not contains_secret(b"wJalr")


def test_searched_outputs_are_not_empty(run: RunOutput) -> None:
    names = list(run.files)
    for part in (
        "s3:lake/features/_delta_log/",
        "s3:lake/quarantine/",
        "s3:lake/checkpoints/",
        "report.html",
    ):
        assert any(part in name for name in names), part
    events = b"".join(text for name, text in run.files.items() if name.startswith("events/"))
    assert b"physicalPlanDescription" in events
    assert b"fs.s3a.endpoint" in events
    assert "== Physical Plan ==" in run.output
    assert f"{len(VALID)} images featurized, 1 quarantined" in run.output
    assert "is not a lake" in run.output


def test_tables_contain_images_of_source_only(run: RunOutput) -> None:
    assert run.paths("features") == sorted(VALID)
    assert run.paths("quarantine") == sorted(BROKEN)


def test_no_object_is_written_outside_lake(run: RunOutput) -> None:
    lake = {name for name in run.files if name.startswith("s3:lake/")}
    after = {name for name in run.files if name.startswith("s3:")} - lake
    assert after == {name for name in run.before if not name.startswith("s3:lake/")}
    assert all(run.files[name] == content for name, content in run.before.items())


def test_each_object_is_encrypted_with_the_kms_key(run: RunOutput) -> None:
    """Boto3, S3A, delta-rs and the log store of `java/` write objects; a bucket may reject objects without the key."""
    from streaming.storage.s3_client import s3_client

    client, encryption = s3_client(), {}
    for name in run.files.keys() - run.before.keys():
        if name.startswith("s3:"):
            head = client.head_object(Bucket=run.bucket, Key=name.removeprefix("s3:"))
            encryption[name] = (head.get("ServerSideEncryption"), head.get("SSEKMSKeyId"))
    assert {name: key for name, key in encryption.items() if key != ("aws:kms", KMS_KEY)} == {}
    assert any("/_delta_log/" in name for name in encryption)


def test_no_file_object_table_or_plan_contains_secret(run: RunOutput) -> None:
    assert [name for name, content in run.files.items() if contains_secret(content)] == []


def test_output_contains_no_secret(run: RunOutput) -> None:
    assert not contains_secret(run.output.encode())
