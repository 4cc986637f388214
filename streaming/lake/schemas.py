"""Schemas of the lake's tables as data, with a comment on every column, which Delta stores too."""

from __future__ import annotations

from streaming.delta.tables import Column, Table
from streaming.outcomes import Reason

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


def features_table(width: int) -> Table:
    """Contract of `features/`, for vectors of `width` values."""
    return Table(
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
            # Statistics on 1280 floats a row would cost time and skip nothing.
            "delta.dataSkippingStatsColumns": "path,label,modification_time,ingested_at,batch_id",
        },
        {
            # Functions that Spark and delta-rs both know: one that a writer does not know refuses every row of its.
            "features_width": f"cardinality(features) = {width}",
            "features_finite": "array_max(features) < 1e38",  # NaN counts as greater than any number
        },
    )


QUARANTINE = Table(
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
    constraints={
        "known_reason": f"reason IN ({', '.join(repr(str(reason)) for reason in Reason)})",
        "counted_attempts": "attempts > 0",
    },
)

_DRIFT = (
    Column("drift_from", "string", "Refit of an earlier version that the drift is since", True),
    Column(
        "drift_angle",
        "double",
        "Degrees by which the principal subspace turned, each component by its variance",
        True,
    ),
    Column("drift_largest_angle", "double", "Largest principal angle, in degrees", True),
    Column("drift_shift", "double", "How far the mean moved, in standard deviations of then", True),
    Column("drift_labels", "string", "The same for each label, as JSON, the furthest first", True),
    Column("drift_passed", "string", "The limits of drift that were passed; null if none", True),
)

REFITS = Table(
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
        Column(
            "statistics",
            "string",
            "full: all rows to fit were read; incremental: only what has changed since another refit",
            True,
        ),
        Column("statistics_from", "string", "That other refit, for incremental statistics", True),
        *_DRIFT,
    ),
)
