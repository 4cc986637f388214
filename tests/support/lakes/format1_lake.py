"""Create a lake of format 1, with the schemas of that time: without lake.json, with fewer constraints."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from delta.tables import DeltaTable
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from streaming.delta.tables import Column, Table, create_table
from streaming.lake.layout import Lake
from streaming.storage.interface import StoredFile
from streaming.storage.open import open_storage
from support.lakes.table_rows import add_features, add_quarantine, append

TIME = datetime(2026, 3, 3, 8, tzinfo=UTC)

_CONTENT = (
    Column("path", "string", "Full URI of the image as a person would write it; the key"),
    Column("label", "string", "Name of the image's folder: its class"),
    Column("length", "long", "Size of the image in bytes"),
    Column("modification_time", "timestamp", "When the storage says the image was last written"),
)
_ARRIVAL = (
    Column("ingested_at", "timestamp", "When Pomona computed this row"),
    Column("batch_id", "long", "Micro-batch of the stream that wrote this row; -1 for a sweep"),
)
_FEATURES = Table(
    "features",
    "One row an image: the features of the current content of each path",
    (
        *_CONTENT,
        Column("content_hash", "string", "SHA-256 of the bytes, in hexadecimal"),
        Column("width", "int", "Width in pixels, as displayed"),
        Column("height", "int", "Height in pixels, as displayed"),
        Column("format", "string", "Format of the file, as Pillow names it"),
        Column("features", "array<float>", "Penultimate layer of the network"),
        Column(
            "model_id", "string", "Weights, layer, decoder and precision that made the features"
        ),
        *_ARRIVAL,
    ),
    {
        "delta.enableChangeDataFeed": "true",
        "delta.dataSkippingStatsColumns": "path,label,modification_time,ingested_at,batch_id",
    },
    {"features_width": "size(features) = 1280"},
)
_QUARANTINE = Table(
    "quarantine",
    "One row an image that could not be featurized",
    (
        *_CONTENT,
        Column(
            "content_hash",
            "string",
            "SHA-256 of the bytes; null where they could not be read",
            True,
        ),
        Column("reason", "string", "One of a closed set of words"),
        Column("detail", "string", "What was wrong, in a sentence"),
        Column("attempts", "int", "How often the image has been tried"),
        *_ARRIVAL,
    ),
)
_REFITS = Table(
    "refits",
    "One row a published refit: the table of contents of reduced/",
    (
        Column("refit_id", "string", "Name of the folder below reduced/"),
        Column("features_version", "long", "Version of features that was transformed and fitted"),
        Column("features_timestamp", "timestamp", "When that version was committed"),
        Column("model_id", "string", "Model of all rows fitted"),
        Column("options", "string", "What was asked, as JSON: components or variance, fit_on"),
        Column("rows", "long", "Rows transformed"),
        Column("rows_fitted", "long", "Rows fitted: those below fit_on, or all"),
        Column("components", "int", "Number of components kept"),
        Column(
            "explained_variance_ratio",
            "array<double>",
            "Share of the variance of each component kept",
        ),
        Column("seconds", "double", "Duration of the refit"),
        Column("created_at", "timestamp", "When the refit was published"),
        Column("pomona_version", "string", "Version of Pomona"),
    ),
)

OLD_REFIT = {
    "refit_id": "r",
    "asked": {"components": 1, "variance": None, "fit_on": None},
    "drift": {"since": "q", "labels": {"passed": 0.5}, "passed": "label passed by 0.50"},
    "csv_sha256": "0" * 64,
}
OLD_TAG = {"version": 2, "committed": TIME.isoformat(), "made_at": TIME.isoformat(), "id": "0"}


def image(name: str) -> StoredFile:
    """Return an image that does not exist."""
    return StoredFile(f"file:/images/Fig/{name}.jpg", 5, 1_700_000_000_123)


def create_format1_lake(spark: SparkSession, folder: Path | str) -> Lake:
    """Create a lake with two features (one deleted later), a quarantined image, a refit and a tag."""
    lake = Lake.at(str(folder))
    for table in (_FEATURES, _QUARANTINE, _REFITS):
        create_table(spark, f"{lake.root}/{table.name}", table)
    for name in ("a", "b"):
        add_features(spark, lake, [image(name)], TIME)
    add_quarantine(spark, lake, [image("bad")], TIME)
    row = {"refit_id": "r", "features_version": 2, "features_timestamp": TIME, "model_id": "seeded"}
    row |= {"options": "{}", "rows": 2, "rows_fitted": 2, "components": 1, "seconds": 1.0}
    row |= {"explained_variance_ratio": [1.0], "created_at": TIME, "pomona_version": "0.1.0"}
    append(spark, lake.refits, _REFITS.ddl, [row])
    DeltaTable.forPath(spark, lake.features).delete(F.col("path") == image("b").path)
    storage = open_storage(lake.root)
    storage.write(f"{lake.reduced}/r/refit.json", json.dumps(OLD_REFIT).encode())
    storage.write(f"{lake.tags}/training.json", json.dumps(OLD_TAG).encode())
    return lake
