"""Tests for the inputs that the Python interface accepts and rejects, without Spark."""

from __future__ import annotations

import inspect
import json
import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from numpy.typing import NDArray

import pomona
import streaming.errors
from batch_pca.pca.projection import Projection
from batch_pca.refits.catalog import RefitRow
from pomona.api import OpenLake, Pca
from streaming.errors import LakeError, PomonaError, SnapshotError, SourceError, UsageError
from support.lakes.deltars_lakes import create_deltars_lake, random_images, use_cache_folder
from support.lakes.history_lake import create_history_lake

WIDTH = 1280


def pca(width: int, components: int = 1) -> Pca:
    """A PCA that has not been published."""
    basis = np.eye(components, width)
    refit: Any = None
    return Pca(refit, Projection(9, np.ones(width), np.full(width, 2.0), basis))


def feature_chunk(vectors: NDArray[np.float32]) -> pa.ListArray:
    """Vectors as the features table has them: lists of float32 with 32-bit offsets."""
    offsets = np.arange(0, vectors.size + 1, vectors.shape[1], dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(vectors.ravel()))


def test_transform_of_chunks_equals_transform_of_rows() -> None:
    vectors = np.random.default_rng(1).normal(size=(9, 5)).astype(np.float32)
    chunks = [feature_chunk(vectors[rows]) for rows in (slice(4), slice(0), slice(4, 9))]
    model = pca(5, 3)
    scores = model.transform(pa.table({"features": pa.chunked_array(chunks)}))
    np.testing.assert_allclose(scores, model.transform(vectors))
    empty = pa.table({"features": pa.chunked_array([], pa.list_(pa.float32()))})
    assert model.transform(empty).shape == (0, 3)


def test_transform_accepts_more_values_than_list_offsets_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Projection, "transform", lambda self, rows: rows[:, :1])
    chunk = feature_chunk(np.zeros((8192, WIDTH), np.float32))
    chunks = pa.chunked_array([chunk] * 206)  # the chunks share their memory
    assert len(chunks) * WIDTH > 2**31
    assert pca(WIDTH).transform(pa.table({"features": chunks})).shape == (206 * 8192, 1)


def test_locations_may_be_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_cache_folder(monkeypatch, tmp_path / "cache")
    rows = random_images(3, 4)
    root = create_deltars_lake(tmp_path / "lake", rows).root
    lake = pomona.open_lake(tmp_path / "lake")
    assert lake.root == root
    assert lake.export(tmp_path / "features.csv") == 3
    assert len(lake.similar(Path(rows.paths[0].removeprefix("file:"))).neighbors) == 2
    with pytest.raises(LakeError, match=f"{tmp_path} is not a lake"):
        pomona.refit(tmp_path)
    with pytest.raises(SourceError, match=f"{tmp_path}/missing"):
        pomona.ingest(tmp_path / "missing", tmp_path / "lake")


@pytest.mark.parametrize(
    "rows",
    [
        [[1.0, 2.0, 3.0]],
        pa.table({"path": ["file:/a.jpg"]}),
        pd.DataFrame({"path": ["file:/a.jpg"]}),
        pd.DataFrame(),
        None,
    ],
)
def test_transform_names_accepted_inputs(rows: Any) -> None:
    expected = "an array of shape (n, 3), or a pyarrow.Table or pandas.DataFrame with the column `features`"
    with pytest.raises(UsageError, match=re.escape(expected)):
        pca(3).transform(rows)


def test_transform_of_frames(tmp_path: Path) -> None:
    vectors = np.random.default_rng(1).normal(size=(4, 5)).astype(np.float32)
    frame = pd.DataFrame({"features": list(vectors)})
    model = pca(5, 2)
    np.testing.assert_allclose(model.transform(frame), model.transform(vectors))
    assert model.transform(frame[:0]).shape == model.transform(vectors[:0]).shape == (0, 2)


def test_features_have_requested_columns(tmp_path: Path) -> None:
    lake = pomona.open_lake(create_deltars_lake(tmp_path / "lake", random_images(3, 4)).root)
    for columns in ([], ["label"], ["label", "path"]):
        table = lake.features_arrow(columns=columns)
        assert (table.num_rows, table.column_names) == (3, columns)
        assert lake.features_pandas(columns=columns).shape == (3, len(columns))
    with pytest.raises(
        UsageError, match="no such column of the features: 'labels', 'x': give some of path, label"
    ):
        lake.features_arrow(columns=["label", "labels", "x"])


