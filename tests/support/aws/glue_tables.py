"""Compare the entries of the Glue Data Catalog, here moto's, with the tables at their locations."""

from __future__ import annotations

import io

import boto3
import deltalake
import pyarrow as pa
import pyarrow.parquet

#: Types of the Glue Data Catalog by the type with which Arrow reads a column.
CATALOG_TYPES = {
    pa.string(): "string",
    pa.int32(): "int",
    pa.int64(): "bigint",
    pa.float64(): "double",
    pa.bool_(): "boolean",
    pa.timestamp("us", "UTC"): "timestamp",
    pa.list_(pa.float32()): "array<float>",
    pa.list_(pa.float64()): "array<double>",
}


def columns_of(schema: pa.Schema) -> list[tuple[str, str]]:
    """Return the columns of a table as in the Glue Data Catalog."""
    found = []
    for field in schema:
        if pa.types.is_list(field.type):
            field = field.with_type(pa.list_(field.type.value_type))
        found.append((field.name, CATALOG_TYPES[field.type]))
    return found


def assert_registered(database: str, aws: dict[str, str], root: str, refit_id: str | None) -> None:
    """Compare the tables of the Glue Data Catalog with what delta-rs and Arrow read at their locations.

    Without a refit, there is no table ``reduced``.
    """
    root = root.replace("s3a://", "s3://")
    tables = boto3.client("glue").get_tables(DatabaseName=database)["TableList"]
    expected = {"features", "quarantine", "refits"} | ({"reduced"} if refit_id else set())
    found = {table["Name"] for table in tables}
    assert found == expected, found
    for table in tables:
        descriptor = table["StorageDescriptor"]
        location = descriptor["Location"]
        columns = [(column["Name"], column["Type"]) for column in descriptor["Columns"]]
        assert table["TableType"] == "EXTERNAL_TABLE"
        assert descriptor["SerdeInfo"]["Parameters"]["path"] == location
        if table["Name"] == "reduced":
            assert location == f"{root}/reduced/{refit_id}/parquet/"
            bucket, _, prefix = location.removeprefix("s3://").partition("/")
            listed = boto3.client("s3").list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]
            part = next(one["Key"] for one in listed if one["Key"].endswith(".parquet"))
            body = boto3.client("s3").get_object(Bucket=bucket, Key=part)["Body"].read()
            assert columns == columns_of(pyarrow.parquet.read_schema(io.BytesIO(body)))
            assert "table_type" not in table["Parameters"]
            continue
        assert location == f"{root}/{table['Name']}/"
        options = {**aws, "AWS_ALLOW_HTTP": "true"}
        read = deltalake.DeltaTable(location, storage_options=options)
        assert columns == columns_of(read.to_pyarrow_dataset().schema)
        comments = [(column["Name"], column["Comment"]) for column in descriptor["Columns"]]
        assert comments == [(f.name, f.metadata.get("comment", "")) for f in read.schema().fields]
        assert table["Parameters"]["table_type"] == "DELTA"
        assert table["Parameters"]["spark.sql.sources.provider"] == "delta"
        assert read.protocol().min_reader_version <= 3  # the highest that Athena reads
