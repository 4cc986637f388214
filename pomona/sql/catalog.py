"""Register the four tables of a lake in a Spark catalog, so that SQL can use their names and versions."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from pyspark.sql import SparkSession

from streaming.delta.tables import is_table, read_table
from streaming.errors import LakeError, PlatformError
from streaming.lake.layout import Lake
from streaming.lake.versions import ResolvedVersion, superseded_at, version_at
from streaming.storage.open import open_storage

#: What a query may read.
TABLES = ("features", "quarantine", "refits", "reduced")
_REDUCED = (
    "path STRING COMMENT 'As in features', label STRING, "
    "reduced ARRAY<DOUBLE> COMMENT 'Scores on the components, first component first', "
    "refit_id STRING COMMENT 'As in refits'"
)
_SETTINGS = {
    # Nothing by its path, and nothing of the environment put into the text: '${env:HOME}'.
    "spark.sql.runSQLOnFiles": "false",
    "spark.sql.variable.substitute": "false",
    # A cluster's new session has its own defaults, not ours.
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",
}


@contextmanager
def open_catalog_session(spark: SparkSession, lake: Lake) -> Iterator[SparkSession]:
    """A session of its own, which knows nothing but a lake's tables.

    Parameters
    ----------
    spark : SparkSession
    lake : Lake

    Yields
    ------
    SparkSession
        Its database is gone when the block ends; the tables stay where they are.

    Raises
    ------
    PlatformError
        Where Spark keeps its catalog elsewhere, and others would see these tables.
    """
    catalog = spark.conf.get("spark.sql.catalogImplementation")
    if catalog != "in-memory":
        raise PlatformError(
            f"spark.sql.catalogImplementation is {catalog}: a query wants a session of its own, with `in-memory`"
        )
    session = spark.newSession()
    for key, value in _SETTINGS.items():
        session.conf.set(key, value)
    database = f"pomona_{uuid.uuid4().hex}"
    with tempfile.TemporaryDirectory() as folder:
        session.sql(f"CREATE DATABASE {database} LOCATION {_literal(folder)}")
        try:
            session.sql(f"USE {database}")
            yield session
        finally:
            session.sql(f"DROP DATABASE {database} CASCADE")


def register_tables(
    session: SparkSession, lake: Lake, tables: set[str], pinned: ResolvedVersion | None = None
) -> None:
    """Make some of a lake's tables known in the session's database, as they are now or as they were.

    Now, SQL may ask for their versions; as they were, they are views of that one version, which know no other.
    LakeError where there is no such table.
    """
    versions = _versions(lake, pinned) if pinned else {}
    for name in sorted(tables - {"reduced"}):
        location = f"{lake.root}/{name}"
        if not is_table(location):
            raise LakeError(
                f"{lake.root} has no table {name}: nothing has made it yet, or it was removed"
            )
        if not pinned:
            session.sql(f"CREATE TABLE {name} USING delta LOCATION {_literal(location)}")
            continue
        version = versions[name]
        rows = read_table(session, location, version)
        (rows if version is not None else rows.limit(0)).createTempView(name)
    if "reduced" in tables:
        _register_reduced(session, lake, _refits(session, lake, pinned, versions))


def _versions(lake: Lake, pinned: ResolvedVersion) -> dict[str, int | None]:
    """The version that each table had then; None where it had none yet."""
    until = replace(pinned, timestamp=superseded_at(lake, pinned))
    return {
        "features": pinned.number,
        "quarantine": version_at(lake.quarantine, pinned),
        "refits": version_at(lake.refits, until),
    }


def _refits(
    session: SparkSession,
    lake: Lake,
    pinned: ResolvedVersion | None,
    versions: dict[str, int | None],
) -> list[str]:
    """Ids of the published refits, now or then."""
    if not is_table(lake.refits) or (pinned and versions["refits"] is None):
        return []
    rows = read_table(session, lake.refits, versions.get("refits")).select("refit_id").collect()
    return [row.refit_id for row in rows]


def _register_reduced(session: SparkSession, lake: Lake, refits: list[str]) -> None:
    """One partition a published refit: a query of one refit then lists that one's files alone."""
    session.sql(
        f"CREATE TABLE reduced ({_REDUCED}) USING parquet PARTITIONED BY (refit_id) "
        f"LOCATION {_literal(lake.reduced)}"
    )
    # Spark makes the folder of a partition where there is none: of a refit that somebody has removed.
    there = {
        file.path.removeprefix(f"{lake.reduced}/").partition("/parquet/")[0]
        for file in open_storage(lake.reduced).list(lake.reduced)
        if "/parquet/" in file.path
    }
    partitions = " ".join(
        f"PARTITION (refit_id = {_literal(name)}) "
        f"LOCATION {_literal(f'{lake.reduced}/{name}/parquet')}"
        for name in refits
        if name in there
    )
    if partitions:
        session.sql(f"ALTER TABLE reduced ADD {partitions}")


def _literal(text: str) -> str:
    """A text as Spark's SQL writes it."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
