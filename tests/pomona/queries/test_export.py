"""Tests for `pomona export`: files read by Arrow, pandas and NumPy contain the rows of the table."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import deltalake
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

import pomona
from pomona.queries.export import _write_npz, export
from streaming.errors import ExternalError, SnapshotError, UsageError
from streaming.lake.layout import Lake
from support.lakes.deltars_lakes import append, create_deltars_lake, random_images


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """A lake with 200 rows at version 0, and 50 more at version 1."""
    folder = tmp_path_factory.mktemp("export") / "lake"
    return create_deltars_lake(folder, random_images(200, 16), random_images(50, 16, seed=1))


def table(lake: Lake, version: int | None = None) -> pd.DataFrame:
    """The rows of the table, read without the code under test."""
    path = lake.features.removeprefix("file:")
    frame = deltalake.DeltaTable(path, version=version).to_pandas()
    return frame.sort_values("path", ignore_index=True)


def test_parquet_has_all_columns_and_rows(lake: Lake, tmp_path: Path) -> None:
    file = tmp_path / "features.parquet"
    assert export(lake.root, str(file)).rows == 250
    exported = pyarrow.parquet.read_table(file).to_pandas().sort_values("path", ignore_index=True)
    pd.testing.assert_frame_equal(exported, table(lake))


def test_npz_is_loaded_without_pickle(lake: Lake, tmp_path: Path) -> None:
    export(lake.root, str(tmp_path / "features.npz"), as_of=0)
    expected = table(lake, 0)
    with np.load(tmp_path / "features.npz", allow_pickle=False) as arrays:
        order = np.argsort(arrays["paths"])
        assert arrays["paths"][order].tolist() == expected["path"].tolist()
        assert arrays["labels"][order].tolist() == expected["label"].tolist()
        assert arrays["features"].dtype == np.float32
        np.testing.assert_array_equal(arrays["features"][order], np.stack(expected["features"]))


def test_npz_has_texts_of_all_lengths(tmp_path: Path) -> None:
    rows = random_images(3, 4)
    rows.labels[:] = ["", "\N{GRAPES}é", "kiwi"]
    lake = create_deltars_lake(tmp_path / "lake", rows, random_images(2, 4, seed=1))
    export(lake.root, str(tmp_path / "features.npz"))
    with np.load(tmp_path / "features.npz", allow_pickle=False) as arrays:
        assert sorted(arrays["labels"]) == sorted([*rows.labels, "label 0", "label 1"])
        assert arrays["labels"].dtype == np.dtype("<U7")


def test_npz_needs_memory_for_one_batch(tmp_path: Path) -> None:
    schema = pa.schema(
        {"path": pa.string(), "label": pa.string(), "features": pa.list_(pa.float32())}
    )
    columns = {
        "path": ["x" * 200] * 500,
        "label": ["Kiwi"] * 500,
        "features": [[1.0, 2.0]] * 500,
    }
    batch = pa.record_batch(columns, schema)
    tracemalloc.start()
    with (tmp_path / "features.npz").open("wb") as target:
        _write_npz(target, iter([batch] * 12), schema, 6_000, 2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    with np.load(tmp_path / "features.npz", allow_pickle=False) as arrays:
        assert arrays["paths"].shape == (6_000,)
        assert arrays["paths"].nbytes == 4_800_000
    assert peak < 3_000_000
    assert [entry.name for entry in tmp_path.iterdir()] == ["features.npz"]


def test_csv_has_one_column_per_feature(lake: Lake, tmp_path: Path) -> None:
    file = tmp_path / "features.csv"
    export(lake.root, str(file), label="label 3")
    frame = pd.read_csv(file).sort_values("path", ignore_index=True)
    expected = table(lake).query("label == 'label 3'").reset_index(drop=True)
    assert frame.columns.tolist() == ["path", "label", *(f"f{i}" for i in range(1, 17))]
    assert frame["path"].tolist() == expected["path"].tolist()
    values = frame.drop(columns=["path", "label"]).to_numpy(np.float32)
    np.testing.assert_array_equal(values, np.stack(expected["features"]))


def test_csv_escapes_formulas_of_spreadsheets(tmp_path: Path) -> None:
    rows = random_images(2, 4)
    rows.labels[0] = "=1+1"
    lake = create_deltars_lake(tmp_path / "lake", rows)
    export(lake.root, str(tmp_path / "features.csv"))
    assert sorted(pd.read_csv(tmp_path / "features.csv")["label"]) == ["'=1+1", "label 1"]


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".npz"])
def test_export_of_empty_lake_has_no_rows(suffix: str, tmp_path: Path) -> None:
    rows = random_images(1, 4)
    lake = create_deltars_lake(tmp_path / "lake", type(rows)([], [], rows.vectors[:0]))
    assert export(lake.root, str(tmp_path / f"empty{suffix}")).rows == 0
    assert (tmp_path / f"empty{suffix}").stat().st_size > 0


@pytest.mark.parametrize(
    ("file", "options", "message"),
    [
        (
            "features.xlsx",
            {},
            "features.xlsx: give a local path that ends with .parquet, .csv, .npz",
        ),
        ("features", {}, "the suffix selects the format"),
        ("s3://bucket/features.csv", {}, "give the path of a local file"),
        ("features.csv", {"label": "Durian"}, "--label Durian: no such label in version 1"),
    ],
)
def test_unusable_argument_is_rejected(
    file: str,
    options: dict[str, str],
    message: str,
    lake: Lake,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=message):
        export(lake.root, file, **options)
    assert not any(tmp_path.iterdir())


def test_unwritable_file_is_reported_with_its_name(lake: Lake, tmp_path: Path) -> None:
    with pytest.raises(ExternalError, match=r"missing/features.csv: .*missing is not a folder"):
        export(lake.root, str(tmp_path / "missing" / "features.csv"))


def test_file_inside_the_lake_is_rejected(lake: Lake) -> None:
    folder = Path(lake.root.removeprefix("file:"))
    before = sorted(folder.rglob("*"))
    for file in ("x.csv", "features/x.parquet"):
        with pytest.raises(UsageError, match="lies inside the lake"):
            export(lake.root, folder / file)
    with pytest.raises(ExternalError, match="its name is longer than 255 bytes"):
        export(lake.root, folder.parent / f"{'x' * 256}.csv")
    assert sorted(folder.rglob("*")) == before


def test_failed_export_keeps_existing_file(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "features.csv"
    file.write_text("earlier")

    def disk_full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", disk_full)
    with pytest.raises(ExternalError, match="No space left on device"):
        export(lake.root, str(file))
    assert file.read_text() == "earlier"
    assert [entry.name for entry in tmp_path.iterdir()] == ["features.csv"]


def test_rows_of_two_models_are_rejected(tmp_path: Path) -> None:
    lake = create_deltars_lake(tmp_path / "lake", random_images(3, 4))
    append(lake, random_images(3, 8, seed=1))
    with pytest.raises(SnapshotError, match="rows of 4 and of 8 features"):
        export(lake.root, str(tmp_path / "features.npz"))


def test_python_interface_returns_number_of_rows(lake: Lake, tmp_path: Path) -> None:
    file = tmp_path / "features.parquet"
    assert pomona.open_lake(lake.root).export(str(file), as_of=0) == 200
    assert pyarrow.parquet.read_metadata(file).num_rows == 200
