"""Upgrade an older lake to the current format in place, without changing or deleting rows."""

from __future__ import annotations

import re
from collections.abc import Mapping

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from streaming.delta.reader import open_table
from streaming.delta.tables import Table, contract_properties, is_table, quote_table, read_table
from streaming.errors import LakeError
from streaming.lake.format_version import FORMAT, write_format
from streaming.lake.layout import Lake
from streaming.lake.schemas import QUARANTINE, REFITS, features_table
from streaming.lease.acquire import acquire_lease
from streaming.model.store import find_model
from streaming.spark.errors import translate_errors
from streaming.spark.session import start_session
from streaming.storage.interface import is_s3

_WIDTH = re.compile(r"\bfeatures\s*\)\s*=\s*(\d+)")
_CONSTRAINT = "delta.constraints."


def upgrade(location: str) -> list[str]:
    """Bring a lake to the format of this version of Pomona.

    Killed at any point, it goes on when it is called again: what a table has already is left alone, and the
    format is written last.

    Parameters
    ----------
    location : str
        Folder or URI of the lake.

    Returns
    -------
    list of str
        What was done, in the order in which it was; empty where nothing was missing.

    Raises
    ------
    LakeError
        Where there is no lake, or a newer one, or rows that break the contract.
    LeaseError
        While another process writes it.
    """
    lake = Lake.at(location)
    lake.validate(allow_older=True)
    found = lake.format()
    if found and found.number == FORMAT:
        return []
    with translate_errors():
        with acquire_lease(lake) as lease:
            spark = start_session(s3=is_s3(lake.root))
            lease.guard(spark)
            done = []
            for table in (features_table(_width(lake)), QUARANTINE, REFITS):
                done += upgrade_table(spark, f"{lake.root}/{table.name}", table)
            write_format(lake.root)
        return [*done, f"format {FORMAT}"]


def upgrade_table(spark: SparkSession, location: str, table: Table) -> list[str]:
    """Give a table the columns, constraints and properties of its contract that it lacks.

    A property that it has stays as it is: somebody may have set it.
    """
    if not is_table(location):
        return []
    done = []
    name = quote_table(location)
    missing = add_missing_columns(spark, location, table)
    done += [f"{table.name}: column {column}" for column in missing]
    has = open_table(location).metadata().configuration
    properties = {k: v for k, v in contract_properties(table).items() if k not in has}
    if properties:
        told = ", ".join(f"'{key}' = '{value}'" for key, value in properties.items())
        spark.sql(f"ALTER TABLE {name} SET TBLPROPERTIES ({told})")
        done += [f"{table.name}: property {key}" for key in properties]
    for constraint, check in table.constraints.items():
        if _bare(has.get(_CONSTRAINT + constraint, "")) != _bare(check):
            _constrain(spark, name, constraint, check)
            done.append(f"{table.name}: constraint {constraint}")
    if _update_comments(spark, location, table):
        done.append(f"{table.name}: comments")
    return done


def _update_comments(spark: SparkSession, location: str, table: Table) -> bool:
    """Set the comments of a table and its columns to those of its schema; return whether any was different."""
    stored, name = open_table(location), quote_table(location)
    comments = {field.name: field.metadata.get("comment") for field in stored.schema().fields}
    different = [column for column in table.columns if comments[column.name] != column.comment]
    for column in different:
        spark.sql(f"ALTER TABLE {name} ALTER COLUMN `{column.name}` COMMENT '{column.comment}'")
    if stored.metadata().description == table.comment:
        return bool(different)
    spark.sql(f"COMMENT ON TABLE {name} IS '{table.comment}'")
    return True


def add_missing_columns(spark: SparkSession, location: str, table: Table) -> list[str]:
    """Give a table that an earlier version of Pomona made the columns that have come since; return their names."""
    there = set(read_table(spark, location).columns)
    missing = [column for column in table.columns if column.name not in there]
    if missing:
        columns = ", ".join(f"`{c.name}` {c.type} COMMENT '{c.comment}'" for c in missing)
        name = quote_table(location)
        spark.sql(f"ALTER TABLE {name} ADD COLUMNS ({columns})")
    return [column.name for column in missing]


def _bare(check: str) -> str:
    """An expression without its spaces: ``ADD CONSTRAINT`` puts some between all of its words."""
    return "".join(check.split())


def _constrain(spark: SparkSession, name: str, constraint: str, check: str) -> None:
    spark.sql(f"ALTER TABLE {name} DROP CONSTRAINT IF EXISTS {constraint}")
    try:
        spark.sql(f"ALTER TABLE {name} ADD CONSTRAINT {constraint} CHECK ({check})")
    except (PySparkException, Py4JError) as error:
        if "DELTA_NEW_CHECK_CONSTRAINT_VIOLATION" not in str(error):
            raise
        raise LakeError(
            f"{name}: rows in it break the constraint {constraint} ({check}): correct or delete them "
            "(earlier versions keep them), and upgrade again"
        ) from error


def _width(lake: Lake) -> int:
    """How many values a vector of this lake has: its model says it, or the constraint that it has."""
    model = find_model(lake.models)
    if model:
        return model.width
    configuration: Mapping[str, str] = open_table(lake.features).metadata().configuration
    found = _WIDTH.search(configuration.get(f"{_CONSTRAINT}features_width", ""))
    if not found:
        raise LakeError(f"{lake.models}: holds no model, and {lake.features} names no width")
    return int(found[1])
