"""Tests for `pomona.sql.catalog`: a temporary database per query, and no use of a persistent catalog."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pyspark.sql import SparkSession

from pomona.sql.catalog import TABLES, open_catalog_session, register_tables
from streaming.errors import PlatformError
from support.lakes.query_lakes import QueryLake

pytestmark = pytest.mark.spark


def databases(spark: SparkSession) -> set[str]:
    return {row.namespace for row in spark.sql("SHOW DATABASES").collect()}


@pytest.fixture
def hive(spark: SparkSession) -> Iterator[SparkSession]:
    """Return a session that reports a Hive catalog; Python cannot change this static setting, the JVM can."""
    session = spark.newSession()
    conf = session._jsparkSession.sessionState().conf()
    conf.setConfString("spark.sql.catalogImplementation", "hive")
    assert session.conf.get("spark.sql.catalogImplementation") == "hive"
    yield session
    conf.unsetConf("spark.sql.catalogImplementation")


def test_persistent_catalog_is_rejected_and_unchanged(
    hive: SparkSession, query_lake: QueryLake
) -> None:
    before = databases(hive)
    message = r"^spark.sql.catalogImplementation is hive: .* with `in-memory`$"
    with pytest.raises(PlatformError, match=message), open_catalog_session(hive, query_lake.lake):
        pytest.fail("the session was opened")
    assert databases(hive) == before


def test_tables_are_visible_in_the_session_only_and_dropped_on_exit(
    spark: SparkSession, query_lake: QueryLake
) -> None:
    before, tables = databases(spark), spark.sql("SHOW TABLES").collect()
    with open_catalog_session(spark, query_lake.lake) as session:
        register_tables(session, query_lake.lake, set(TABLES))
        (database,) = databases(spark) - before
        assert session.catalog.currentDatabase() == database
        assert {row.tableName for row in session.sql("SHOW TABLES").collect()} == set(TABLES)
        assert spark.catalog.currentDatabase() == "default"
        assert spark.sql("SHOW TABLES").collect() == tables
    assert databases(spark) == before
    assert query_lake.folder.joinpath("features").is_dir()
