"""Tests for `streaming.spark.session` in a process whose user has started Spark, such as a notebook."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = """
import json, os, sys
from pyspark.sql import SparkSession
import pomona
from streaming.spark.jars import jar_files
from streaming.spark.java import java_home

lake, delta = sys.argv[1], sys.argv[2] == "delta"
os.environ["JAVA_HOME"] = str(java_home())
os.environ["SPARK_CONF_DIR"] = os.environ["HADOOP_USER_NAME"] = "mine"
builder = (
    SparkSession.builder.master("local[1]")
    .config("spark.ui.enabled", "false")
    .config("spark.sql.session.timeZone", "Europe/Berlin")
    .config("spark.sql.ansi.enabled", "false")
    .config("spark.sql.warehouse.dir", os.path.join(os.getcwd(), "warehouse"))
)
if delta:
    builder = (
        builder.config("spark.driver.extraClassPath", os.pathsep.join(map(str, jar_files())))
        .config("spark.sql.extensions", "io.delta.sql.DeltaSparkSessionExtension")
        .config("spark.sql.catalog.spark_catalog", "org.apache.spark.sql.delta.catalog.DeltaCatalog")
    )
spark = builder.getOrCreate()


def state():
    settings = spark.sql("SET").collect()
    return {row.key: row.value for row in settings}, dict(os.environ)


before = state()
found = {}
try:
    found["components"] = pomona.refit(
        lake, pomona.RefitOptions(pomona.FitOptions(components=2))
    ).row.components
    frame = pomona.open_lake(lake).features()
    found["own"] = frame.sparkSession is spark
    found["rows"] = frame.count()
    queried = pomona.open_lake(lake).query("SELECT count(*) AS n, current_timezone() AS zone FROM features")
    found["queried"] = [int(queried["n"][0]), queried["zone"][0]]
except pomona.PomonaError as error:
    found["error"] = f"{type(error).__name__}: {error}"
found["unchanged"] = state() == before
found["active"] = SparkSession.getActiveSession() is spark
found["cast"] = spark.sql("SELECT cast('x' AS int) AS n, current_timezone() AS zone").collect()[0].asDict()
found["workers"] = spark.range(3).rdd.map(lambda row: row.id).sum()
print(json.dumps(found))
"""


def run(lake: Path, sessions: str, folder: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(lake), sessions],
        cwd=folder,
        env=os.environ
        | {
            "PYTHONPATH": str(Path(__file__).parents[3]),
            "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])),
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.spark
@pytest.mark.long
def test_session_of_the_user_stays_as_it_is(query_lake: Any, tmp_path: Path) -> None:
    lake = shutil.copytree(query_lake.folder, tmp_path / "lake")
    shutil.rmtree(lake / "refits")
    found = run(lake, "delta", tmp_path)
    assert found == {
        "components": 2,
        "own": True,
        "rows": 60,
        "queried": [60, "UTC"],
        "unchanged": True,
        "active": True,
        "cast": {"n": None, "zone": "Europe/Berlin"},
        "workers": 3,
    }


@pytest.mark.spark
@pytest.mark.long
def test_session_without_delta_lake_is_rejected_before_any_work(
    query_lake: Any, tmp_path: Path
) -> None:
    lake = shutil.copytree(query_lake.folder, tmp_path / "lake")
    before = sorted(path.relative_to(lake) for path in lake.rglob("*"))
    found = run(lake, "plain", tmp_path)
    assert found.pop("error").startswith(
        "PlatformError: the active Spark session has no Delta Lake (spark.sql.extensions lacks "
    )
    assert found == {
        "unchanged": True,
        "active": True,
        "cast": {"n": None, "zone": "Europe/Berlin"},
        "workers": 3,
    }
    assert sorted(path.relative_to(lake) for path in lake.rglob("*")) == before
