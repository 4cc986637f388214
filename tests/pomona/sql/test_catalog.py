"""Tests for the catalog of a query: a database of its own, which is gone afterwards, and none where others see it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pyspark.sql import SparkSession

from pomona.sql.catalog import TABLES, open_catalog_session, register_tables
from streaming.errors import PlatformError
from support.query_lakes import QueryLake

pytestmark = pytest.mark.spark


def databases(spark: SparkSession) -> set[str]:
    return {row.namespace for row in spark.sql("SHOW DATABASES").collect()}


@pytest.fixture
def hive(spark: SparkSession) -> Iterator[SparkSession]:
    """A session that says of itself what one with Hive's catalog says; a program cannot change it, the JVM can."""
    session = spark.newSession()
    conf = session._jsparkSession.sessionState().conf()
    conf.setConfString("spark.sql.catalogImplementation", "hive")
    assert session.conf.get("spark.sql.catalogImplementation") == "hive"
    yield session
    conf.unsetConf("spark.sql.catalogImplementation")


def test_a_catalog_that_others_see_is_refused_before_anything_is_in_it(
    hive: SparkSession, query_lake: QueryLake
) -> None:
    before = databases(hive)
    told = r"^spark.sql.catalogImplementation is hive: .* with `in-memory`$"
    with pytest.raises(PlatformError, match=told), open_catalog_session(hive, query_lake.lake):
        pytest.fail("it was opened")
    assert databases(hive) == before


def test_tables_are_known_to_the_session_alone_and_gone_afterwards(
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
