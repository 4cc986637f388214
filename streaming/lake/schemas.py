"""Schemas of the lake's tables, with column comments that are stored in the tables."""

from __future__ import annotations

from streaming.delta.tables import Column, Table
from streaming.outcomes import Reason

_CONTENT = (
    Column("path", "string", "URI of the image, not percent-encoded; the key"),
    Column("label", "string", "Name of the folder of the image, which is its class"),
    Column("length", "long", "Size of the image in bytes"),
    Column("modification_time", "timestamp", "Modification time of the image in the storage"),
)
_ARRIVAL = (
    Column("ingested_at", "timestamp", "When Pomona computed this row"),
    Column(
        "batch_id",
        "long",
        "Number of the micro-batch that wrote this row; -1 if written outside the stream",
    ),
)


def features_table(width: int) -> Table:
    """Return the schema of `features/`, for vectors of `width` values."""
    return Table(
        "features",
        "One row per image: the features of its current content",
        (
            *_CONTENT,
            Column("content_hash", "string", "SHA-256 of the file, in hexadecimal"),
            Column("width", "int", "Width in pixels, after EXIF rotation"),
            Column("height", "int", "Height in pixels, after EXIF rotation"),
            Column("format", "string", "File format, as named by Pillow"),
            Column("features", "array<float>", "Output of the penultimate layer of the network"),
            Column(
                "model_id",
                "string",
                "Weights, layer, decoder and precision that produced the features",
            ),
            *_ARRIVAL,
        ),
        {
            "delta.enableChangeDataFeed": "true",
            # Statistics on 1280 floats per row would take time and help no query.
            "delta.dataSkippingStatsColumns": "path,label,modification_time,ingested_at,batch_id",
        },
        {
            # Only functions that Spark and delta-rs support: a writer that does not support one can write no row.
            "features_width": f"cardinality(features) = {width}",
            "features_finite": "array_max(features) < 1e38",  # NaN counts as greater than any number
        },
    )


QUARANTINE = Table(
    "quarantine",
    "One row per image that could not be featurized",
    (
        *_CONTENT,
        Column(
            "content_hash",
            "string",
            "SHA-256 of the file; null if it could not be read",
            True,
        ),
        Column("reason", "string", "Why the image could not be featurized, from a fixed set"),
        Column("detail", "string", "Description of the error"),
        Column("attempts", "int", "Number of attempts to process the image"),
        *_ARRIVAL,
    ),
    constraints={
        "known_reason": f"reason IN ({', '.join(repr(str(reason)) for reason in Reason)})",
        "counted_attempts": "attempts > 0",
    },
)

_DRIFT = (
    Column("drift_from", "string", "Earlier refit with which this one is compared for drift", True),
    Column(
        "drift_angle",
        "double",
        "Angle between the correlation matrices of the features, in degrees",
        True,
    ),
    Column(
        "drift_shift",
        "double",
        "Shift of the mean, in standard deviations of the earlier refit",
        True,
    ),
    Column(
        "drift_labels", "string", "Shift of the mean of each label, as JSON, largest first", True
    ),
    Column("drift_exceeded", "string", "Drift thresholds that were exceeded; null if none", True),
    Column(
        "scheduled",
        "boolean",
        "Whether later refits may be compared with this one: false with --as-of or --baseline",
        True,
    ),
    Column(
        "drift_new_labels",
        "string",
        "Rows of each label that the earlier refit lacks, as JSON, most rows first",
        True,
    ),
    Column(
        "drift_vanished_labels",
        "string",
        "Rows that the earlier refit has of each label without rows now, as JSON, most rows first",
        True,
    ),
    Column("drift_limits", "string", "Drift thresholds of this refit, as JSON", True),
)

REFITS = Table(
    "refits",
    "One row per published refit: the index of reduced/",
    (
        Column("refit_id", "string", "Name of the folder below reduced/"),
        Column(
            "features_version",
            "long",
            "Version of the features table that was fitted and transformed",
        ),
        Column("features_timestamp", "timestamp", "When that version was committed"),
        Column("model_id", "string", "Model of all rows fitted"),
        Column("parameters", "string", "Parameters as JSON: components or variance, fit_on"),
        Column("rows", "long", "Rows transformed"),
        Column("rows_fitted", "long", "Rows fitted: those of fit_on, or all"),
        Column("components", "int", "Number of components kept"),
        Column(
            "explained_variance_ratio",
            "array<double>",
            "Share of the variance explained by each component kept",
        ),
        Column("seconds", "double", "Duration of the refit"),
        Column("created_at", "timestamp", "When the refit was published"),
        Column("pomona_version", "string", "Version of Pomona that made the refit"),
        Column(
            "statistics",
            "string",
            "full: all rows to fit were read; incremental: only the changes since another refit",
            True,
        ),
        Column(
            "statistics_from", "string", "The other refit, if the statistics are incremental", True
        ),
        *_DRIFT,
    ),
)

#: Columns of ``refits/`` that had other names up to format 3.
RENAMED_REFITS_COLUMNS = {"options": "parameters", "drift_passed": "drift_exceeded"}
