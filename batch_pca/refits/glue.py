"""Register the tables of a lake in the Glue Data Catalog, where Athena finds them without a crawler.

Athena reads the rows of a Delta table from its log; the catalog only names the folder, the format and the columns. The
vectors of a refit are Parquet files in a folder of their own: the table ``reduced`` names that of the latest refit, so
that a query reads either the old or the new one.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from typing import Any

from batch_pca.refits.catalog import read_refits
from streaming.delta.reader import open_table, table_read_errors
from streaming.delta.tables import Column, is_table
from streaming.errors import PomonaError, UsageError, first_line
from streaming.lake.layout import Lake
from streaming.storage.interface import TransientError, is_s3

log = logging.getLogger(__name__)

#: Tables that are registered.
TABLES = ("features", "quarantine", "refits", "reduced")
#: Columns of the Parquet files of a refit.
REDUCED = (
    Column("path", "string", "As in features"),
    Column("label", "string", "As in features"),
    Column("reduced", "array<double>", "Scores on the components, first component first"),
)
_DATABASE = re.compile(r"[a-z0-9_]{1,255}")
_HIVE_TYPES = {"byte": "tinyint", "short": "smallint", "integer": "int", "long": "bigint"}
# Glue limits comments to 255 characters.
_COMMENT_LENGTH = 255
# Athena and Spark take the format from the parameters. Other readers of the catalog, such as catalogs of federated
# databases, reject a table without these classes.
_PARQUET = {
    "InputFormat": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
    "OutputFormat": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat",
}
_SERDE = "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe"


def check_database(lake: Lake, database: str) -> None:
    """Raise UsageError unless the tables of a lake can be registered in a Glue database of this name."""
    if not _DATABASE.fullmatch(database):
        raise UsageError(
            f"--glue-database {database!r}: a name has 1 to 255 lowercase letters, digits and _"
        )
    if not is_s3(lake.root):
        raise UsageError(
            f"--glue-database {database}: the lake {lake.root} is not on S3, where Athena reads tables: omit it"
        )


def register_tables(lake: Lake, database: str) -> list[str]:
    """Create or update the tables ``features``, ``quarantine``, ``refits`` and ``reduced`` in a Glue database.

    A failure is a warning, because nothing in the lake depends on the catalog; the next call tries again.

    Parameters
    ----------
    lake : Lake
        On S3.
    database : str
        An existing database.

    Returns
    -------
    list of str
        Names of the tables that were created or changed. A table that the lake does not have yet is skipped.
    """
    from botocore.exceptions import BotoCoreError, ClientError
    from urllib3.exceptions import HTTPError

    from streaming.storage.s3_client import FAIL_FAST, new_session

    errors = (
        BotoCoreError,
        ClientError,
        HTTPError,
        PomonaError,
        TransientError,
        OSError,
        ValueError,
    )
    changed: list[str] = []
    try:
        glue = new_session().client("glue", config=FAIL_FAST)
        for table in table_inputs(lake):
            if _register(glue, database, table):
                changed.append(table["Name"])
    except (*errors, *table_read_errors()) as error:
        log.warning(
            "the tables of %s are not up to date in the Glue database %s (%s): check that it exists, the permissions "
            "glue:GetTable, glue:CreateTable and glue:UpdateTable, and the region; the next ingest, refit or "
            "upgrade registers them",
            lake.root,
            database,
            first_line(error),
        )
    return changed


def table_inputs(lake: Lake) -> list[dict[str, Any]]:
    """Return the tables of a lake as Glue's ``TableInput``."""
    inputs = [
        _delta_table(name, location)
        for name, location in (
            ("features", lake.features),
            ("quarantine", lake.quarantine),
            ("refits", lake.refits),
        )
        if is_table(location)
    ]
    if refits := read_refits(lake):
        latest = refits[-1]
        columns = [_column(c.name, c.type, c.comment) for c in REDUCED]
        about = f"The reduced vectors of the latest refit, {latest.refit_id}"
        parameters = {"EXTERNAL": "TRUE", "classification": "parquet"}
        inputs.append(_table("reduced", latest.folder.parquet, columns, about, parameters))
    return inputs


def _delta_table(name: str, location: str) -> dict[str, Any]:
    table = open_table(location)
    fields = json.loads(table.schema().to_json())["fields"]
    columns = [
        _column(field["name"], hive_type(field["type"]), field["metadata"].get("comment", ""))
        for field in fields
    ]
    # Athena looks at `table_type`, Spark at the provider.
    parameters = {
        "EXTERNAL": "TRUE",
        "classification": "delta",
        "table_type": "DELTA",
        "spark.sql.sources.provider": "delta",
    }
    return _table(name, location, columns, table.metadata().description or "", parameters)


def _table(
    name: str, location: str, columns: list[dict[str, str]], about: str, parameters: dict[str, str]
) -> dict[str, Any]:
    uri = location.replace("s3a://", "s3://", 1) + "/"
    # Spark reads the path of a Delta table from the parameters of the SerDe.
    serde = {
        "SerializationLibrary": _SERDE,
        "Parameters": {"serialization.format": "1", "path": uri},
    }
    return {
        "Name": name,
        "Description": about,
        "TableType": "EXTERNAL_TABLE",
        "Parameters": parameters,
        "StorageDescriptor": {"Columns": columns, "Location": uri, **_PARQUET, "SerdeInfo": serde},
    }


def _column(name: str, hive: str, comment: str) -> dict[str, str]:
    return {"Name": name, "Type": hive, "Comment": comment[:_COMMENT_LENGTH]}


def hive_type(delta_type: Any) -> str:
    """Return the type of the Glue Data Catalog for a type in the schema of a Delta table."""
    if isinstance(delta_type, str):
        plain = delta_type.removesuffix("_ntz")
        return _HIVE_TYPES.get(plain, plain)
    match delta_type["type"]:
        case "array":
            return f"array<{hive_type(delta_type['elementType'])}>"
        case "map":
            return f"map<{hive_type(delta_type['keyType'])},{hive_type(delta_type['valueType'])}>"
        case _:
            fields = (f"{f['name']}:{hive_type(f['type'])}" for f in delta_type["fields"])
            return f"struct<{','.join(fields)}>"


def _register(glue: Any, database: str, table: dict[str, Any]) -> bool:
    """Create or update a table; return whether it was missing or different."""
    try:
        existing = glue.get_table(DatabaseName=database, Name=table["Name"])["Table"]
    except glue.exceptions.EntityNotFoundException:
        glue.create_table(DatabaseName=database, TableInput=table)
        return True
    if _contains(existing, table):
        return False
    # Without an archive of the earlier versions of the entry, which has a quota.
    glue.update_table(DatabaseName=database, TableInput=table, SkipArchive=True)
    return True


def _contains(existing: Any, wanted: Any) -> bool:
    """Return whether an entry has all wanted values; Glue and Athena add others."""
    if isinstance(wanted, Mapping):
        return isinstance(existing, Mapping) and all(
            key in existing and _contains(existing[key], value) for key, value in wanted.items()
        )
    return bool(existing == wanted)
