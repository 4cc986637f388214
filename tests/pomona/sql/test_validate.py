"""Tests for `validate_query`: one SELECT on the lake's tables passes, everything else is rejected before it runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from packaging.version import Version
from pyspark.sql import SparkSession

from pomona.sql.catalog import TABLES, open_catalog_session, register_tables
from pomona.sql.validate import validate_query
from streaming.errors import UsageError
from support.lakes.query_lakes import QueryLake
from support.sql_queries import MINIMUM_SPARK_VERSIONS, REJECTED_QUERIES, VALID_QUERIES

pytestmark = pytest.mark.spark


@pytest.fixture(scope="module")
def session(spark: SparkSession, query_lake: QueryLake) -> Iterator[SparkSession]:
    with open_catalog_session(spark) as session:
        register_tables(session, query_lake.lake, dict.fromkeys(TABLES, ()))
        yield session


@pytest.mark.parametrize("text", VALID_QUERIES)
def test_select_passes_and_spark_analyzes_it(session: SparkSession, text: str) -> None:
    for syntax, minimum in MINIMUM_SPARK_VERSIONS.items():
        if syntax in text and Version(session.version) < Version(minimum):
            pytest.skip(f"{syntax} requires Spark {minimum}; this is {session.version}")
    validate_query(session, text, TABLES)
    session.sql(text).schema  # noqa: B018 - runs the analyzer


@pytest.mark.parametrize("text", REJECTED_QUERIES)
def test_other_text_is_rejected_with_one_line(session: SparkSession, text: str) -> None:
    with pytest.raises(UsageError, match=r"^query: ") as caught:
        validate_query(session, text, TABLES)
    assert "\n" not in str(caught.value)


def test_tables_read_are_returned(session: SparkSession) -> None:
    text = "WITH a AS (SELECT * FROM Features) SELECT * FROM a WHERE EXISTS (TABLE refits)"
    assert validate_query(session, text, TABLES) == {"features": set(), "refits": set()}


def test_versions_read_are_returned(session: SparkSession) -> None:
    text = (
        "WITH refits AS (SELECT * FROM Features FOR VERSION AS OF '02') "
        "SELECT * FROM features, features VERSION AS OF 1, refits, quarantine "
        "WHERE EXISTS (SELECT 1 FROM quarantine FOR SYSTEM_VERSION AS OF 7)"
    )
    versions = {"features": {1, 2}, "refits": set(), "quarantine": {7}}
    assert validate_query(session, text, TABLES) == versions


def test_environment_variables_are_not_substituted(session: SparkSession) -> None:
    for text in ("SELECT '${env:HOME}' AS home", "SELECT '${system:user.home}' AS home"):
        validate_query(session, text, TABLES)
        assert session.sql(text).first()[0] == text.split("'")[1]  # type: ignore[index]


def test_time_travel_is_rejected_unless_allowed(session: SparkSession) -> None:
    text = "SELECT * FROM (SELECT 1 WHERE 1 IN (SELECT length FROM features VERSION AS OF 2))"
    assert validate_query(session, text, TABLES) == {"features": {2}}
    with pytest.raises(UsageError, match="--as-of and a version in the query"):
        validate_query(session, text, TABLES, allow_time_travel=False)


def test_session_rejects_paths_too(session: SparkSession, query_lake: QueryLake) -> None:
    for text in (f"delta.`{query_lake.lake.features}`", "text.`/etc/hosts`"):
        with pytest.raises(
            Exception, match=r"(?i)TABLE_OR_VIEW_NOT_FOUND|not supported|UNSUPPORTED"
        ):
            session.sql(f"SELECT * FROM {text}")
