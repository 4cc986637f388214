"""Which refits there are, which of them would come out the same, and whose signs a new one takes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from batch_pca.refits.catalog import RefitRow, commit_refit, find_sign_reference, read_refits
from batch_pca.stats.unchanged import find_unchanged
from streaming.delta.tables import create_table
from streaming.lake.history import same_rows
from streaming.lake.layout import Lake
from streaming.lake.schemas import REFITS
from streaming.maintenance.upgrade import upgrade_table
from support.feature_lakes import commit, delete, delta, images, new_lake

MADE = RefitRow(
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
    drift_largest_angle=80.25,
    drift_shift=0.25,
    drift_labels='{"Fig": 0.5, "Kiwi": 0.125}',
    drift_exceeded="label Fig shifted by 0.50 standard deviations (limit 0.4)",
)
LATER = ("statistics", "statistics_from")
LATER += (
    "drift_from",
    "drift_angle",
    "drift_largest_angle",
    "drift_shift",
    "drift_labels",
    "drift_exceeded",
)


def made(version: int, model_id: str = "made-up", **changes: Any) -> RefitRow:
    return replace(MADE, features_version=version, model_id=model_id, **changes)


def test_signs_are_those_of_the_same_model_on_the_latest_version_up_to_the_one_fitted() -> None:
    earlier = [made(5), made(3), made(9), made(6, "another")]
    assert (
        find_sign_reference(earlier, "made-up", 8) is earlier[0]
    )  # not the look back at 3 made since
    assert find_sign_reference(earlier, "made-up", 9) is earlier[2]
    assert find_sign_reference(earlier, "made-up", 4) is earlier[1]
    assert find_sign_reference(earlier, "another", 6) is earlier[3]
    assert find_sign_reference(earlier, "made-up", 2) is None
    assert find_sign_reference([], "made-up", 2) is None


def test_of_two_refits_of_one_version_the_later_gives_the_signs() -> None:
    earlier = [made(5, rows=1), made(5, rows=2)]
    assert find_sign_reference(earlier, "made-up", 5) is earlier[1]


def test_a_refit_had_again_takes_the_signs_that_it_had_and_others_those_made_before_the_next_version() -> (
    None
):
    day = datetime(2026, 3, 4, tzinfo=UTC)
    night = made(3, created_at=day)
    look_back = made(4, parameters="other", created_at=day.replace(month=6))
    again = made(4, created_at=day.replace(month=5))
    until = day.replace(month=4)
    earlier = [night, again, look_back]
    assert find_sign_reference(earlier, "made-up", 4, MADE.parameters, until) is again
    assert find_sign_reference(earlier, "made-up", 4, "third", until) is night
    assert find_sign_reference(earlier, "made-up", 4, "third") is look_back  # of the latest version
    assert find_sign_reference([again, look_back], "made-up", 4, "third", until) is look_back


def test_components_and_explained_variance_derive_from_the_ratios() -> None:
    assert (MADE.components, MADE.explained) == (2, 0.75)


@pytest.fixture(scope="module")
def lake(spark: Any, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Versions: 2 rows, 3 a property, 4 more rows, 5 OPTIMIZE, 6 a delete, 7 the same rows again."""
    lake = new_lake(spark, Path(tmp_path_factory.mktemp("catalog"), "My lake"))
    table = f"delta.`{lake.features}`"
    commit(spark, lake, images(6, seed=1))
    spark.sql(f"ALTER TABLE {table} SET TBLPROPERTIES ('team' = 'fruits')")
    commit(spark, lake, images(4, seed=2))
    spark.sql(f"OPTIMIZE {table}")
    delete(spark, lake, images(1, seed=2).paths)
    commit(spark, lake, images(1, seed=1), known=True)
    assert [row["operation"] for row in delta(lake.features).history()[:6]] == [
        *("MERGE", "DELETE", "OPTIMIZE", "WRITE", "SET TBLPROPERTIES", "WRITE")
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
        (5, 2, False),  # a look back
    ],
)
def test_only_rows_make_a_version_another(
    spark: Any, lake: Lake, one: int, other: int, same: bool
) -> None:
    assert same_rows(lake, one, other) is same


