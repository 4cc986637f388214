"""Tests for `batch_pca.refits.pieces`: the files of one partition, read with the csv module and PyArrow."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_pca.refits.folder import VECTOR_SCHEMA, RefitFolder
from batch_pca.refits.label_means import LabelSums
from batch_pca.refits.pieces import Piece, PieceWriter, csv_header
from batch_pca.refits.transform import Partitioning, _to_ipc

NAMES = ['a"b,c', "=1+1", "x\n@y", "Été", "\ud7ff", "\U0001f34e", "z"]


@pytest.fixture
def folder(tmp_path: Path) -> RefitFolder:
    return RefitFolder(f"file:{tmp_path}/lake/reduced/one")


def items(rows: int = 7) -> list[tuple[int, bytes]]:
    """Return rows in reverse order of their paths, one item each."""
    table = pa.table(
        {
            "path": [f"file:/{name}/{i}.jpg" for i, name in enumerate(NAMES[:rows])],
            "label": NAMES[:rows],
            "reduced": [[i + 0.1, -1e-17] for i in range(rows)],
        },
        schema=VECTOR_SCHEMA,
    )
    order = sorted(range(rows), key=lambda i: table["path"][i].as_py().encode(), reverse=True)
    return [(3, _to_ipc(table.slice(i, 1))) for i in order]


def write(folder: RefitFolder, step: int = 1) -> Piece:
    (piece,) = PieceWriter(folder, Partitioning((b"a", b"b", b"c")), step)(3, items())
    assert isinstance(piece, Piece)
    return piece


def test_parquet_is_sorted_by_utf8_of_path_and_has_schema_of_spark(folder: RefitFolder) -> None:
    piece = write(folder)
    content = folder.read(f"parquet/{piece.parquet}")
    paths = pq.read_table(io.BytesIO(content))["path"].to_pylist()
    assert len(paths) == 7
    assert paths == sorted(paths, key=str.encode)
    file = pq.ParquetFile(io.BytesIO(content))
    assert file.schema.names == ["path", "label", "element"]
    assert [file.schema.column(i).path for i in range(3)] == [
        "path",
        "label",
        "reduced.list.element",
    ]
    chunk = file.metadata.row_group(0).column(2)
    assert (chunk.compression, chunk.has_dictionary_page) == ("SNAPPY", False)


def test_csv_piece_has_the_same_rows_and_escapes_formulas(folder: RefitFolder) -> None:
    piece = write(folder)
    rows = pq.read_table(io.BytesIO(folder.read(f"parquet/{piece.parquet}"))).to_pylist()
    text = csv_header(2) + folder.read(piece.csv)
    header, *lines = csv.reader(io.StringIO(text.decode(), newline=""), strict=True)
    assert header == ["path", "label", "pc1", "pc2"]
    escaped = {"=1+1": "'=1+1", "x\n@y": "x\n'@y"}
    assert [line[1] for line in lines] == [escaped.get(r["label"], r["label"]) for r in rows]
    assert [list(map(float, line[2:])) for line in lines] == [r["reduced"] for r in rows]


def test_sample_has_every_third_row(folder: RefitFolder) -> None:
    piece = write(folder, step=3)
    rows = pq.read_table(io.BytesIO(folder.read(f"parquet/{piece.parquet}"))).to_pylist()[::3]
    assert piece.number == 3
    assert piece.paths == [row["path"] for row in rows]
    assert piece.labels == [row["label"] for row in rows]
    np.testing.assert_array_equal(piece.points, [row["reduced"] for row in rows])


def test_each_attempt_writes_its_own_files(folder: RefitFolder) -> None:
    first, second = write(folder), write(folder)
    assert first.parquet != second.parquet
    assert first.csv != second.csv


def test_partition_without_rows_has_no_files(folder: RefitFolder) -> None:
    assert not list(PieceWriter(folder, Partitioning((b"a",)), 1)(1, []))
    assert not folder.exists()


def test_sums_of_all_parts_are_added(folder: RefitFolder) -> None:
    sums = LabelSums()
    sums.add(pa.array(["Fig", "Kiwi", "Fig"]), np.array([[1.0], [2.0], [4.0]], np.float32))
    content = sums.to_bytes()
    (total,) = PieceWriter(folder, Partitioning(), 1)(1, [(1, content), (1, content)])
    assert isinstance(total, bytes)
    assert LabelSums.from_bytes(total).means() == {"Fig": [2.5], "Kiwi": [2.0]}
    assert LabelSums.from_bytes(total).counts == {"Fig": 4, "Kiwi": 2}
