"""Tests for refits of a lake in a bucket, examined with boto3."""

from __future__ import annotations

import csv
import io
from typing import Any

import boto3
import numpy as np
import pyarrow.parquet
import pytest

from batch_pca.pca.fit import FitOptions
from batch_pca.refit import RefitOptions, refit
from batch_pca.refits.catalog import read_refits
from batch_pca.refits.folder import create_folder
from batch_pca.refits.glue import register_tables
from streaming.delta.tables import create_table
from streaming.lake.schemas import QUARANTINE
from support.aws.glue_tables import assert_registered
from support.lakes.feature_lakes import Oracle, assert_equal_up_to_sign, commit, images, new_lake
from support.processes.cli import Command

pytestmark = [pytest.mark.spark, pytest.mark.s3]


@pytest.mark.long
def test_tables_are_registered_after_refit_and_upgrade(
    spark: Any,
    pomona: Command,
    aws: dict[str, str],
    bucket: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    root, database = f"s3a://{bucket}/My lake", bucket.replace("-", "_")
    lake = new_lake(spark, root, width=16)
    create_table(spark, lake.quarantine, QUARANTINE)
    commit(spark, lake, images(20, seed=1, below="s3a://photos", width=16))
    arguments = (
        "refit",
        f"s3://{bucket}/My lake",
        "--components",
        "2",
        "--glue-database",
        database,
    )
    failed = pomona(*arguments, "--json")
    assert failed.status == 0
    assert f"are not up to date in the Glue database {database}" in caplog.text
    caplog.clear()
    boto3.client("glue").create_database(DatabaseInput={"Name": database})
    again = pomona(*arguments, "--json")
    assert (again.status, caplog.messages) == (0, [])
    assert (again.json["refit_id"], again.json["is_new"]) == (failed.json["refit_id"], False)
    assert_registered(database, aws, root, again.json["refit_id"])
    assert register_tables(lake, database) == []

    commit(spark, lake, images(5, seed=2, below="s3a://more", width=16))
    second = pomona(*arguments, "--json").json
    assert second["is_new"]
    assert_registered(database, aws, root, second["refit_id"])

    # As an upgrade does.
    spark.sql(f"ALTER TABLE delta.`{lake.quarantine}` ADD COLUMN more DOUBLE COMMENT 'New'")
    upgraded = pomona("upgrade", f"s3://{bucket}/My lake", "--glue-database", database)
    assert (upgraded.status, caplog.messages) == (0, [])
    assert_registered(database, aws, root, second["refit_id"])


@pytest.mark.long
def test_lake_in_bucket_is_refitted_and_abandoned_folder_is_removed(
    spark: Any, bucket: str
) -> None:
    root = f"s3a://{bucket}/My lake"
    lake = new_lake(spark, root, width=16)
    rows = images(20, seed=1, below="s3a://photos", width=16)
    commit(spark, lake, rows)
    with create_folder(lake, "failed") as folder:
        folder.write("moments.npz", b"half of it")
    result = refit(f"s3://{bucket}/My lake/", RefitOptions(FitOptions(components=2)))

    client = boto3.client("s3")
    keys = [entry["Key"] for entry in client.list_objects_v2(Bucket=bucket)["Contents"]]
    prefix = f"My lake/reduced/{result.refit_id}/"
    names = {key.removeprefix(prefix) for key in keys if key.startswith("My lake/reduced/")}
    parts = {name for name in names if name.startswith("parquet/part-")}
    assert {name for name in names if "/" not in name} == {
        "reduced.csv",
        "moments.npz",
        "components.npz",
        "report.html",
        "scatter.png",
        "variance.png",
        "refit.json",
        "labels.npz",
        "label_order.json",
    }
    assert {"pipeline/metadata/_SUCCESS", "parquet/_SUCCESS"} <= names

    def content(name: str) -> bytes:
        return bytes(client.get_object(Bucket=bucket, Key=prefix + name)["Body"].read())

    lines = list(csv.reader(io.StringIO(content("reduced.csv").decode(), newline=""), strict=True))
    assert lines[0] == ["path", "label", "pc1", "pc2"]
    assert [line[0] for line in lines[1:]] == sorted(rows.paths, key=str.encode)
    order = np.argsort(rows.paths)
    exact = rows.vectors[order].astype(np.float64)
    scores = np.array([line[2:] for line in lines[1:]], float)
    assert_equal_up_to_sign(scores, Oracle.fit(exact).scores(exact, 2), axis=0, atol=1e-6)
    tables = [pyarrow.parquet.read_table(io.BytesIO(content(name))) for name in sorted(parts)]
    assert [row["path"] for table in tables for row in table.to_pylist()] == [
        line[0] for line in lines[1:]
    ]
    assert [row.refit_id for row in read_refits(lake)] == [result.refit_id]
    again = refit(root, RefitOptions(FitOptions(components=2)))
    assert (again.is_new, again.refit_id) == (False, result.refit_id)