@pytest.mark.spark
def test_a_refit_is_unchanged_if_options_rows_and_folder_are_those_of_an_earlier_one(
    spark: Any, lake: Lake
) -> None:
    old, last = (made(number, lake=lake, refit_id=f"made-of-{number}") for number in (2, 4))
    for refit in (old, last):
        refit.folder.write("report.html", b"")
    find = [find_unchanged([last, old], number, MADE.parameters) for number in (2, 3, 4, 5, 6)]
    assert find == [old, old, last, last, None]  # whichever was made first
    assert find_unchanged([old, last], 4, MADE.parameters.replace("2", "3")) is None
    assert find_unchanged([old, replace(last, refit_id="gone")], 4, MADE.parameters) is None


@pytest.mark.spark
def test_where_vacuum_took_what_could_tell_a_version_counts_as_another(
    spark: Any, tmp_path: Path
) -> None:
    lake = new_lake(spark, tmp_path)
    commit(spark, lake, images(2, seed=1))
    commit(spark, lake, images(2, seed=2))
    for file in Path(tmp_path, "features").glob("*.parquet"):
        file.unlink()
    assert not same_rows(lake, 2, 3)


@pytest.mark.spark
def test_rows_of_the_table_come_back_as_they_were_committed_the_oldest_first(
    spark: Any, tmp_path: Path
) -> None:
    lake = Lake.at(str(tmp_path))
    assert read_refits(lake) == []
    create_table(spark, lake.refits, REFITS)
    assert read_refits(lake) == []
    refits = [
        made(3, lake=lake),
        replace(MADE, lake=lake, created_at=datetime(2026, 3, 1, tzinfo=UTC)),
    ]
    for refit in refits:
        commit_refit(spark, refit)
    assert read_refits(lake) == [*refits[::-1]]
    row = delta(lake.refits).to_pyarrow_table().sort_by("created_at").to_pylist()[1]
    assert row == {
        "refit_id": MADE.refit_id,
        "features_version": 3,
        "features_timestamp": MADE.features_timestamp,
        "model_id": "made-up",
        "parameters": MADE.parameters,
        "rows": 30,
        "rows_fitted": 20,
        "components": 2,
        "explained_variance_ratio": [0.5, 0.25],
        "seconds": 12.5,
        "created_at": MADE.created_at,
        "pomona_version": "0.1",
        "statistics": "incremental",
        "statistics_from": "20260302T083000Z-v1-abcd",
        "drift_from": "20260301T083000Z-v0-abcd",
        "drift_angle": 12.5,
        "drift_largest_angle": 80.25,
        "drift_shift": 0.25,
        "drift_labels": '{"Fig": 0.5, "Kiwi": 0.125}',
        "drift_exceeded": "label Fig shifted by 0.50 standard deviations (limit 0.4)",
    }


@pytest.mark.spark
def test_a_table_of_an_earlier_version_is_read_and_an_upgrade_gives_it_the_columns_it_lacks(
    spark: Any, tmp_path: Path
) -> None:
    lake = Lake.at(str(tmp_path))
    create_table(spark, lake.refits, replace(REFITS, columns=REFITS.columns[: -len(LATER)]))
    values = {name: getattr(MADE, name) for name in REFITS.names[: -len(LATER)]}
    values["explained_variance_ratio"] = [0.5, 0.25]
    old = replace(REFITS, columns=REFITS.columns[: -len(LATER)])
    rows = spark.createDataFrame([tuple(values.values())], old.ddl)
    rows.write.format("delta").mode("append").save(lake.refits)
    before = replace(MADE, lake=lake, **dict.fromkeys(LATER))
    assert read_refits(lake) == [before]
    added = upgrade_table(spark, lake.refits, REFITS)[: len(LATER)]
    assert added == [f"refits: column {name}" for name in LATER]
    later = made(3, lake=lake, created_at=datetime(2026, 3, 5, tzinfo=UTC))
    commit_refit(spark, later)
    assert read_refits(lake) == [before, later]
    fields = {field.name: field for field in delta(lake.refits).schema().fields}
    comments = {column.name: column.comment for column in REFITS.columns}
    assert {fields[name].metadata["comment"] for name in LATER} == {
        comments[name] for name in LATER
    }
