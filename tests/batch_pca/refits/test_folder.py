"""Tests for the files of a refit, read with the csv module, PyArrow and an HTML parser."""

from __future__ import annotations

import csv
import hashlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest

from batch_pca.features.snapshot import Snapshot, take_snapshot
from batch_pca.pca.fit import FitOptions, Reduction, fit
from batch_pca.pca.moments import Moments
from batch_pca.refit import RefitOptions, refit
from batch_pca.refits import vectors as vectors_module
from batch_pca.refits.catalog import RefitRow
from batch_pca.refits.folder import RefitFolder, create_folder
from batch_pca.refits.vectors import Sample, write_vectors
from streaming.delta.log import read_commits
from streaming.lake.layout import Lake
from streaming.sanitize import escape_text
from support.lakes.feature_lakes import LABELS, commit, images, new_lake

pytestmark = pytest.mark.spark
# Each commit is a file of its own, and neither the files nor their rows are sorted by path.
COMMITS = (images(30, seed=5, below="file:/z"), images(21, seed=4, below="file:/Été 50%/a+b"))
PATHS = sorted(COMMITS[0].paths + COMMITS[1].paths, key=str.encode)


@pytest.fixture(scope="module")
def lake(spark: Any, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    lake = new_lake(spark, Path(tmp_path_factory.mktemp("publish"), "My lake, 50%"))
    for rows in COMMITS:
        commit(spark, lake, rows)
    return lake


@pytest.fixture(scope="module")
def row(lake: Lake) -> RefitRow:
    return refit(lake.root, RefitOptions(FitOptions(components=3))).row


def folder_of(row: RefitRow) -> Path:
    return Path(row.lake.root.removeprefix("file:"), "reduced", row.refit_id)


@pytest.fixture(scope="module")
def lines(row: RefitRow) -> list[list[str]]:
    with Path(folder_of(row), "reduced.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file, strict=True))


def test_folder_contains_all_files(row: RefitRow) -> None:
    names = {entry.name for entry in folder_of(row).iterdir() if not entry.name.endswith(".crc")}
    assert names == {
        "parquet",
        "reduced.csv",
        "pipeline",
        "moments.npz",
        "components.npz",
        "report.html",
        "labels.npz",
        "label_order.json",
        "refit.json",
        "scatter.png",
        "variance.png",
    }


def test_csv_has_header_and_one_line_per_row_sorted_by_path(
    lines: list[list[str]],
) -> None:
    assert lines[0] == ["path", "label", "pc1", "pc2", "pc3"]
    assert [line[0] for line in lines[1:]] == PATHS
    assert {len(line) for line in lines} == {5}


def test_csv_quotes_commas_quotes_and_newlines(lines: list[list[str]]) -> None:
    label = {
        path: name for rows in COMMITS for path, name in zip(rows.paths, rows.labels, strict=True)
    }
    assert [line[1] for line in lines[1:]] == [label[path] for path in PATHS]
    assert {line[1] for line in lines[1:]} == set(LABELS)


def test_parquet_and_csv_contain_identical_values(row: RefitRow, lines: list[list[str]]) -> None:
    rows = pyarrow.parquet.read_table(folder_of(row) / "parquet").to_pylist()
    assert [(r["path"], r["label"]) for r in rows] == [(line[0], line[1]) for line in lines[1:]]
    assert [r["reduced"] for r in rows] == [list(map(float, line[2:])) for line in lines[1:]]


def test_report_contains_refit_id_and_all_labels(row: RefitRow) -> None:
    cells: list[str] = []
    parser = HTMLParser()
    parser.handle_data = cells.append  # type: ignore[assignment, method-assign]
    parser.feed(Path(folder_of(row), "report.html").read_text(encoding="utf-8"))
    text = " ".join(" ".join(cells).split())
    for part in (row.refit_id, "51 transformed, 51 fitted", "components 3", "made-up"):
        assert part in text
    assert all(escape_text(label) in text for label in LABELS)
    for plot in ("scatter.png", "variance.png"):
        assert Path(folder_of(row), plot).read_bytes().startswith(b"\x89PNG")


def fit_rows() -> Reduction:
    vectors = np.concatenate([rows.vectors for rows in COMMITS])
    return fit(Moments.from_rows(vectors, vectors.mean(axis=0)), FitOptions(components=1))


def test_sample_is_spread_evenly_over_the_rows(
    spark: Any, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = np.concatenate([rows.vectors for rows in COMMITS])
    reduction = fit_rows()
    snapshot = take_snapshot(spark, lake, read_commits(lake.features)[-1])
    monkeypatch.setattr(vectors_module, "MAX_POINTS", 13)  # every fourth of 51
    with create_folder(lake, "sample") as folder:
        sample: Sample = write_vectors(folder, snapshot, reduction)
    by_path = {path: i for i, path in enumerate(COMMITS[0].paths + COMMITS[1].paths)}
    order = [by_path[path] for path in PATHS][::4]
    np.testing.assert_allclose(sample.points, reduction.transform(vectors[order]), atol=1e-9)
    names = COMMITS[0].labels + COMMITS[1].labels
    assert sample.labels == [names[i] for i in order]
    assert sample.paths == PATHS[::4]


@pytest.mark.parametrize("read_by_spark", [False, True])
def test_partitioned_files_have_the_rows_of_one_partition(
    read_by_spark: bool, spark: Any, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = take_snapshot(spark, lake, read_commits(lake.features)[-1])
    one, many = (RefitFolder.of(lake, name) for name in ("one", f"many-{read_by_spark}"))
    expected = write_vectors(one, snapshot, fit_rows())
    monkeypatch.setattr(vectors_module, "_PARTITION_BYTES", 1000)  # 51 rows of 108 bytes
    if read_by_spark:
        monkeypatch.setattr(Snapshot, "parts", None)
    many.write("parquet/part-00000-of-a-failed-attempt.parquet", b"a part of it")
    many.write("_csv/part-00000-of-a-failed-attempt.csv", b"a part of it")
    actual = write_vectors(many, take_snapshot(spark, lake, snapshot.version), fit_rows())

    if (
        not read_by_spark
    ):  # Spark forms other batches, and BLAS may round their products differently
        assert many.read("reduced.csv") == one.read("reduced.csv")
    assert actual.csv_sha256 == hashlib.sha256(many.read("reduced.csv")).hexdigest()
    assert actual.paths == expected.paths
    np.testing.assert_allclose(actual.points, expected.points, rtol=0, atol=1e-12)
    assert actual.sums.counts == expected.sums.counts
    for label, mean in expected.sums.means().items():
        np.testing.assert_allclose(actual.sums.means()[label], mean, rtol=1e-12)
    files = list(many.parquet_files())
    assert len(files) == 6
    tables = [pyarrow.parquet.read_table(file) for file in files]
    assert [path for table in tables for path in table["path"].to_pylist()] == PATHS
    rows = spark.read.parquet(many.parquet)
    assert rows.dtypes == [("path", "string"), ("label", "string"), ("reduced", "array<double>")]
    assert rows.count() == 51
    folder = Path(many.uri.removeprefix("file:"))
    assert {entry.name for entry in folder.iterdir()} == {
        "labels.npz",
        "parquet",
        "reduced.csv",
    }
