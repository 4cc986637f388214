"""Create and recognize Delta tables: columns, properties, constraints and retention."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from streaming.delta.commit_lock import commit_lock
from streaming.delta.external_files import check_files
from streaming.delta.log import list_log
from streaming.storage.open import open_storage

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

RETENTION = "interval 3650 days"
RETENTION_PROPERTIES = ("delta.logRetentionDuration", "delta.deletedFileRetentionDuration")
#: Commits between two checkpoints of the log. Each contains all files and is kept as long as the log.
CHECKPOINT_INTERVAL = 100
#: A CHECK constraint is a table property with this prefix before its name.
CONSTRAINT_PREFIX = "delta.constraints."


def create_table(spark: SparkSession, location: str, table: Table) -> None:
    """Create a table if it does not exist, in one commit with its properties and constraints."""
    if is_table(location):
        return
    with commit_lock(location):
        if is_table(location):  # created while this process waited
            return
        # A process killed before its commit leaves an empty log folder, which Delta takes for a broken table.
        open_storage(location).delete_tree(f"{location}/_delta_log")
        from delta.tables import DeltaTable

        builder = DeltaTable.createIfNotExists(spark).location(location).comment(table.comment)
        for column in table.columns:
            builder = builder.addColumn(
                column.name, column.type, nullable=column.nullable, comment=column.comment
            )
        checks = {CONSTRAINT_PREFIX + name: check for name, check in table.constraints.items()}
        for key, value in (contract_properties(table) | checks).items():
            builder = builder.property(key, value)
        builder.execute()


def replace_table(
    spark: SparkSession, location: str, table: Table, properties: Mapping[str, str]
) -> None:
    """Replace a table by an empty table with another schema, in one commit; earlier versions stay readable."""
    # In SQL: `DeltaTable.replace` works with the names of a catalog only.
    columns = ", ".join(
        f"`{c.name}` {c.type}{'' if c.nullable else ' NOT NULL'} COMMENT {quote_text(c.comment)}"
        for c in table.columns
    )
    spark.sql(
        f"REPLACE TABLE {quote_table(location)} ({columns}) USING delta "
        f"COMMENT {quote_text(table.comment)} TBLPROPERTIES ({_quote_properties(properties)})"
    )


def set_properties(spark: SparkSession, location: str, properties: Mapping[str, str]) -> None:
    """Set properties of a table in one commit."""
    with commit_lock(location):
        spark.sql(
            f"ALTER TABLE {quote_table(location)} SET TBLPROPERTIES ({_quote_properties(properties)})"
        )


def contract_properties(table: Table) -> dict[str, str]:
    """Return the Delta table properties of a schema, without its constraints."""
    log = {"delta.checkpointInterval": str(CHECKPOINT_INTERVAL)}
    return table.properties | log | dict.fromkeys(RETENTION_PROPERTIES, RETENTION)


def is_table(location: str) -> bool:
    """Return whether a location has a Delta log that is not empty."""
    return any(file.path.endswith((".json", ".parquet")) for file in list_log(location))


def quote_table(location: str) -> str:
    """Return the name of a table in Spark SQL: its path, quoted."""
    escaped = location.replace("`", "``")
    return f"delta.`{escaped}`"


def quote_text(text: str) -> str:
    """Return a string literal of Spark SQL."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _quote_properties(properties: Mapping[str, str]) -> str:
    return ", ".join(f"{quote_text(k)} = {quote_text(v)}" for k, v in properties.items())


def read_table(spark: SparkSession, location: str, version: int | None = None) -> DataFrame:
    """Read a Delta table with Spark at a version, by default the latest."""
    check_files(location, version)
    reader = spark.read.format("delta")
    return (reader if version is None else reader.option("versionAsOf", version)).load(location)


def create_frame(spark: SparkSession, rows: Any, schema: str) -> DataFrame:
    """Return a DataFrame of rows; `SparkSession.createDataFrame` would also make the session the active one."""
    from pyspark.sql import SparkSession

    active = SparkSession.getActiveSession()
    try:
        return spark.createDataFrame(rows, schema)
    finally:
        if active is not None:
            java: Any = spark._jvm
            java.org.apache.spark.sql.SparkSession.setActiveSession(active._jsparkSession)
            SparkSession._activeSession = active


@dataclass(frozen=True)
class Column:
    """A column of a table; `type` is a SQL type."""

    name: str
    type: str
    comment: str
    nullable: bool = False


@dataclass(frozen=True)
class Table:
    """The schema of a Delta table: columns, table properties, and CHECK constraints by name."""

    name: str
    comment: str
    columns: tuple[Column, ...]
    properties: dict[str, str] = field(default_factory=dict)
    constraints: dict[str, str] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The column names, in order."""
        return tuple(column.name for column in self.columns)

    @property
    def ddl(self) -> str:
        """The columns as a DDL string, for `createDataFrame`."""
        return ", ".join(f"`{column.name}` {column.type}" for column in self.columns)
