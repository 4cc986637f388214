"""Tests for secrets on S3: credentials are written nowhere, and no key escapes the source and the lake."""

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
from support.cli import environment
from support.lakes import GARBAGE, jpeg

pytestmark = pytest.mark.s3

SECRETS = ("wJalrPlanted/K7MDENG+bPxRfiCYEXAMPLEKEY0", "FwoGPlantedToken/abc+def==XYZ0123456789")
GOOD = ("Fig/0.jpg", "Fig/1.jpg", "=cmd()/<b>.jpg", 'a"b;c/%2e%2e.jpg', "Fig//double.jpg")
BAD = ("Fig/bad.jpg",)
# Hidden, as all that has a part that begins with a dot; to Hadoop, the way to the keys behind them.
UPWARD = ("../outside/up.jpg", "Fig/../../lake/features/Fig/up.jpg", "./Fig/dot.jpg")
if pyspark.__version__ < "4":  # it lists a folder without a name, or of dots, forever
    GOOD, UPWARD = GOOD[:-1], ()
OUTSIDE = ("outside/up.jpg", "outside/Fig/lone.jpg", "photos2/Fig/near.jpg")
#: Both commands in one process: Spark starts once.
PROGRAM = """
import sys
from pomona.cli import main
for words in {commands!r}:
    sys.argv = ["pomona", *words]
    try:
        main()
    except SystemExit as left:
        print("exit status", left.code)
from pyspark.sql import SparkSession
spark = SparkSession.getActiveSession()
rows = spark.read.format("delta").load({features!r})
rows.join(rows, "path").explain(True)
print(spark.sparkContext.getConf().toDebugString())
"""


def forms(secret: str) -> Iterator[bytes]:
    """How a secret may be written."""
    yield secret.encode()
    yield urllib.parse.quote(secret, safe="").encode()
    yield secret.replace("/", "\\/").encode()
    yield base64.b64encode(secret.encode())


def holds_a_secret(content: bytes) -> bool:
    """Whether a file's bytes, or the rows in it, hold one."""
    if content.startswith(b"PAR1"):
        content += repr(pq.read_table(io.BytesIO(content)).to_pylist()).encode()
    return any(form in content for secret in SECRETS for form in forms(secret))


@dataclass
class Written:
    """All that a run has left: by name, the bytes of each file and object; what was there before; what it said."""

    bucket: str
    files: dict[str, bytes]
    before: dict[str, bytes]
    said: str

    def paths(self, table: str) -> list[str]:
        """The paths of a table's rows, below the source."""
        from streaming.delta.reader import open_table, query

        found = query(open_table(f"s3a://{self.bucket}/lake/{table}"), "path")
        paths = [row["path"] for batch in found for row in batch.to_pylist()]
        return sorted(path.removeprefix(f"s3a://{self.bucket}/photos/") for path in paths)


def objects(bucket: str) -> dict[str, bytes]:
    """The bytes of all objects of a bucket."""
    from streaming.storage.s3_client import s3_client

    client, found = s3_client(), {}
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for entry in page["Contents"]:
            got = client.get_object(Bucket=bucket, Key=entry["Key"])
            found[f"s3:{entry['Key']}"] = got["Body"].read()
    return found


@pytest.fixture(scope="module")
def written(
    aws: dict[str, str], random_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Written:
    from streaming.storage.s3_client import s3_client

    place, name = tmp_path_factory.mktemp("place"), f"fruits-{uuid.uuid4().hex[:12]}"
    folders = {folder: place / folder for folder in ("home", "tmp", "conf", "events")}
    for folder in folders.values():
        folder.mkdir()
    (folders["conf"] / "spark-defaults.conf").write_text(
        f"spark.eventLog.enabled true\nspark.eventLog.dir {folders['events'].as_uri()}\n"
        "spark.eventLog.compress false\n"
    )
    client, region = s3_client(), aws["AWS_REGION"]
    client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": region})
    for number, key in enumerate((*GOOD, *UPWARD)):
        client.put_object(Bucket=name, Key=f"photos/{key}", Body=jpeg(number))
    for number, key in enumerate(OUTSIDE):
        client.put_object(Bucket=name, Key=key, Body=jpeg(100 + number))
    client.put_object(Bucket=name, Key=f"photos/{BAD[0]}", Body=GARBAGE)
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
            PROGRAM.format(commands=commands, features=f"s3a://{name}/lake/features"),
        ],
        cwd=place,
        env=environment(
            AWS_SECRET_ACCESS_KEY=SECRETS[0],
            AWS_SESSION_TOKEN=SECRETS[1],
            HOME=str(folders["home"]),
            TMPDIR=str(folders["tmp"]),
            SPARK_CONF_DIR=str(folders["conf"]),
            XDG_CACHE_HOME=str(cache_folder().parent),
            PYTHONPATH=os.pathsep.join(sys.path),
        ),
        capture_output=True,
        text=True,
        timeout=400,
        check=True,
    )
    files = {str(f.relative_to(place)): f.read_bytes() for f in place.rglob("*") if f.is_file()}
    return Written(name, files | objects(name), before, done.stdout + done.stderr)


def test_secret_search_finds_known_text() -> None:
    rows = io.BytesIO()
    pq.write_table(pa.table({"detail": [f"key {SECRETS[0]}"]}), rows, compression="zstd")
    assert holds_a_secret(rows.getvalue())
    assert holds_a_secret(f"https://{urllib.parse.quote(SECRETS[1], safe='')}@x".encode())
    assert not holds_a_secret(b"wJalr")


def test_searched_outputs_are_not_empty(written: Written) -> None:
    names = list(written.files)
    for part in (
        "s3:lake/features/_delta_log/",
        "s3:lake/quarantine/",
        "s3:lake/checkpoints/",
        "report.html",
    ):
        assert any(part in name for name in names), part
    events = b"".join(text for name, text in written.files.items() if name.startswith("events/"))
    assert b"physicalPlanDescription" in events
    assert b"fs.s3a.endpoint" in events
    assert "== Physical Plan ==" in written.said
    assert f"{len(GOOD)} images featurized, 1 quarantined" in written.said
    assert "is not a lake" in written.said


def test_each_image_is_in_one_table_and_no_other_file(written: Written) -> None:
    assert written.paths("features") == sorted(GOOD)
    assert written.paths("quarantine") == sorted(BAD)


def test_no_object_is_written_outside_the_lake(written: Written) -> None:
    lake = {name for name in written.files if name.startswith("s3:lake/")}
    after = {name for name in written.files if name.startswith("s3:")} - lake
    assert after == {name for name in written.before if not name.startswith("s3:lake/")}
    assert all(written.files[name] == content for name, content in written.before.items())


def test_no_file_object_table_log_or_plan_contains_a_secret(written: Written) -> None:
    assert [name for name, content in written.files.items() if holds_a_secret(content)] == []


def test_no_output_contains_a_secret(written: Written) -> None:
    assert not holds_a_secret(written.said.encode())
