"""Tests for `batch_pca.refits.vectors` without Spark: the CSV is concatenated from its pieces."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import numpy as np
import pytest

from batch_pca.refits.folder import RefitFolder
from batch_pca.refits.pieces import Piece
from batch_pca.refits.vectors import _publish_csv


def test_csv_is_concatenated_beside_its_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RefitFolder(f"file:{tmp_path}/lake/reduced/one")
    pieces = []
    for number in range(9):
        name = folder.csv_piece(f"part-{number}")
        folder.write(name, f"line {number}\n".encode())
        pieces.append(Piece(number, "", name, [], [], np.empty((0, 2))))
    # The CSV may be larger than the disk of the temporary files.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    found = _publish_csv(folder, pieces, b"path\n")
    content = b"path\n" + b"".join(b"line %d\n" % number for number in range(9))
    assert folder.read("reduced.csv") == content
    assert found == hashlib.sha256(content).hexdigest()
    assert [entry.name for entry in (tmp_path / "lake/reduced/one").iterdir()] == ["reduced.csv"]
