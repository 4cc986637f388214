"""What people ask of a lake, answered as plain dictionaries that print as JSON: status, quarantine, history."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from batch_pca.catalog import PublishedRefit, published, same_rows
from batch_pca.versions import versions
from streaming.decode import Reason
from streaming.errors import PomonaError, UsageError
from streaming.faults import explain
from streaming.known import KnownImages
from streaming.lake import Lake, read_table
from streaming.session import start_session
from streaming.source import Source
from streaming.storage import TransientFault, is_s3

Answer = dict[str, Any]


def status(location: str) -> Answer:
    """How a lake stands.

    Parameters
    ----------
    location : str
        Folder or URI of the lake.

    Returns
    -------
    dict
        ``lake``, ``source``, ``rows``, ``labels``, ``model_id``, ``quarantine`` (images by reason), ``backlog``
        (images of the source in neither table, or changed since; None where the source cannot be listed),
        ``last_batch``, ``last_refit``.
    """
    lake = _lake(location)
    try:
        spark = _session(lake)
        features = read_table(spark, lake.features)
        counts = features.agg(
            F.count("*").alias("rows"),
            F.countDistinct("label").alias("labels"),
            F.max("model_id").alias("model_id"),
        ).collect()[0]
        reasons = read_table(spark, lake.quarantine).groupBy("reason").count().collect()
        commits = sorted(
            (
                v
                for at in (lake.features, lake.quarantine)
                for v in versions(spark, at)
                if "source" in v.told
            ),
            key=lambda version: version.committed,
        )
        last = commits[-1] if commits else None
        source = last.told["source"] if last else None
        return {
            "lake": lake.root,
            "source": source,
            "rows": counts.rows,
            "labels": counts.labels,
            "model_id": counts.model_id,
            "quarantine": {row.reason: row["count"] for row in reasons},
            "backlog": _backlog(spark, source, lake),
            "last_batch": last
            and {
                "at": _iso(last.committed),
                "seconds_ago": round((datetime.now(UTC) - last.committed).total_seconds()),
                "images": last.told.get("images", 0),
                "quarantined": last.told.get("quarantined", 0),
                "engine": last.told.get("engine"),
            },
            "last_refit": _last_refit(spark, lake, counts.rows),
        }
    except (PySparkException, Py4JError, TransientFault, OSError) as error:
        raise explain(error) from error


def quarantine(location: str, reason: str | None = None) -> list[Answer]:
    """Images that could not be featurized.

    Parameters
    ----------
    location : str
        Folder or URI of the lake.
    reason : str, optional
        Only those with this one.

    Returns
    -------
    list of dict
        The columns of the table, in the order of reason and path; times in ISO 8601.

    Raises
    ------
    UsageError
        For a word that is no reason.
    """
    if reason is not None and reason not in set(Reason):
        raise UsageError(f"--reason {reason}: choose one of {', '.join(Reason)}")
    lake = _lake(location)
    try:
        rows = read_table(_session(lake), lake.quarantine)
        if reason:
            rows = rows.where(F.col("reason") == reason)
        times = {
            name: F.date_format(name, "yyyy-MM-dd'T'HH:mm:ss'Z'")
            for name in ("modification_time", "ingested_at")
        }
        return [row.asDict() for row in rows.withColumns(times).orderBy("reason", "path").collect()]
    except (PySparkException, Py4JError) as error:
        raise explain(error) from error


def history(location: str) -> list[Answer]:
    """Versions of the features table.

    Returns
    -------
    list of dict
        Oldest first: ``version``, ``committed`` (ISO 8601), ``operation``, ``added``, ``replaced``, ``removed``,
        ``total`` (rows after it), ``images_per_second`` and ``refits`` (the ids of those made of it).
    """
    lake = _lake(location)
    try:
        spark = _session(lake)
        made: dict[int, list[str]] = {}
        for refit in published(spark, lake):
            made.setdefault(refit.features_version, []).append(refit.refit_id)
        # Told backwards from what there is now, since the oldest commits may be gone from the log.
        total = read_table(spark, lake.features).count()
        told = []
        for version in reversed(versions(spark, lake.features)):
            seconds = version.told.get("seconds")
            told.append(
                {
                    "version": version.number,
                    "committed": _iso(version.committed),
                    "operation": version.operation,
                    "added": version.added,
                    "replaced": version.replaced,
                    "removed": version.removed,
                    "total": total,
                    "images_per_second": (
                        round(version.told.get("images", 0) / seconds, 1) if seconds else None
                    ),
                    "refits": made.get(version.number, []),
                }
            )
            total += version.removed - version.added
        return told[::-1]
    except (PySparkException, Py4JError) as error:
        raise explain(error) from error


def _lake(location: str) -> Lake:
    lake = Lake.at(location)
    lake.require()
    return lake


def _session(lake: Lake) -> SparkSession:
    return start_session(s3=is_s3(lake.root))


def _backlog(spark: SparkSession, source: str | None, lake: Lake) -> int | None:
    """Images that the next run would take; None where the source is out of reach from here."""
    if not source:
        return None
    try:
        where = Source(source)
        where.require(images=False)
        known = KnownImages.load(lake)
        return sum(1 for _ in known.missing_or_changed(where.images()))
    except (PomonaError, TransientFault, OSError):
        return None


def _last_refit(spark: SparkSession, lake: Lake, rows: int) -> Answer | None:
    refits = published(spark, lake)
    if not refits:
        return None
    last: PublishedRefit = refits[-1]
    latest = versions(spark, lake.features)[-1].number
    return {
        "refit_id": last.refit_id,
        "at": _iso(last.created_at),
        "features_version": last.features_version,
        "components": last.components,
        "explained_variance": round(last.explained, 6),
        "rows": last.rows,
        "new_rows_since": rows - last.rows,
        "stale": not same_rows(spark, lake, last.features_version, latest),
        "folder": last.folder.uri,
    }


def _iso(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