def test_options_are_keyword_only() -> None:
    def positional(function: Any) -> list[str]:
        parameters = inspect.signature(function).parameters.values()
        return [one.name for one in parameters if one.kind is not one.KEYWORD_ONLY][1:]

    methods = {name: value for name, value in vars(OpenLake).items() if name[0] != "_"}
    assert {name: positional(method) for name, method in methods.items()} == {
        "diff": ["one", "other"],
        "duplicates": [],
        "export": ["file"],
        "features": [],
        "features_arrow": [],
        "features_pandas": [],
        "latest_pca": [],
        "pca": ["refit"],
        "prune": [],
        "query": ["sql"],
        "reduced_arrow": ["refit"],
        "refits": [],
        "similar": ["image"],
        "version": ["as_of"],
    }


def write_vectors(refit: RefitRow) -> pa.Table:
    """Write the reduced vectors of a refit that was published without them, in two files; return the rows."""
    paths = [f"file:/{number:02}.jpg" for number in range(refit.rows)]
    rows = pa.table(
        {"path": paths, "label": ["Kiwi"] * refit.rows, "reduced": [[1.0, 2.0]] * refit.rows}
    )
    folder = Path(refit.folder.parquet.removeprefix("file:"))
    folder.mkdir(parents=True)
    half = refit.rows // 2
    pa.parquet.write_table(rows[:half], folder / "part-0.parquet")
    pa.parquet.write_table(rows[half:], folder / "part-1.parquet")
    return rows


def test_reduced_arrow_reads_only_the_reduced_rows(tmp_path: Path) -> None:
    history_lake = create_history_lake(tmp_path / "lake")
    last = history_lake.refits[1]
    rows = write_vectors(last)
    for name in ("moments.npz", "components.npz"):
        Path(history_lake.folder, "reduced", last.refit_id, name).unlink()
    lake = pomona.open_lake(history_lake.folder)
    assert lake.reduced_arrow().to_pylist() == rows.to_pylist()
    with pytest.raises(SnapshotError, match=r"moments.npz or components.npz is missing"):
        lake.latest_pca()


def test_all_methods_report_a_deleted_lake(tmp_path: Path) -> None:
    history_lake = create_history_lake(tmp_path / "lake")
    lake = pomona.open_lake(history_lake.folder)
    shutil.rmtree(history_lake.folder)
    for call in (
        lake.refits,
        lake.version,
        partial(lake.version, 1),
        lake.features_arrow,
        lake.features_pandas,
        lake.features,
        lake.latest_pca,
        lake.reduced_arrow,
        lake.duplicates,
        partial(lake.diff, 0),
        partial(lake.similar, "a.jpg"),
        partial(lake.prune, keep=1),
        partial(lake.export, tmp_path / "a.csv"),
        partial(lake.query, "SELECT 1"),
        partial(pomona.refit, history_lake.folder),
    ):
        with pytest.raises(LakeError, match=r"is not a lake \(it has no features/\)"):
            call()
    assert not any(tmp_path.iterdir())


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-20])


