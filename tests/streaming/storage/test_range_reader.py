"""Tests for `streaming.storage.range_reader`: range reads of S3 objects, and Parquet files on S3."""

from __future__ import annotations

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from streaming.storage.range_reader import open_ranges
from streaming.storage.s3_client import s3_client


def test_open_ranges_of_local_file_returns_path() -> None:
    assert open_ranges("file:/My lake/50%") == Path("/My lake/50%")


@pytest.fixture
def content(bucket: str) -> bytes:
    buffer = io.BytesIO()
    table = pa.table({"n": range(5000), "text": [f"{i:08}" for i in range(5000)]})
    pa.parquet.write_table(table, buffer, row_group_size=700)
    s3_client().put_object(Bucket=bucket, Key="My lake/50%", Body=buffer.getvalue())
    return buffer.getvalue()


@pytest.mark.s3
def test_ranges_of_object_are_read(bucket: str, content: bytes) -> None:
    file = open_ranges(f"s3a://{bucket}/My lake/50%")
    assert isinstance(file, io.RawIOBase)
    assert file.read(7) == content[:7]
    assert (file.tell(), file.seek(100)) == (7, 100)
    assert file.read(50) == content[100:150]
    assert file.seek(-8, io.SEEK_END) == len(content) - 8
    assert file.read(100) == content[-8:]
    assert file.read(1) == b""
    file.seek(0)
    assert file.readall() == content


@pytest.mark.s3
def test_parquet_row_group_is_read(bucket: str, content: bytes) -> None:
    file = pa.parquet.ParquetFile(open_ranges(f"s3a://{bucket}/My lake/50%"), pre_buffer=True)
    assert file.read_row_group(2, columns=["n"])["n"].to_pylist() == list(range(1400, 2100))


@pytest.mark.s3
def test_missing_object_raises_file_not_found(bucket: str) -> None:
    with pytest.raises(FileNotFoundError):
        open_ranges(f"s3a://{bucket}/none")
