"""Register the tables of a lake in a temporary Spark database, so that SQL can use their names and versions."""

from __future__ import annotations

import logging
import tempfile
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from streaming.cache_dir import private_folder, session_folder
from streaming.delta.external_files import check_files, check_links
from streaming.delta.tables import is_table, quote_text, read_table
from streaming.errors import LakeError, PlatformError
from streaming.lake.layout import Lake
from streaming.lake.versions import ResolvedVersion, superseded_at, version_at
from streaming.storage.open import open_storage

log = logging.getLogger(__name__)

#: Tables that a query may read.
TABLES = ("features", "quarantine", "refits", "reduced")
_REDUCED = (
    "path STRING COMMENT 'As in features', label STRING, "
    "reduced ARRAY<DOUBLE> COMMENT 'Scores on the components, first component first', "
    "refit_id STRING COMMENT 'As in refits'"
)
_SETTINGS = {
    # No paths in place of tables, and no substitution of environment variables such as '${env:HOME}'.
    "spark.sql.runSQLOnFiles": "false",
    "spark.sql.variable.substitute": "false",
    # On a cluster, a new session starts with the defaults of the cluster.
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",
    # Delta would read the commits before a damaged checkpoint, which were not checked for files outside of the table.
    "spark.databricks.delta.snapshotLoading.maxRetries": "0",
}


@contextmanager
def open_catalog_session(spark: SparkSession) -> Iterator[SparkSession]:
    """Open a new Spark session with an empty temporary database.

    On exit, the database is dropped. Tables registered in it are external: their files are kept.

    Raises
    ------
    PlatformError
        If Spark uses a persistent catalog, in which other users would see the tables.
    """
    catalog = spark.conf.get("spark.sql.catalogImplementation")
    if catalog != "in-memory":
        raise PlatformError(
            f"spark.sql.catalogImplementation is {catalog}: queries require a Spark session with `in-memory`"
        )
    session = spark.newSession()
    for key, value in _SETTINGS.items():
        session.conf.set(key, value)
    database = f"pomona_{uuid.uuid4().hex}"
    with tempfile.TemporaryDirectory(dir=session_folder(private_folder())) as folder:
        session.sql(f"CREATE DATABASE {database} LOCATION {quote_text(folder)}")
        interrupted = False
        try:
            session.sql(f"USE {database}")
            yield session
        except KeyboardInterrupt:
            interrupted = True  # end at once: Java may be too busy to answer
            raise
        finally:
            if not interrupted:
                _drop(session, database)


def _drop(session: SparkSession, database: str) -> None:
    try:
        session.sql(f"DROP DATABASE {database} CASCADE")
    except (PySparkException, Py4JError, OSError) as error:
        # Java has ended, and its catalog with it.
        log.info("the database %s was not dropped: %s", database, error)


def register_tables(
    session: SparkSession,
    lake: Lake,
    tables: Mapping[str, Collection[int]],
    pinned: ResolvedVersion | None = None,
) -> None:
    """Register tables of a lake in the current database of a session.

    Without `pinned`, the tables support time travel in SQL. With `pinned`, they are temporary views of the versions
    that were current at that version of the features.

    Parameters
    ----------
    session : SparkSession
    lake : Lake
    tables : mapping of str to collection of int
        The tables, each with the versions that the query names, see `validate_query`. Only these versions and the
        latest one are checked for files outside of the table, so the query must not read others.
    pinned : ResolvedVersion, optional

    Raises
    ------
    LakeError
        If the lake has no such table, or a version of it names files outside of the table.
    """
    versions = _versions(lake, pinned) if pinned else {}
    for name in sorted(tables.keys() - {"reduced"}):
        location = f"{lake.root}/{name}"
        if not is_table(location):
            command = "refit" if name == "refits" else "ingest"
            raise LakeError(
                f"{lake.root} has no table {name}: `pomona {command}` creates it; "
                "if it was deleted, restore it from a copy"
            )
        if not pinned:
            # Spark opens the latest version in any case.
            for number in (None, *sorted(tables[name])):
                check_files(location, number)
            session.sql(f"CREATE TABLE {name} USING delta LOCATION {quote_text(location)}")
            continue
        version = versions[name]
        rows = read_table(session, location, version)
        (rows if version is not None else rows.limit(0)).createTempView(name)
    if "reduced" in tables:
        check_links(lake.reduced)
        _register_reduced(session, lake, _refits(session, lake, pinned, versions))


def _versions(lake: Lake, pinned: ResolvedVersion) -> dict[str, int | None]:
    """Return the version of each table that was current at `pinned`; None if it had none yet."""
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
    """Return the IDs of the published refits, now or at a version."""
    if not is_table(lake.refits) or (pinned and versions["refits"] is None):
        return []
    rows = read_table(session, lake.refits, versions.get("refits")).select("refit_id").collect()
    return [row.refit_id for row in rows]


def _register_reduced(session: SparkSession, lake: Lake, refits: list[str]) -> None:
    """Register `reduced` with one partition per published refit, so that a query of one refit lists only its files."""
    session.sql(
        f"CREATE TABLE reduced ({_REDUCED}) USING parquet PARTITIONED BY (refit_id) "
        f"LOCATION {quote_text(lake.reduced)}"
    )
    # Spark would create the missing folder of a partition if a refit was deleted.
    existing = {
        file.path.removeprefix(f"{lake.reduced}/").partition("/parquet/")[0]
        for file in open_storage(lake.reduced).list(lake.reduced)
        if "/parquet/" in file.path
    }
    partitions = " ".join(
        f"PARTITION (refit_id = {quote_text(name)}) LOCATION {quote_text(f'{lake.reduced}/{name}/parquet')}"
        for name in refits
        if name in existing
    )
    if partitions:
        session.sql(f"ALTER TABLE reduced ADD {partitions}")
