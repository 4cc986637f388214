"""Tests for `streaming.storage.range_reader`: range reads of S3 objects, and Parquet files on S3."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from streaming.storage.range_reader import open_ranges
from streaming.storage.s3 import s3_storage
from streaming.storage.s3_client import s3_client


def test_open_ranges_of_local_file_returns_path() -> None:
    assert open_ranges("file:/My lake/50%") == Path("/My lake/50%")


@pytest.fixture
def content(bucket: str) -> bytes:
    buffer = io.BytesIO()
    table = pa.table({"n": range(9000), "text": [f"{i:08}" for i in range(9000)]})
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
    assert (
        file.seek(-70_000, io.SEEK_END) == len(content) - 70_000
    )  # before the end that was read first
    assert file.read(69_000) == content[-70_000:-1000]
    assert file.read(10) == content[-1000:-990]
    assert file.seek(-8, io.SEEK_END) == len(content) - 8
    assert file.read(100) == content[-8:]
    assert file.read(1) == b""
    file.seek(0)
    assert file.readall() == content


@pytest.mark.s3
def test_parquet_row_group_is_read(bucket: str, content: bytes) -> None:
    file = pa.parquet.ParquetFile(open_ranges(f"s3a://{bucket}/My lake/50%"), pre_buffer=True)
    assert file.read_row_group(2, columns=["n"])["n"].to_pylist() == list(range(1400, 2100))


@pytest.fixture
def requests() -> Iterator[list[str]]:
    """The operations that are sent to S3."""
    sent: list[str] = []

    def record(model: Any, **_: Any) -> None:
        sent.append(model.name)

    events = s3_storage()._client.meta.events
    events.register("before-call.s3", record)
    yield sent
    events.unregister("before-call.s3", record)


@pytest.mark.s3
def test_small_parquet_file_takes_one_request(bucket: str, requests: list[str]) -> None:
    buffer = io.BytesIO()
    pa.parquet.write_table(pa.table({"n": range(4)}), buffer)
    s3_storage().write(f"s3a://{bucket}/small", buffer.getvalue())
    requests.clear()
    file = pa.parquet.ParquetFile(open_ranges(f"s3a://{bucket}/small"), pre_buffer=True)
    assert [batch["n"].to_pylist() for batch in file.iter_batches()] == [[0, 1, 2, 3]]
    assert requests == ["GetObject"]


@pytest.mark.s3
def test_footer_of_large_parquet_file_takes_one_request(
    bucket: str, content: bytes, requests: list[str]
) -> None:
    assert pa.parquet.read_metadata(open_ranges(f"s3a://{bucket}/My lake/50%")).num_rows == 9000
    assert requests == ["GetObject"]


@pytest.mark.s3
def test_empty_object_has_no_bytes(bucket: str) -> None:
    s3_storage().write(f"s3a://{bucket}/empty", b"")
    file = open_ranges(f"s3a://{bucket}/empty")
    assert isinstance(file, io.RawIOBase)
    assert (file.read(10), file.seek(0, io.SEEK_END)) == (b"", 0)


@pytest.mark.s3
def test_missing_object_raises_file_not_found(bucket: str) -> None:
    with pytest.raises(FileNotFoundError):
        open_ranges(f"s3a://{bucket}/none")
