"""Tests for `batch_pca.refits.catalog` and `batch_pca.stats.unchanged`."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from batch_pca.refits.catalog import RefitRow, commit_refit, find_sign_reference, read_refits
from batch_pca.stats.unchanged import find_unchanged
from streaming.delta.tables import create_table
from streaming.errors import LakeError
from streaming.lake.history import same_rows
from streaming.lake.layout import Lake
from streaming.lake.schemas import REFITS, features_table
from streaming.maintenance.upgrade import upgrade_table
from support.lakes.feature_lakes import commit, delete, delta, images, new_lake

ROW = RefitRow(
    refit_id="20260303T083000Z-v2-abcd",
    lake=Lake("file:/no/such lake"),
    features_version=2,
    features_timestamp=datetime(2026, 3, 3, 8, 30, 0, 123_000, tzinfo=UTC),
    model_id="made-up",
    parameters='{"components": 2, "variance": null, "fit_on": null}',
    rows=30,
    rows_fitted=20,
    explained_variance_ratio=(0.5, 0.25),
    created_at=datetime(2026, 3, 4, 0, 0, 1, 456_000, tzinfo=UTC),
    pomona_version="0.1",
    seconds=12.5,
    statistics="incremental",
    statistics_from="20260302T083000Z-v1-abcd",
    drift_from="20260301T083000Z-v0-abcd",
    drift_angle=12.5,
    drift_shift=0.25,
    drift_labels='{"Fig": 0.5, "Kiwi": 0.125}',
    drift_exceeded="label Fig shifted by 0.50 standard deviations (threshold 0.4)",
    scheduled=True,
    drift_new_labels='{"Pear": 3}',
    drift_vanished_labels="{}",
    drift_limits='{"angle": 15, "shift": 0.5, "label": 0.4}',
)
#: Columns that tables of older versions of Pomona lack.
ADDED_COLUMNS = (
    "statistics",
    "statistics_from",
    "drift_from",
    "drift_angle",
    "drift_shift",
    "drift_labels",
    "drift_exceeded",
    "scheduled",
    "drift_new_labels",
    "drift_vanished_labels",
    "drift_limits",
)


def row_of(version: int, model_id: str = "made-up", **changes: Any) -> RefitRow:
    return replace(ROW, features_version=version, model_id=model_id, **changes)


def test_sign_reference_has_same_model_and_latest_version() -> None:
    refits = [row_of(5), row_of(3), row_of(9), row_of(6, "another")]
    # Not the refit of version 3, although it was made later.
    assert find_sign_reference(refits, "made-up", 8) is refits[0]
    assert find_sign_reference(refits, "made-up", 9) is refits[2]
    assert find_sign_reference(refits, "made-up", 4) is refits[1]
    assert find_sign_reference(refits, "another", 6) is refits[3]
    assert find_sign_reference(refits, "made-up", 2) is None
    assert find_sign_reference([], "made-up", 2) is None


def test_sign_reference_is_later_refit_of_same_version() -> None:
    refits = [row_of(5, rows=1), row_of(5, rows=2)]
    assert find_sign_reference(refits, "made-up", 5) is refits[1]


def test_sign_reference_prefers_repeated_and_contemporary_refits() -> None:
    day = datetime(2026, 3, 4, tzinfo=UTC)
    scheduled = row_of(3, created_at=day)
    with_as_of = row_of(4, parameters="other", created_at=day.replace(month=6))
    repeated = row_of(4, created_at=day.replace(month=5))
    superseded_at = day.replace(month=4)
    refits = [scheduled, repeated, with_as_of]
    assert find_sign_reference(refits, "made-up", 4, ROW.parameters, superseded_at) is repeated
    assert find_sign_reference(refits, "made-up", 4, "third", superseded_at) is scheduled
    assert find_sign_reference(refits, "made-up", 4, "third") is with_as_of  # the latest version
    assert (
        find_sign_reference([repeated, with_as_of], "made-up", 4, "third", superseded_at)
        is with_as_of
    )


def test_components_and_explained_variance_derive_from_the_ratios() -> None:
    assert (ROW.components, ROW.explained) == (2, 0.75)


@pytest.fixture(scope="module")
def lake(spark: Any, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Return a lake with the versions 2 rows, 3 property, 4 append, 5 OPTIMIZE, 6 delete, 7 merge of a known row."""
    lake = new_lake(spark, Path(tmp_path_factory.mktemp("catalog"), "My lake"))
    table = f"delta.`{lake.features}`"
    commit(spark, lake, images(6, seed=1))
    spark.sql(f"ALTER TABLE {table} SET TBLPROPERTIES ('team' = 'fruits')")
    commit(spark, lake, images(4, seed=2))
    spark.sql(f"OPTIMIZE {table}")
    delete(spark, lake, images(1, seed=2).paths)
    commit(spark, lake, images(1, seed=1), known=True)
    assert [row["operation"] for row in delta(lake.features).history()[:6]] == [
        "MERGE",
        "DELETE",
        "OPTIMIZE",
        "WRITE",
        "SET TBLPROPERTIES",
        "WRITE",
    ]
    return lake


