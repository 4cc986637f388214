"""Upgrade an older lake to the current format in place, without changing or deleting rows."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from deltalake import DeltaTable
from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from streaming.delta.commit_lock import commit_lock
from streaming.delta.reader import open_table
from streaming.delta.tables import (
    CONSTRAINT_PREFIX,
    Table,
    contract_properties,
    is_table,
    quote_table,
    quote_text,
    read_table,
    replace_table,
    set_properties,
)
from streaming.delta.writer import Writer
from streaming.errors import LakeError
from streaming.lake.format_version import (
    FORMAT,
    RENAMED_DRIFT_KEYS,
    RENAMED_REFIT_KEYS,
    RENAMED_TAG_KEYS,
    rename_keys,
    write_format,
)
from streaming.lake.layout import Lake
from streaming.lake.schemas import QUARANTINE, REFITS, RENAMED_REFITS_COLUMNS, features_table
from streaming.lease.acquire import acquire_lease
from streaming.model.store import find_model
from streaming.spark.errors import translate_errors
from streaming.spark.session import start_session
from streaming.storage.documents import InvalidDocumentError, Optional, parse_document
from streaming.storage.interface import is_s3
from streaming.storage.open import open_storage

_WIDTH = re.compile(r"\bfeatures\s*\)\s*=\s*(\d+)")
_REPLACED = "REPLACE TABLE"  # operation of `replace_table` in the table's history


def upgrade(location: str) -> list[str]:
    """Upgrade a lake to the format of this version of Pomona.

    An interrupted upgrade continues when it is called again: each step is skipped if it is done already, and the
    format version is written last.

    Parameters
    ----------
    location : str
        Folder or URI of the lake.

    Returns
    -------
    list of str
        The changes, in order; empty if the lake has the current format.

    Raises
    ------
    LakeError
        If there is no lake, if it has a newer format, or if rows violate a constraint.
    LeaseError
        If another process writes to the lake.
    """
    lake = Lake.at(location)
    lake.validate(allow_older=True)
    lake_format = lake.format()
    if lake_format and lake_format.number == FORMAT:
        return []
    with translate_errors():
        with acquire_lease(lake) as lease:
            spark = start_session(s3=is_s3(lake.root))
            lease.guard(spark)
            done = rename_columns(spark, lake.refits, REFITS, RENAMED_REFITS_COLUMNS)
            for table in (features_table(_width(lake)), QUARANTINE, REFITS):
                done += upgrade_table(spark, f"{lake.root}/{table.name}", table)
            done += rename_document_keys(lake)
            write_format(lake.root)
        return [*done, f"format {FORMAT}"]


def upgrade_table(spark: SparkSession, location: str, table: Table) -> list[str]:
    """Add the columns, comments, properties and constraints that a table lacks; return the changes.

    A property that is set keeps its value.
    """
    if not is_table(location):
        return []
    name = quote_table(location)
    missing = _add_missing_columns(spark, location, table)
    done = [f"{table.name}: column {column}" for column in missing]
    opened = open_table(location)
    done += _set_comments(spark, name, opened, table)
    existing = opened.metadata().configuration
    properties = {k: v for k, v in contract_properties(table).items() if k not in existing}
    if properties:
        set_properties(spark, location, properties)
        done += [f"{table.name}: property {key}" for key in properties]
    for constraint, check in table.constraints.items():
        current = existing.get(CONSTRAINT_PREFIX + constraint, "")
        if _without_spaces(current) != _without_spaces(check):
            _set_constraint(spark, name, constraint, check)
            done.append(f"{table.name}: constraint {constraint}")
    return done


def rename_columns(
    spark: SparkSession, location: str, table: Table, names: Mapping[str, str]
) -> list[str]:
    """Rename columns of a small table: replace the table, then append its rows.

    Delta renames a column in place only with column mapping, which other readers may not support. Earlier versions
    of the table keep the former names.
    """
    if not is_table(location):
        return []
    # A refit commits its row without the lease: without the lock, its row could be lost in between.
    with commit_lock(location):
        latest = open_table(location)
        version = latest.version()
        former = [name for name in names if name in _column_names(latest)]
        if former:
            properties = contract_properties(table) | latest.metadata().configuration
            replace_table(spark, location, table, properties)
        elif latest.history(1)[0].get("operation") == _REPLACED:  # interrupted after replacing
            version -= 1
            before = _column_names(open_table(location, version))
            former = [name for name in names if name in before]
        if not former:
            return []
        rows = read_table(spark, location, version).withColumnsRenamed(dict(names))
        # Columns that later formats no longer have stay in the earlier versions.
        rows = rows.select([name for name in rows.columns if name in table.names])
        Writer(spark, location, {"upgrade": FORMAT}).upsert(rows, merge=False)
    return [f"{table.name}: column {names[name]} (formerly {name})" for name in former]


def rename_document_keys(lake: Lake) -> list[str]:
    """Rename the keys of tags and of published ``refit.json`` files; return the paths changed."""
    storage = open_storage(lake.root)
    done = []
    for folder, suffix, rename, indent in (
        (lake.reduced, "/refit.json", _rename_refit_keys, 2),
        (lake.tags, ".json", _rename_tag_keys, None),
    ):
        for path in [file.path for file in storage.list(folder) if file.path.endswith(suffix)]:
            try:
                document = parse_document(storage.read(path, lake.root), {"drift": Optional(dict)})
                renamed = rename(document)
            except InvalidDocumentError:  # damaged: commands that need it report it
                continue
            if renamed != document:
                content = json.dumps(renamed, indent=indent, ensure_ascii=False)
                storage.write(path, (content + "\n").encode())
                done.append(f"{path.removeprefix(lake.root + '/')}: keys renamed")
    return done


def _rename_refit_keys(document: Mapping[str, Any]) -> dict[str, Any]:
    renamed = rename_keys(document, RENAMED_REFIT_KEYS)
    if renamed.get("drift"):
        renamed["drift"] = rename_keys(renamed["drift"], RENAMED_DRIFT_KEYS)
    return renamed


def _rename_tag_keys(document: Mapping[str, Any]) -> dict[str, Any]:
    return rename_keys(document, RENAMED_TAG_KEYS)


def _set_comments(spark: SparkSession, name: str, opened: DeltaTable, table: Table) -> list[str]:
    """Set the comments of the table and of its columns that differ from the schema."""
    comments = {field.name: field.metadata.get("comment") for field in opened.schema().fields}
    changed = [c for c in table.columns if comments.get(c.name) != c.comment]
    for column in changed:
        spark.sql(
            f"ALTER TABLE {name} ALTER COLUMN `{column.name}` COMMENT {quote_text(column.comment)}"
        )
    done = [f"{table.name}: {len(changed)} column comments"] if changed else []
    if opened.metadata().description != table.comment:
        spark.sql(f"COMMENT ON TABLE {name} IS {quote_text(table.comment)}")
        done.append(f"{table.name}: table comment")
    return done


def _column_names(table: DeltaTable) -> list[str]:
    return [field.name for field in table.schema().fields]


def _add_missing_columns(spark: SparkSession, location: str, table: Table) -> list[str]:
    """Add the columns that a table of an earlier version of Pomona lacks; return their names."""
    existing = _column_names(open_table(location))
    missing = [column for column in table.columns if column.name not in existing]
    if missing:
        columns = ", ".join(f"`{c.name}` {c.type} COMMENT {quote_text(c.comment)}" for c in missing)
        name = quote_table(location)
        spark.sql(f"ALTER TABLE {name} ADD COLUMNS ({columns})")
    return [column.name for column in missing]


def _without_spaces(expression: str) -> str:
    """Remove the spaces of an expression: ``ADD CONSTRAINT`` inserts some between its tokens."""
    return "".join(expression.split())


def _set_constraint(spark: SparkSession, name: str, constraint: str, check: str) -> None:
    spark.sql(f"ALTER TABLE {name} DROP CONSTRAINT IF EXISTS {constraint}")
    try:
        spark.sql(f"ALTER TABLE {name} ADD CONSTRAINT {constraint} CHECK ({check})")
    except (PySparkException, Py4JError) as error:
        if "DELTA_NEW_CHECK_CONSTRAINT_VIOLATION" not in str(error):
            raise
        raise LakeError(
            f"{name}: rows violate the constraint {constraint} ({check}): correct or delete them "
            "(earlier versions keep them), then run `pomona upgrade` again"
        ) from error


def _width(lake: Lake) -> int:
    """Return the length of the lake's feature vectors, from its model or from the table's constraint."""
    model = find_model(lake.models)
    if model:
        return model.width
    configuration: Mapping[str, str] = open_table(lake.features).metadata().configuration
    match = _WIDTH.search(configuration.get(f"{CONSTRAINT_PREFIX}features_width", ""))
    if not match:
        raise LakeError(
            f"{lake.models} contains no model, and {lake.features} has no constraint features_width: "
            "restore models/ from a copy of the lake, then run `pomona upgrade` again"
        )
    return int(match[1])
