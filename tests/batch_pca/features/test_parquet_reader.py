"""Tests for `batch_pca.features.parquet_reader`: files read without Spark, and tables that only Spark can read."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pyspark
import pytest

from batch_pca.features.parquet_reader import (
    Part,
    Slice,
    feature_matrices,
    feature_matrix,
    merge_small_batches,
    plan_parts,
    split_evenly,
)
from batch_pca.features.snapshot import take_snapshot
from batch_pca.pca.fit import FitOptions
from batch_pca.refit import RefitOptions, refit
from batch_pca.stats.full_scan import sum_parts
from streaming.lake.format_version import write_format
from streaming.lake.layout import Lake
from streaming.lake.versions import resolve_version
from support.lakes.feature_lakes import commit, images, new_lake, vectors_of


def test_feature_matrix_of_slice_contains_only_its_rows() -> None:
    vectors = np.arange(24, dtype=np.float32).reshape(6, 4)
    column = pa.array(list(vectors), pa.list_(pa.float32()))
    np.testing.assert_array_equal(feature_matrix(column.slice(2, 3)), vectors[2:5])
    batch = pa.record_batch({"features": column})
    found = list(feature_matrices(iter([batch.slice(0, 0), batch.slice(4)]), 0))
    assert [matrix.tolist() for matrix in found] == [vectors[4:].tolist()]


@pytest.mark.parametrize(
    "rows", [[[1, 2, 3], [4]], [[1, 2], None], [None, None], [[], [1, 2]], [[1], [2, 3], [4]]]
)
def test_vectors_of_several_lengths_are_rejected(rows: list[list[float] | None]) -> None:
    column = pa.array([[9.0], *rows], pa.list_(pa.float32())).slice(1)
    with pytest.raises(ValueError, match="are null or have another length"):
        feature_matrix(column)


def test_feature_matrix_without_rows_and_with_null_values() -> None:
    column = pa.array([[1, None], [3, 4]], pa.list_(pa.float32()))
    assert feature_matrix(column.slice(0, 0)).shape == (0, 0)
    np.testing.assert_array_equal(feature_matrix(column), [[1, np.nan], [3, 4]])


@pytest.mark.parametrize(
    ("sizes", "merged"),
    [
        ([], []),
        ([0], [0]),
        ([4], [4]),
        ([1024, 1024, 3], [1024, 1024, 3]),
        ([4] * 300, [512, 512, 176]),
        ([3, 1024, 0, 5, 600], [1027, 605]),
    ],
)
def test_small_batches_are_merged_in_order(sizes: list[int], merged: list[int]) -> None:
    ends = np.cumsum([0, *sizes])
    rows = pa.record_batch({"row": np.arange(ends[-1])})
    pieces = [rows.slice(start, size) for start, size in zip(ends, sizes, strict=False)]
    found = list(merge_small_batches(pieces))
    assert [batch.num_rows for batch in found] == merged
    assert [row for batch in found for row in batch["row"].to_pylist()] == list(range(ends[-1]))


@pytest.mark.parametrize(
    ("element", "merged"),
    [
        (pa.field("item", pa.float32()), [8]),
        (pa.field("element", pa.float32(), nullable=False), [4, 4]),
        (pa.field("element", pa.float64()), [4, 4]),
    ],
)
def test_batches_of_different_schemas_are_not_merged(element: pa.Field, merged: list[int]) -> None:
    column = pa.array([[1.0], [2.0]], pa.list_(pa.float32()))
    first = pa.record_batch({"features": column})
    second = pa.record_batch({"features": column.cast(pa.list_(element))})
    found = list(merge_small_batches([first, first, second, second]))
    assert [batch.num_rows for batch in found] == merged
    assert [row for batch in found for row in batch["features"].to_pylist()] == [[1], [2]] * 4


def test_rows_of_many_small_files_are_read_in_few_batches(tmp_path: Path) -> None:
    slices = []
    for number in range(300):
        pa.parquet.write_table(
            pa.table({"path": [f"{number}/{n}" for n in range(4)]}), tmp_path / f"{number}.parquet"
        )
        slices.append(Slice(f"file:{tmp_path}/{number}.parquet", 0, 0, 4))
    found = list(Part(tuple(slices)).batches(["path"]))
    assert [batch.num_rows for batch in found] == [512, 512, 176]


@pytest.mark.parametrize("sizes", [[1], [5, 0, 1], [1000, 3], [7] * 13, [0]])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_split_evenly_assigns_each_row_to_one_part_of_even_size(
    sizes: list[int], count: int
) -> None:
    slices = [Slice("file:/a", group, 0, size) for group, size in enumerate(sizes)]
    parts = split_evenly(slices, count)
    assigned = [
        (s.group, row) for part in parts for s in part.slices for row in range(s.start, s.stop)
    ]
    assert assigned == [(group, row) for group, size in enumerate(sizes) for row in range(size)]
    sizes_of_parts = [sum(s.stop - s.start for s in part.slices) for part in parts]
    assert len(parts) <= count
    assert not sizes_of_parts or max(sizes_of_parts) - min(sizes_of_parts) <= 1


def files_of(spark: Any, lake: Lake) -> tuple[str, ...]:
    """Return the files of the latest version."""
    return take_snapshot(spark, lake, resolve_version(lake, None)).files


@pytest.fixture
def lake(spark: Any, tmp_path: Path) -> Lake:
    """Return a lake with two files of 2,500 and 40 rows, in a folder whose name is percent-encoded in URIs."""
    lake = new_lake(spark, tmp_path / "My lake, 50% é+b", width=16)
    commit(spark, lake, images(2500, seed=1, width=16))
    spark.sql(f"OPTIMIZE delta.`{lake.features}`")
    commit(spark, lake, images(40, seed=2, width=16))
    return lake


@pytest.mark.spark
def test_sum_of_parts_matches_numpy(spark: Any, lake: Lake) -> None:
    parts = plan_parts(files_of(spark, lake), lake.features, 2540, 3)
    assert parts is not None
    assert len(parts) == 3
    exact = vectors_of(lake)
    moments = sum_parts(spark, parts)
    assert moments.count == 2540
    np.testing.assert_allclose(moments.covariance(), np.cov(exact.T), atol=1e-12)
    filtered = sum_parts(spark, parts, "file:/photos/Ananas")
    expected = vectors_of(lake, below="file:/photos/Ananas/")
    assert filtered.count == len(expected) > 100
    np.testing.assert_allclose(filtered.covariance(), np.cov(expected.T), atol=1e-12)


@pytest.mark.spark
def test_file_with_percent_encoded_name_is_read(spark: Any, lake: Lake) -> None:
    folder = Path(lake.features.removeprefix("file:"))
    for number, file in enumerate(sorted(folder.glob("*.parquet"))):
        name = f"{number} 50%.parquet"
        for log in folder.glob("_delta_log/*.json"):
            log.write_text(log.read_text().replace(file.name, quote(name)))
        file.rename(folder / name)
    parts = plan_parts(files_of(spark, lake), lake.features, 2540, 2)
    assert parts is not None
    assert all(" 50%.parquet" in piece.uri for part in parts for piece in part.slices)
    assert sum_parts(spark, parts).count == 2540


@pytest.mark.spark
def test_plan_is_none_if_files_and_table_differ_in_rows(spark: Any, lake: Lake) -> None:
    files = files_of(spark, lake)
    assert plan_parts(files, lake.features, 2539, 2) is None
    assert plan_parts(files, f"{lake.root}/elsewhere", 2540, 2) is None


@pytest.mark.long
@pytest.mark.spark
def test_plan_is_none_for_files_outside_the_table(
    spark: Any, lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POMONA_EXTERNAL_FILES", "1")
    clone = Lake.at(str(tmp_path / "clone"))
    write_format(clone.root)
    spark.sql(f"CREATE TABLE delta.`{clone.features}` SHALLOW CLONE delta.`{lake.features}`")
    snapshot = take_snapshot(spark, clone, resolve_version(clone, None))
    assert all("My%20lake" in name for name in snapshot.files)
    assert snapshot.parts is None
    row = refit(clone.root, RefitOptions(FitOptions(components=2))).row
    assert row.rows_fitted == 2540


@pytest.mark.long
@pytest.mark.spark
@pytest.mark.parametrize(
    "properties",
    [
        pytest.param(
            "'delta.enableDeletionVectors' = 'true'",
            marks=pytest.mark.skipif(
                pyspark.__version__ < "4.1",
                reason="the DELETE of Delta Lake 3.3 and 4.0 fails: filePath is ambiguous",
            ),
        ),
        "'delta.columnMapping.mode' = 'name'",
    ],
)
def test_table_with_deletion_vectors_or_column_mapping_is_refitted(
    spark: Any, lake: Lake, properties: str
) -> None:
    spark.sql(f"ALTER TABLE delta.`{lake.features}` SET TBLPROPERTIES ({properties})")
    deleted = images(5, seed=2).paths
    spark.sql(
        f"DELETE FROM delta.`{lake.features}` WHERE path = '{deleted[0]}' OR path = '{deleted[1]}'"
    )
    row = refit(lake.root, RefitOptions(FitOptions(components=2))).row
    assert (row.rows, row.rows_fitted) == (2538, 2538)
    lines = row.folder.read("reduced.csv")
    assert deleted[0].encode() not in lines
    assert deleted[4].encode() in lines
