"""Create and recognize Delta tables: columns, properties, constraints and retention."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from streaming.delta.commit_lock import commit_lock
from streaming.storage.open import open_storage

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

RETENTION = "interval 3650 days"
RETENTION_PROPERTIES = ("delta.logRetentionDuration", "delta.deletedFileRetentionDuration")


def create_table(spark: SparkSession, location: str, table: Table) -> None:
    """Create a table where there is none; one commit, so that no half of a contract is ever there."""
    if is_table(location):
        return
    with commit_lock(location):
        _create_table(spark, location, table)


def _create_table(spark: SparkSession, location: str, table: Table) -> None:
    from delta.tables import DeltaTable

    if is_table(location):  # while this one waited
        return
    # What a creation leaves that is killed before its commit; Delta takes the folder for a table, and finds none.
    open_storage(location).delete_tree(f"{location}/_delta_log")
    builder = DeltaTable.createIfNotExists(spark).location(location).comment(table.comment)
    for column in table.columns:
        builder = builder.addColumn(
            column.name, column.type, nullable=column.nullable, comment=column.comment
        )
    checks = {f"delta.constraints.{name}": check for name, check in table.constraints.items()}
    for key, value in (contract_properties(table) | checks).items():
        builder = builder.property(key, value)
    builder.execute()


def contract_properties(table: Table) -> dict[str, str]:
    """Delta's properties of a table, without its constraints."""
    return table.properties | dict.fromkeys(RETENTION_PROPERTIES, RETENTION)


def is_table(location: str) -> bool:
    """Whether there is a Delta table, told by its log alone."""
    log = open_storage(location).list(f"{location}/_delta_log")
    return any(file.path.endswith((".json", ".parquet")) for file in log)


def quote_table(location: str) -> str:
    """Return a table as Spark SQL names it: by its path, quoted."""
    escaped = location.replace("`", "``")
    return f"delta.`{escaped}`"


def read_table(spark: SparkSession, location: str, version: int | None = None) -> DataFrame:
    """A Delta table, as it is now or as of a version."""
    reader = spark.read.format("delta")
    return (reader if version is None else reader.option("versionAsOf", version)).load(location)


@dataclass(frozen=True)
class Column:
    """One column: name, SQL type, what it holds, and whether it may be null."""

    name: str
    type: str
    comment: str
    nullable: bool = False


@dataclass(frozen=True)
class Table:
    """A Delta table: columns, properties and CHECK constraints by name."""

    name: str
    comment: str
    columns: tuple[Column, ...]
    properties: dict[str, str] = field(default_factory=dict)
    constraints: dict[str, str] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in order."""
        return tuple(column.name for column in self.columns)

    @property
    def ddl(self) -> str:
        """The columns as Spark's DDL, for `createDataFrame`."""
        return ", ".join(f"`{column.name}` {column.type}" for column in self.columns)
