"""Tests for `batch_pca.refits.vectors` without Spark: the CSV is concatenated from its pieces."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest

from batch_pca.refits.folder import RefitFolder
from batch_pca.refits.pieces import Piece
from batch_pca.refits.vectors import _publish_csv

HEADER = b"path\n"


@pytest.fixture
def no_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the creation of temporary files fail: the CSV may be larger than their disk."""
    absent = str(tmp_path / "none")
    monkeypatch.setattr(tempfile, "tempdir", absent)
    monkeypatch.setattr(tempfile, "mkdtemp", lambda *_, **__: Path(absent, "folder").mkdir())


def write_pieces(folder: RefitFolder, contents: list[bytes]) -> list[Piece]:
    """Write the pieces of a CSV, and a file of a repeated attempt."""
    pieces = []
    for number, content in enumerate(contents):
        name = folder.csv_piece(f"part-{number}")
        folder.write(name, content)
        pieces.append(Piece(number, "", name, len(content), [], [], np.empty((0, 2))))
    folder.write(folder.csv_piece("part-0-of-a-failed-attempt"), b"half")
    return pieces


@pytest.mark.usefixtures("no_temporary_files")
def test_csv_is_concatenated_beside_its_pieces(tmp_path: Path) -> None:
    folder = RefitFolder(f"file:{tmp_path}/lake/reduced/one")
    lines = [f"line {number}\n".encode() for number in range(9)]
    found = _publish_csv(folder, write_pieces(folder, lines), HEADER)
    content = HEADER + b"".join(lines)
    assert folder.read("reduced.csv") == content
    assert found == hashlib.sha256(content).hexdigest()
    assert [entry.name for entry in (tmp_path / "lake/reduced/one").iterdir()] == ["reduced.csv"]


def test_pieces_in_folder_are_deleted_while_csv_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RefitFolder(f"file:{tmp_path}/lake/reduced/one")
    pieces = write_pieces(folder, [b"line\n"] * 9)
    (tmp_path / "lake/reduced/one/_csv/part-8.csv").unlink()
    with pytest.raises(FileNotFoundError):
        _publish_csv(folder, pieces, HEADER)
    names = [entry.name for entry in (tmp_path / "lake/reduced/one").rglob("*")]
    assert names == ["_csv", "part-0-of-a-failed-attempt.csv"]


@pytest.mark.s3
@pytest.mark.usefixtures("no_temporary_files")
def test_csv_on_s3_is_uploaded_while_its_pieces_are_read(bucket: str) -> None:
    folder = RefitFolder(f"s3a://{bucket}/lake/reduced/one")
    lines = [f"line {number}\n".encode() * 300_000 for number in range(5)]  # 13 MB
    found = _publish_csv(folder, write_pieces(folder, lines), HEADER)
    content = HEADER + b"".join(lines)
    assert folder.read("reduced.csv") == content
    assert found == hashlib.sha256(content).hexdigest()
    assert keys(bucket) == ["lake/reduced/one/reduced.csv"]


@pytest.mark.s3
def test_missing_piece_on_s3_leaves_no_csv_and_no_upload(bucket: str) -> None:
    folder = RefitFolder(f"s3a://{bucket}/lake/reduced/one")
    pieces = write_pieces(folder, [b"line\n" * 2_000_000, b"line\n" * 2_000_000, b"line\n"])
    boto3.client("s3").delete_object(Bucket=bucket, Key="lake/reduced/one/_csv/part-2.csv")
    with pytest.raises(FileNotFoundError, match="part-2"):
        _publish_csv(folder, pieces, HEADER)
    assert [key.rpartition("/")[2] for key in keys(bucket)] == [
        "part-0-of-a-failed-attempt.csv",
        "part-0.csv",
        "part-1.csv",
    ]
    assert not boto3.client("s3").list_multipart_uploads(Bucket=bucket).get("Uploads")


def keys(bucket: str) -> list[Any]:
    """Return the keys of all objects."""
    return [entry["Key"] for entry in boto3.client("s3").list_objects_v2(Bucket=bucket)["Contents"]]