def damage_page(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[4:60] = bytes(56)
    file.write_bytes(content)


def replace_columns(file: Path) -> None:
    pa.parquet.write_table(pa.table({"path": ["file:/a.jpg"]}), file)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (Path.unlink, "files are missing from parquet/, which has 13 of 27 vectors"),
        (lambda file: shutil.rmtree(file.parent), "which has 0 of 27 vectors"),
        (truncate, "a file in parquet/ is damaged"),
        (damage_page, "a file in parquet/ is damaged"),
        (lambda file: file.write_bytes(b""), "a file in parquet/ is damaged"),
        (replace_columns, "a file in parquet/ is damaged"),
    ],
)
def test_missing_and_damaged_vectors_are_one_line(
    damage: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    history_lake = create_history_lake(tmp_path / "lake")
    refit = history_lake.refits[1]
    write_vectors(refit)
    damage(Path(refit.folder.parquet.removeprefix("file:"), "part-1.parquet"))
    lake = pomona.open_lake(history_lake.folder)
    for named in (refit, None):
        with pytest.raises(SnapshotError, match=message) as error:
            lake.reduced_arrow(named)
        remedy = f"run `pomona refit {lake.root} --full --as-of 5` with the options of this refit"
        assert str(error.value).endswith(remedy)
        assert "\n" not in str(error.value)


def test_package_exports_every_exception() -> None:
    errors = {
        name
        for name, value in vars(streaming.errors).items()
        if isinstance(value, type) and issubclass(value, PomonaError)
    }
    assert errors <= set(pomona.__all__)
    assert {getattr(pomona, name) for name in errors} == {
        getattr(streaming.errors, name) for name in errors
    }
    assert pomona.RefitResult.__module__ == "batch_pca.refit"


@pytest.fixture(scope="module")
def lake_of_three(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A lake with three images and no refit; of type Any, so that calls with wrong types are checked at run time."""
    root = create_deltars_lake(tmp_path_factory.mktemp("lakes") / "lake", random_images(3, 4)).root
    return pomona.open_lake(root)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda lake: pomona.open_lake(1), "location=1: give a string or a path"),
        (lambda lake: pomona.open_lake(b"lake"), "location=b'lake': give a string or a path"),
        (lambda lake: pomona.open_lake("a\0b"), "contains a null character"),
        (lambda lake: lake.features(as_of=1.5), "as_of=1.5: give a string or an integer"),
        (lambda lake: lake.features_arrow(as_of=True), "as_of=True: give a string or"),
        (lambda lake: lake.features_arrow(columns="path"), "columns='path': give a list of"),
        (lambda lake: lake.features_arrow(columns=[1]), r"columns=\[1\]: give a list of"),
        (lambda lake: lake.features_pandas(columns=1), "columns=1: give a list of strings or None"),
        (lambda lake: lake.features_arrow(columns=[""]), "no such column of the features: ''"),
        (lambda lake: lake.features_arrow(columns=["path"] * 2), "give each column once"),
        (lambda lake: lake.version([1]), r"as_of=\[1\]: give a string or an integer"),
        (lambda lake: lake.prune(keep="1"), "keep='1': give an integer or None"),
        (lambda lake: lake.prune(keep=True), "keep=True: give an integer or None"),
        (lambda lake: lake.prune(older_than=5), "older_than=5: give a string or a timedelta"),
        (lambda lake: lake.prune(keep=1, dry_run="yes"), "dry_run='yes': give True or False"),
        (lambda lake: lake.pca("id"), "refit='id': give an instance of RefitRow"),
        (lambda lake: lake.pca(None), "refit=None: give an instance of RefitRow"),
        (lambda lake: lake.reduced_arrow(0), "refit=0: give an instance of RefitRow or None"),
        (lambda lake: lake.query(None), "sql=None: give a string"),
        (lambda lake: lake.query("SELECT 1", timeout="5"), "timeout='5': give a number"),
        (lambda lake: lake.query("SELECT 1", timeout=True), "timeout=True: give a number"),
        (lambda lake: lake.query("\ud800"), "is not valid Unicode"),
        (lambda lake: lake.similar(1), "location=1: give a string or a path"),
        (lambda lake: lake.similar("a\0b"), "contains a null character"),
        (lambda lake: lake.similar("a.jpg", top="3"), "top='3': give an integer"),
        (lambda lake: lake.duplicates(at_least="0.5"), "at_least='0.5': give a number"),
        (lambda lake: lake.duplicates(top=1.5), "top=1.5: give an integer"),
        (lambda lake: lake.duplicates(label=1), "label=1: give a string or None"),
        (lambda lake: lake.duplicates(label="\udce9"), r"--label \\xe9: no such label"),
        (lambda lake: lake.diff(None), "one=None: give a string or an integer"),
        (lambda lake: lake.diff(0, 1.5), "other=1.5: give a string or an integer"),
        (lambda lake: lake.diff(0, images="yes"), "images='yes': give True or False"),
        (lambda lake: lake.export(1), "location=1: give a string or a path"),
        (lambda lake: lake.export("a.csv", label=1), "label=1: give a string or None"),
        (lambda lake: lake.export("a.csv", label="\udce9"), r"--label \\xe9: no such label"),
        (lambda lake: lake.export("a\0.csv"), "contains a null character"),
        (lambda lake: pomona.refit(1), "location=1: give a string or a path"),
        (lambda lake: pomona.refit("lake", 1), "options=1: give an instance of RefitOptions"),
        (lambda lake: pomona.RefitOptions(1), "fit=1: give an instance of FitOptions"),
        (lambda lake: pomona.RefitOptions(as_of=1.5), "as_of=1.5: give a string or an integer"),
        (lambda lake: pomona.RefitOptions(fit_on=1), "fit_on=1: give a string or a path or None"),
        (lambda lake: pomona.RefitOptions(full="yes"), "full='yes': give True or False"),
        (lambda lake: pomona.RefitOptions(drift=None), "drift=None: give an instance of"),
        (lambda lake: pomona.RefitOptions(baseline=1), "baseline=1: give a string or None"),
        (lambda lake: pomona.DriftThresholds(angle="1"), "angle='1': give a number"),
        (lambda lake: pomona.IngestSettings(once=1), "once=1: give True or False"),
        (lambda lake: pomona.IngestSettings(trigger="5"), "trigger='5': give a number or None"),
        (lambda lake: pomona.IngestSettings(settle=None), "settle=None: give a number"),
        (lambda lake: pomona.IngestSettings(max_pixels=1.5), "max_pixels=1.5: give an integer"),
        (lambda lake: pomona.IngestSettings(weights=1), "weights=1: give a string or a path"),
        (lambda lake: pomona.IngestSettings(engine=1), "engine=1: give a string or None"),
        (lambda lake: pomona.IngestSettings(device=None), "device=None: give a string"),
        (lambda lake: pomona.IngestSettings(include=None), "include=None: give a list of strings"),
        (lambda lake: pomona.IngestSettings(include="*.jpg"), r"include='\*.jpg': give a list of"),
        (lambda lake: pomona.IngestSettings(exclude=[1]), r"exclude=\[1\]: give a list of strings"),
        (lambda lake: pomona.IngestSettings(cloudwatch=1), "cloudwatch=1: give a string or None"),
        (lambda lake: pomona.IngestSettings().trigger_seconds(1), "location=1: give a string or"),
        (lambda lake: pomona.ingest(1, "lake"), "location=1: give a string or a path"),
        (lambda lake: pomona.ingest("a", "b", 1), "settings=1: give an instance of IngestSettings"),
        (lambda lake: pomona.ingest("a", "b", on_batch=None), "on_batch=None: give a function"),
        (lambda lake: pomona.ingest("a", "b", stop_event=1), "stop_event=1: give an instance of"),
        (lambda lake: pomona.ingest("a", "b", on_stage=1), "on_stage=1: give a function"),
        (lambda lake: pca(3).transform(np.array([["a", "b", "c"]])), "are of type <U1: give real"),
        (lambda lake: pca(3).transform(np.zeros(3)), r"have shape \(3,\): give \(n, 3\)"),
        (lambda lake: pca(3).transform(pd.DataFrame({"features": [[1], [1, 2]]})), "is not an arr"),
        (lambda lake: pca(3).transform(pa.table({"features": ["a"]})), "give lists of numbers"),
        (lambda lake: pca(3).transform(pa.table({"features": [[1.0], None]})), "is not an array"),
        (lambda lake: pca(3).transform_spark(1), "rows=1: give an instance of DataFrame"),
    ],
)
def test_wrong_types_are_one_line(lake_of_three: Any, call: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        call(lake_of_three)
    assert "\n" not in str(error.value)


def test_scalars_of_numpy_and_datetimes_are_accepted(
    lake_of_three: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_cache_folder(monkeypatch, tmp_path / "cache")
    result = lake_of_three.duplicates(at_least=np.float32(0.5), top=np.int64(1), as_of=np.int64(0))
    assert result.version == 0
    assert lake_of_three.version(datetime.now(UTC)) == lake_of_three.version("latest") == 0
    assert lake_of_three.prune(keep=np.int64(2), dry_run=np.True_).dry_run is True
    settings = pomona.IngestSettings(once=np.True_, max_pixels=np.int64(5), weights=Path("a.h5"))  # type: ignore[arg-type]
    assert settings.once is True
    assert type(settings.max_pixels) is int
    assert settings.trigger_seconds(tmp_path) == 5
    assert settings.trigger_seconds("s3://bucket/images") == 60
    options = pomona.RefitOptions(as_of=1, fit_on=tmp_path)
    assert json.loads(options.as_json())["fit_on"] == f"file:{tmp_path}"
