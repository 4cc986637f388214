"""Write rows to the tables of a lake without featurizing images."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import from_arrow_schema

from streaming.lake.layout import Lake
from streaming.lake.schemas import QUARANTINE, features_table
from streaming.model.mobilenet_v2 import WIDTH
from streaming.storage.interface import StoredFile

FEATURES = features_table(WIDTH)


def features_row(file: StoredFile, at: datetime, width: int = WIDTH) -> dict[str, object]:
    """Return one row of `features`."""
    return _row(file, at) | {
        "width": 100,
        "height": 80,
        "format": "JPEG",
        "features": [float(number) for number in range(width)],
        "model_id": "seeded",
    }


def quarantine_row(file: StoredFile, at: datetime, reason: str = "corrupt") -> dict[str, object]:
    """Return one row of `quarantine`."""
    return _row(file, at) | {"reason": reason, "detail": "it is broken", "attempts": 1}


def _row(file: StoredFile, at: datetime) -> dict[str, object]:
    return {
        "path": file.path,
        "label": "Fig",
        "length": file.length,
        "modification_time": datetime.fromtimestamp(file.modified_ms / 1000, UTC),
        "content_hash": "0" * 64,
        "ingested_at": at,
        "batch_id": 0,
    }


def add_features(
    spark: SparkSession, lake: Lake, files: Sequence[StoredFile], at: datetime
) -> None:
    """Append rows to `features`."""
    append(spark, lake.features, FEATURES.ddl, [features_row(file, at) for file in files])


def add_quarantine(
    spark: SparkSession,
    lake: Lake,
    files: Sequence[StoredFile],
    at: datetime,
    reason: str = "corrupt",
) -> None:
    """Append rows to `quarantine`."""
    rows = [quarantine_row(file, at, reason) for file in files]
    append(spark, lake.quarantine, QUARANTINE.ddl, rows)


def append(spark: SparkSession, location: str, ddl: str, rows: Sequence[dict[str, object]]) -> None:
    """Append rows to a table with plain Spark."""
    frame = spark.createDataFrame(list(rows), ddl)
    frame.coalesce(1).write.format("delta").mode("append").save(location)


def frame_of(spark: SparkSession, table: pa.Table) -> DataFrame:
    """Return an Arrow table as a DataFrame, through pandas: Spark 3.5 does not accept Arrow tables."""
    return spark.createDataFrame(table.to_pandas(), from_arrow_schema(table.schema))
