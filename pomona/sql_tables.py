"""The four tables of a lake in a catalog of Spark's, so that SQL knows them by name, with their versions."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from pyspark.sql import SparkSession

from streaming.errors import PlatformError
from streaming.lake import Lake, is_table
from streaming.storage import storage_of

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
def lake_session(spark: SparkSession, lake: Lake) -> Iterator[SparkSession]:
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


def register(session: SparkSession, lake: Lake, tables: set[str]) -> None:
    """Make some of a lake's tables known in the session's database."""
    for name in sorted(tables - {"reduced"}):
        location = f"{lake.root}/{name}"
        if is_table(location):
            session.sql(f"CREATE TABLE {name} USING delta LOCATION {_literal(location)}")
    if "reduced" in tables:
        _register_reduced(session, lake)


def _register_reduced(session: SparkSession, lake: Lake) -> None:
    """One partition a published refit: a query of one refit then lists that one's files alone."""
    session.sql(
        f"CREATE TABLE reduced ({_REDUCED}) USING parquet PARTITIONED BY (refit_id) "
        f"LOCATION {_literal(lake.reduced)}"
    )
    # Spark makes the folder of a partition where there is none: of a refit that somebody has removed.
    there = {
        file.path.removeprefix(f"{lake.reduced}/").partition("/parquet/")[0]
        for file in storage_of(lake.reduced).list(lake.reduced)
        if "/parquet/" in file.path
    }
    published = session.read.format("delta").load(lake.refits) if is_table(lake.refits) else None
    rows = published.select("refit_id").collect() if published else []
    partitions = " ".join(
        f"PARTITION (refit_id = {_literal(row.refit_id)}) "
        f"LOCATION {_literal(f'{lake.reduced}/{row.refit_id}/parquet')}"
        for row in rows
        if row.refit_id in there
    )
    if partitions:
        session.sql(f"ALTER TABLE reduced ADD {partitions}")


def _literal(text: str) -> str:
    """A text as Spark's SQL writes it."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
