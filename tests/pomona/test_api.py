"""Tests for `pomona.open_lake`: the rows that Spark and delta-rs read, and the scores of the published pipeline."""

from __future__ import annotations

import shutil
from pathlib import Path

import deltalake
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from pyspark.ml import PipelineModel
from pyspark.sql import SparkSession

import pomona
from streaming.errors import LakeError, SnapshotError, UsageError
from support.lakes.deltars_lakes import create_deltars_lake, random_images, use_cache_folder
from support.lakes.feature_lakes import Images
from support.lakes.query_lakes import QueryLake

pytestmark = pytest.mark.spark


def test_features_equal_table_version_in_every_format(
    query_lake: QueryLake, spark: SparkSession
) -> None:
    lake = pomona.open_lake(str(query_lake.folder))
    committed = query_lake.refits[0].features_timestamp
    for as_of, number in ((None, 3), (2, 2), ("2", 2), (committed.isoformat(), 2)):
        table = deltalake.DeltaTable(query_lake.folder / "features", version=number)
        expected_rows = table.to_pyarrow_table().sort_by("path")
        assert lake.version(as_of) == number
        assert (
            lake.features_arrow(as_of=as_of).sort_by("path").to_pylist()
            == expected_rows.to_pylist()
        )
        frame = lake.features_pandas(as_of=as_of, columns=["label", "path"]).sort_values("path")
        assert frame["label"].tolist() == expected_rows["label"].to_pylist()
        rows = lake.features(as_of=as_of).orderBy("path").collect()
        assert [row.path for row in rows] == expected_rows["path"].to_pylist()
        assert [list(row.features) for row in rows] == expected_rows["features"].to_pylist()
    assert (
        lake.features_arrow(columns=["path", "features"]).schema.field("path").type == pa.string()
    )


def test_features_of_empty_lake_have_no_rows(tmp_path: Path) -> None:
    rows = random_images(3, 8)
    lake = create_deltars_lake(tmp_path / "lake", Images([], [], rows.vectors[:0]))
    table = pomona.open_lake(lake.root).features_arrow(columns=["path", "length"])
    assert (table.num_rows, table.column_names) == (0, ["path", "length"])


def test_refits_are_sorted_oldest_first(query_lake: QueryLake) -> None:
    lake = pomona.open_lake(str(query_lake.folder))
    assert [refit.refit_id for refit in lake.refits()] == [
        refit.refit_id for refit in query_lake.refits
    ]
    assert lake.latest_pca().refit.refit_id == query_lake.refits[1].refit_id


def test_transform_equals_published_pipeline(query_lake: QueryLake, spark: SparkSession) -> None:
    lake = pomona.open_lake(str(query_lake.folder))
    for refit in query_lake.refits:
        pca = lake.pca(refit)
        assert pca.components.shape == (refit.components, pca.projection.mean.size)
        assert tuple(pca.explained_variance_ratio) == refit.explained_variance_ratio
        model = PipelineModel.load(refit.folder.pipeline)
        rows = lake.features_arrow(as_of=refit.features_version).sort_by("path")
        scores = pca.transform(rows)
        vectors = np.stack(rows["features"].to_numpy())
        scaler, reducer = model.stages
        expected = (vectors - scaler.mean.toArray()) / np.where(
            scaler.std.toArray() > 0, scaler.std.toArray(), 1
        )
        np.testing.assert_allclose(scores, expected @ reducer.pc.toArray(), atol=1e-9)
        np.testing.assert_allclose(pca.transform(vectors), scores)
        np.testing.assert_allclose(pca.transform(rows.to_pandas()), scores)
        by_spark = pca.transform_spark(lake.features(as_of=refit.features_version)).orderBy("path")
        reduced = [row.reduced.toArray() for row in by_spark.select("reduced").collect()]
        np.testing.assert_allclose(scores, reduced, atol=1e-9)
        published = lake.reduced_arrow(refit)
        files = pyarrow.parquet.read_table(refit.folder.parquet.removeprefix("file:"))
        assert published.to_pylist() == files.sort_by("path").to_pylist()
        np.testing.assert_allclose(scores, np.stack(published["reduced"].to_numpy()), atol=1e-9)
    assert lake.reduced_arrow().num_rows == 60
    with pytest.raises(UsageError, match=r"give \(n, 64\)"):
        lake.latest_pca().transform(np.zeros((2, 3)))


def test_transform_spark_loads_no_published_pipeline(query_lake: QueryLake, tmp_path: Path) -> None:
    """Spark ML would import and call the class that the metadata of a published pipeline names."""
    folder = shutil.copytree(query_lake.folder, tmp_path / "lake")
    lake = pomona.open_lake(str(folder))
    pca = lake.latest_pca()
    for metadata in Path(pca.refit.folder.pipeline.removeprefix("file:")).rglob("part-*"):
        metadata.write_text('{"class": "os.abort", "uid": "a", "paramMap": {}}\n')
    assert pca.transform_spark(lake.features()).select("reduced").count() == 60
    shutil.rmtree(pca.refit.folder.pipeline.removeprefix("file:"))
    assert pca.transform_spark(lake.features()).select("reduced").count() == 60


def test_query_and_similar_use_version(
    query_lake: QueryLake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    use_cache_folder(monkeypatch, tmp_path / "cache")
    lake = pomona.open_lake(str(query_lake.folder))
    frame = lake.query("SELECT count(*) AS n FROM features VERSION AS OF 2")
    assert isinstance(frame, pd.DataFrame)
    assert frame["n"].tolist() == [40]
    result = lake.similar(query_lake.first.paths[0], top=3, as_of=2)
    assert (len(result.neighbors), result.rows) == (3, 40)


def test_missing_lake_or_refit_raises(tmp_path: Path) -> None:
    with pytest.raises(LakeError, match="is not a lake"):
        pomona.open_lake(str(tmp_path))
    lake = pomona.open_lake(create_deltars_lake(tmp_path / "lake", random_images(3, 8)).root)
    with pytest.raises(SnapshotError, match="has no refit yet: run `pomona refit"):
        lake.latest_pca()
    assert lake.refits() == []
    assert repr(lake) == f"pomona.open_lake('file:{tmp_path}/lake')"


@pytest.mark.spark
def test_package_exports_ingest_and_refit() -> None:
    import batch_pca
    import streaming.ingest

    assert pomona.ingest is streaming.ingest.ingest
    assert pomona.refit is batch_pca.refit
    settings = pomona.IngestSettings(once=True)
    assert (settings.once, pomona.RefitOptions(pomona.FitOptions(components=3)).fit.components) == (
        True,
        3,
    )
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = pomona.nothing
