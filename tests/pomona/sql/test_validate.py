"""Tests for what a query may be: one SELECT of the lake's tables; all else is refused before anything runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from packaging.version import Version
from pyspark.sql import SparkSession

from pomona.sql.catalog import TABLES, open_catalog_session, register_tables
from pomona.sql.validate import validate_query
from streaming.errors import UsageError
from support.query_lakes import QueryLake
from support.sql_queries import BAD, GOOD, SINCE

pytestmark = pytest.mark.spark


@pytest.fixture(scope="module")
def session(spark: SparkSession, query_lake: QueryLake) -> Iterator[SparkSession]:
    with open_catalog_session(spark, query_lake.lake) as session:
        register_tables(session, query_lake.lake, set(TABLES))
        yield session


@pytest.mark.parametrize("text", GOOD)
def test_a_select_passes_and_spark_can_run_it(session: SparkSession, text: str) -> None:
    for word, since in SINCE.items():
        if word in text and Version(session.version) < Version(since):
            pytest.skip(f"Spark {session.version} does not know {word}: {since} does")
    validate_query(session, text, TABLES)
    session.sql(text).schema  # noqa: B018 - analyzed


@pytest.mark.parametrize("text", BAD)
def test_all_else_is_refused_in_one_line(session: SparkSession, text: str) -> None:
    with pytest.raises(UsageError, match=r"^query: ") as refused:
        validate_query(session, text, TABLES)
    assert "\n" not in str(refused.value)


def test_what_is_read_is_told(session: SparkSession) -> None:
    asked = "WITH a AS (SELECT * FROM Features) SELECT * FROM a WHERE EXISTS (TABLE refits)"
    assert validate_query(session, asked, TABLES) == {"features", "refits"}


def test_the_environment_is_not_put_into_the_text(session: SparkSession) -> None:
    for text in ("SELECT '${env:HOME}' AS home", "SELECT '${system:user.home}' AS home"):
        validate_query(session, text, TABLES)
        assert session.sql(text).first()[0] == text.split("'")[1]  # type: ignore[index]


def test_versions_are_refused_where_all_is_asked_as_it_was(session: SparkSession) -> None:
    text = "SELECT * FROM (SELECT 1 WHERE 1 IN (SELECT length FROM features VERSION AS OF 2))"
    assert validate_query(session, text, TABLES) == {"features"}
    with pytest.raises(UsageError, match="--as-of and a version in the text"):
        validate_query(session, text, TABLES, past=False)


def test_a_path_is_refused_by_the_session_too(session: SparkSession, query_lake: QueryLake) -> None:
    for text in (f"delta.`{query_lake.lake.features}`", "text.`/etc/hosts`"):
        with pytest.raises(
            Exception, match=r"(?i)TABLE_OR_VIEW_NOT_FOUND|not supported|UNSUPPORTED"
        ):
            session.sql(f"SELECT * FROM {text}")
