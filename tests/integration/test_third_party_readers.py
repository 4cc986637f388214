"""Tests for readers other than Spark: delta-rs, DuckDB, Polars and pandas read the tables and refits."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import deltalake
import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pytest
from pyspark.sql import SparkSession

from support.lakes.feature_lakes import WIDTH, Images
from support.lakes.query_lakes import QueryLake

pytestmark = pytest.mark.spark


@pytest.fixture
def offline() -> duckdb.DuckDBPyConnection:
    """DuckDB with extension downloads disabled."""
    settings = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
    return duckdb.connect(config=settings)


def expected(*deliveries: Images) -> dict[str, tuple[str, tuple[float, ...]]]:
    return {
        path: (label, tuple(vector.tolist()))
        for rows in deliveries
        for path, label, vector in zip(rows.paths, rows.labels, rows.vectors, strict=True)
    }


def scores(query_lake: QueryLake, spark: SparkSession) -> dict[str, list[float]]:
    """Return the reduced rows of the latest refit, read with Spark."""
    rows = spark.read.parquet(query_lake.refits[1].folder.parquet).collect()
    return {row.path: list(row.reduced) for row in rows}


def test_delta_rs_reads_every_version(query_lake: QueryLake) -> None:
    for version, deliveries in (
        (2, (query_lake.first,)),
        (3, (query_lake.first, query_lake.second)),
    ):
        table = deltalake.DeltaTable(query_lake.folder / "features", version=version)
        rows = table.to_pyarrow_table().to_pylist()
        found = {row["path"]: (row["label"], tuple(row["features"])) for row in rows}
        assert found == expected(*deliveries)
    refits = deltalake.DeltaTable(query_lake.folder / "refits").to_pyarrow_table()
    assert set(refits["refit_id"].to_pylist()) == {refit.refit_id for refit in query_lake.refits}
    assert deltalake.DeltaTable(query_lake.folder / "quarantine").to_pyarrow_table().num_rows == 0


def test_duckdb_reads_tables_through_arrow_and_outputs_directly(
    query_lake: QueryLake, spark: SparkSession, offline: duckdb.DuckDBPyConnection
) -> None:
    for name in ("features", "refits"):
        offline.register(name, deltalake.DeltaTable(query_lake.folder / name).to_pyarrow_dataset())

    def execute(sql: str, *values: object) -> list[tuple[object, ...]]:
        return offline.execute(sql, values).fetchall()

    counted = execute("SELECT label, count(*) FROM features GROUP BY label")
    assert dict(counted) == Counter(query_lake.first.labels + query_lake.second.labels)
    found = execute("SELECT path, label, features FROM features")
    features = {path: (label, tuple(vector)) for path, label, vector in found}
    assert features == expected(query_lake.first, query_lake.second)
    assert execute("SELECT count(refit_id) FROM refits") == [(2,)]
    folder = query_lake.refits[1].folder
    parquet = f"{folder.parquet.removeprefix('file:')}/*.parquet"
    oracle = scores(query_lake, spark)
    assert dict(execute("SELECT path, reduced FROM read_parquet(?)", parquet)) == oracle
    lines = execute("SELECT path, pc1, pc2, pc3 FROM read_csv(?)", folder.csv.removeprefix("file:"))
    assert {line[0] for line in lines} == set(oracle)
    for path, *values in lines:
        np.testing.assert_allclose(np.array(values, float), oracle[str(path)])


def test_polars_reads_tables_and_outputs(
    query_lake: QueryLake, spark: SparkSession, tmp_path: Path
) -> None:
    # The reader of Polars does not find folders whose names are percent-encoded in URIs; through Arrow it does.
    renamed = shutil.copytree(query_lake.folder, tmp_path / "lake")
    everything = expected(query_lake.first, query_lake.second)
    for features in (
        pl.read_delta(str(renamed / "features")),
        pl.read_delta(str(query_lake.folder / "features"), use_pyarrow=True),
    ):
        rows = features.iter_rows(named=True)
        assert {row["path"]: (row["label"], tuple(row["features"])) for row in rows} == everything
    earlier = pl.scan_delta(str(renamed / "features"), version=2).select("path").collect()
    assert set(earlier["path"]) == set(query_lake.first.paths)
    assert pl.read_delta(str(renamed / "refits")).height == 2
    folder = query_lake.refits[1].folder
    parquet = pl.read_parquet(f"{folder.parquet.removeprefix('file:')}/*.parquet")
    assert dict(zip(parquet["path"], parquet["reduced"].to_list(), strict=True)) == scores(
        query_lake, spark
    )
    lines = pl.read_csv(folder.csv.removeprefix("file:"))
    assert lines.columns == ["path", "label", "pc1", "pc2", "pc3"]
    assert lines["path"].to_list() == sorted(query_lake.first.paths + query_lake.second.paths)


def test_pandas_reads_tables_and_outputs(query_lake: QueryLake, spark: SparkSession) -> None:
    features = deltalake.DeltaTable(query_lake.folder / "features").to_pandas()
    assert features["label"].value_counts().to_dict() == Counter(
        query_lake.first.labels + query_lake.second.labels
    )
    assert np.stack(list(features["features"])).shape == (len(features), WIDTH)
    folder = query_lake.refits[1].folder
    parquet = pd.read_parquet(folder.parquet.removeprefix("file:"))
    oracle = scores(query_lake, spark)
    assert {row.path: list(row.reduced) for row in parquet.itertuples()} == oracle
    lines = pd.read_csv(Path(folder.csv.removeprefix("file:")), index_col="path")
    for path, values in oracle.items():
        np.testing.assert_allclose(lines.loc[path, ["pc1", "pc2", "pc3"]].astype(float), values)