@pytest.mark.spark
@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (1, 2, False),  # the first rows
        (2, 2, True),
        (2, 3, True),  # a property
        (3, 4, False),  # an append
        (4, 5, True),  # OPTIMIZE
        (5, 6, False),  # a delete
        (6, 7, False),  # a merge
        (3, 2, True),
        (5, 2, False),  # in reverse order
    ],
)
def test_same_rows_ignores_everything_but_rows(
    spark: Any, lake: Lake, one: int, other: int, same: bool
) -> None:
    assert same_rows(lake, one, other) is same


@pytest.mark.spark
def test_refit_is_unchanged_with_same_parameters_rows_and_existing_folder(
    spark: Any, lake: Lake
) -> None:
    old, last = (row_of(number, lake=lake, refit_id=f"made-of-{number}") for number in (2, 4))
    for refit in (old, last):
        refit.folder.write("report.html", b"")
    find = [find_unchanged([last, old], number, ROW.parameters) for number in (2, 3, 4, 5, 6)]
    assert find == [old, old, last, last, None]  # in any order
    assert find_unchanged([old, last], 4, ROW.parameters.replace("2", "3")) is None
    assert find_unchanged([old, replace(last, refit_id="deleted")], 4, ROW.parameters) is None


@pytest.mark.spark
def test_versions_with_vacuumed_feed_count_as_different(spark: Any, tmp_path: Path) -> None:
    lake = new_lake(spark, tmp_path)
    commit(spark, lake, images(2, seed=1))
    commit(spark, lake, images(2, seed=2))
    for file in Path(tmp_path, "features").glob("*.parquet"):
        file.unlink()
    assert not same_rows(lake, 2, 3)


@pytest.mark.spark
def test_committed_rows_are_read_oldest_first(spark: Any, tmp_path: Path) -> None:
    lake = Lake.at(str(tmp_path))
    with pytest.raises(LakeError, match="is not a lake"):
        read_refits(lake)
    create_table(spark, lake.features, features_table(64))
    assert read_refits(lake) == []
    create_table(spark, lake.refits, REFITS)
    assert read_refits(lake) == []
    refits = [
        row_of(3, lake=lake),
        replace(ROW, lake=lake, created_at=datetime(2026, 3, 1, tzinfo=UTC)),
    ]
    for refit in refits:
        commit_refit(spark, refit)
    assert read_refits(lake) == refits[::-1]
    row = delta(lake.refits).to_pyarrow_table().sort_by("created_at").to_pylist()[1]
    assert row == {
        "refit_id": ROW.refit_id,
        "features_version": 3,
        "features_timestamp": ROW.features_timestamp,
        "model_id": "made-up",
        "parameters": ROW.parameters,
        "rows": 30,
        "rows_fitted": 20,
        "components": 2,
        "explained_variance_ratio": [0.5, 0.25],
        "seconds": 12.5,
        "created_at": ROW.created_at,
        "pomona_version": "0.1",
        "statistics": "incremental",
        "statistics_from": "20260302T083000Z-v1-abcd",
        "drift_from": "20260301T083000Z-v0-abcd",
        "drift_angle": 12.5,
        "drift_shift": 0.25,
        "drift_labels": '{"Fig": 0.5, "Kiwi": 0.125}',
        "drift_exceeded": "label Fig shifted by 0.50 standard deviations (threshold 0.4)",
        "scheduled": True,
        "drift_new_labels": '{"Pear": 3}',
        "drift_vanished_labels": "{}",
        "drift_limits": '{"angle": 15, "shift": 0.5, "label": 0.4}',
    }


@pytest.mark.spark
def test_older_table_is_read_and_upgrade_adds_columns(spark: Any, tmp_path: Path) -> None:
    lake = Lake.at(str(tmp_path))
    create_table(spark, lake.refits, replace(REFITS, columns=REFITS.columns[: -len(ADDED_COLUMNS)]))
    values = {name: getattr(ROW, name) for name in REFITS.names[: -len(ADDED_COLUMNS)]}
    values["explained_variance_ratio"] = [0.5, 0.25]
    old = replace(REFITS, columns=REFITS.columns[: -len(ADDED_COLUMNS)])
    rows = spark.createDataFrame([tuple(values.values())], old.ddl)
    rows.write.format("delta").mode("append").save(lake.refits)
    before = replace(ROW, lake=lake, **dict.fromkeys(ADDED_COLUMNS))
    assert read_refits(lake) == [before]
    added = upgrade_table(spark, lake.refits, REFITS)[: len(ADDED_COLUMNS)]
    assert added == [f"refits: column {name}" for name in ADDED_COLUMNS]
    later = row_of(3, lake=lake, created_at=datetime(2026, 3, 5, tzinfo=UTC))
    commit_refit(spark, later)
    assert read_refits(lake) == [before, later]
    fields = {field.name: field for field in delta(lake.refits).schema().fields}
    comments = {column.name: column.comment for column in REFITS.columns}
    assert {fields[name].metadata["comment"] for name in ADDED_COLUMNS} == {
        comments[name] for name in ADDED_COLUMNS
    }
