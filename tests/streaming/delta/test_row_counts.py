"""Tests for `streaming.delta.row_counts`: every version is counted by delta-rs or Spark as well."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pyspark
import pytest

from streaming.delta import row_counts
from streaming.delta.row_counts import CountedVersion, count_changes, count_rows
from support.lakes.feature_lakes import delta


def rows(start: int, stop: int) -> pa.Table:
    return pa.table({"a": list(range(start, stop)), "b": ["x"] * (stop - start)})


def rewrite_log(table: str, number: int, change: Any) -> None:
    """Apply a function to each action of a commit."""
    file = Path(table, "_delta_log", f"{number:020}.json")
    actions = [json.loads(line) for line in file.read_text().splitlines()]
    changed = [action for action in map(change, actions) if action]
    file.write_text("".join(json.dumps(action) + "\n" for action in changed))


def without_metrics(action: dict[str, Any]) -> dict[str, Any]:
    """Remove what the protocol does not require."""
    action.get("commitInfo", {}).pop("operationMetrics", None)
    return action


def without_statistics(action: dict[str, Any]) -> dict[str, Any]:
    action.get("add", {}).pop("stats", None)
    return action


def counts(found: CountedVersion) -> tuple[int, int, int]:
    return found.version.added, found.version.replaced, found.version.removed


def check(table: str, found: list[CountedVersion], totals: list[int]) -> None:
    """Assert that the counts are those of a count of all rows, consistent and never negative."""
    assert [counted.total for counted in found] == totals
    before = totals[0] - found[0].version.added + found[0].version.removed
    for counted in found:
        added, replaced, removed = counts(counted)
        assert min(added, replaced, removed) >= 0, counted
        assert counted.total == before + added - removed, counted
        before = counted.total


@pytest.fixture
def table(tmp_path: Path) -> str:
    """Ten rows, overwrite of four, update, delete, restore, append, compaction, merge, delete, append, overwrite."""
    location = str(tmp_path / "table")
    deltalake.write_deltalake(location, rows(0, 10))
    deltalake.write_deltalake(location, rows(1, 3), mode="overwrite", predicate="a < 4")
    deltalake.DeltaTable(location).update(updates={"a": "a + 100"}, predicate="a > 7")
    deltalake.DeltaTable(location).delete("a = 5")
    deltalake.DeltaTable(location).restore(0)
    deltalake.write_deltalake(location, rows(20, 25), mode="append")
    deltalake.DeltaTable(location).optimize.compact()
    merge = deltalake.DeltaTable(location).merge(
        rows(8, 12), "new.a = old.a", source_alias="new", target_alias="old"
    )
    merge.when_matched_update_all().when_not_matched_insert_all().execute()
    deltalake.DeltaTable(location).delete()
    deltalake.write_deltalake(location, rows(0, 3), mode="append")
    deltalake.write_deltalake(location, rows(0, 2), mode="overwrite")
    return location


def totals_by_delta_rs(table: str, first: int = 0) -> list[int]:
    last = deltalake.DeltaTable(table).version()
    return [delta(table, number).to_pyarrow_table().num_rows for number in range(first, last + 1)]


EXPECTED = [
    *((10, 0, 0), (2, 0, 4), (0, 2, 0), (0, 0, 1), (10, 0, 7), (5, 0, 0), (0, 0, 0)),
    *((2, 2, 0), (0, 0, 17), (3, 0, 0), (2, 0, 3)),
]


def test_versions_by_delta_rs_are_counted(table: str) -> None:
    found = list(count_rows(f"file:{table}"))
    check(table, found, totals_by_delta_rs(table))
    assert [counts(counted) for counted in found] == EXPECTED
    assert list(count_rows(f"file:{table}", 4)) == found[:5]


@pytest.mark.parametrize("change", [without_metrics, without_statistics])
def test_metrics_and_statistics_are_not_needed(table: str, change: Any) -> None:
    totals = totals_by_delta_rs(table)
    for number in range(len(totals)):
        rewrite_log(table, number, change)
    check(table, list(count_rows(f"file:{table}")), totals)


def test_commits_without_commit_info_are_counted(table: str) -> None:
    totals = totals_by_delta_rs(table)
    for number in range(len(totals)):
        rewrite_log(table, number, lambda action: None if "commitInfo" in action else action)
    check(table, list(count_rows(f"file:{table}")), totals)


def test_missing_statistics_and_files_give_no_total(table: str) -> None:
    rewrite_log(table, 0, without_statistics)
    for file in Path(table).glob("*.parquet"):
        file.unlink()
    found = list(count_rows(f"file:{table}"))
    totals = [counted.total for counted in found]
    assert totals == [None, 8, 8, 7, 10, 15, 15, 17, 0, 3, 2]


def test_truncated_log_is_counted_from_its_checkpoint(table: str) -> None:
    deltalake.DeltaTable(table, version=5).create_checkpoint()
    for number in range(5):
        Path(table, "_delta_log", f"{number:020}.json").unlink()
    found = list(count_rows(f"file:{table}"))
    assert [counted.version.number for counted in found] == list(range(5, 11))
    check(table, found, totals_by_delta_rs(table, 5))


def test_changes_between_versions_are_summed(table: str) -> None:
    for after, until in ((0, 4), (3, 10), (5, 5)):
        expected = tuple(
            sum(column) for column in zip(*EXPECTED[after + 1 : until + 1], strict=True)
        )
        assert count_changes(f"file:{table}", after, until) == (expected or (0, 0, 0))
    assert count_changes(f"file:{table}", 99, 100) is None


class CountedRows(int):
    """A number of rows that counts how often any is added to a sum."""

    additions = 0

    def __radd__(self, other: int) -> int:
        CountedRows.additions += 1
        return other + int(self)


def test_commit_costs_its_own_files_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commits = 20
    for number in range(commits):
        deltalake.write_deltalake(str(tmp_path), rows(number, number + 1), mode="append")
    monkeypatch.setattr(row_counts, "_rows_of", lambda *_: CountedRows(1))
    monkeypatch.setattr(CountedRows, "additions", 0)
    found = list(count_rows(f"file:{tmp_path}"))
    assert [counted.total for counted in found] == list(range(1, commits + 1))
    assert commits <= CountedRows.additions <= 3 * commits


# Statements that older versions of Delta Lake run only on tables of a catalog, by the version of Spark.
_OF_A_CATALOG = {"3.5": ("CREATE OR REPLACE", "TRUNCATE"), "4.0": ("TRUNCATE",)}


@pytest.mark.long
@pytest.mark.spark
def test_versions_by_spark_are_counted(spark: Any, tmp_path: Path) -> None:
    location = f"{tmp_path}/my table"
    name = f"delta.`{location}`"
    for text in (
        f"CREATE TABLE {name} (a INT, b STRING) USING delta "
        "TBLPROPERTIES ('delta.enableChangeDataFeed' = 'true')",
        f"INSERT INTO {name} SELECT id, 'x' FROM range(20)",
        f"UPDATE {name} SET b = 'y' WHERE a < 3",
        f"DELETE FROM {name} WHERE a >= 17",
        f"MERGE INTO {name} o USING (SELECT id AS a, 'z' AS b FROM range(15, 30)) n ON o.a = n.a "
        "WHEN MATCHED THEN UPDATE SET * WHEN NOT MATCHED THEN INSERT * "
        "WHEN NOT MATCHED BY SOURCE AND o.a < 2 THEN DELETE",
        f"INSERT OVERWRITE {name} SELECT id, 'o' FROM range(5)",
        f"INSERT INTO {name} REPLACE WHERE a < 2 SELECT id, 'r' FROM range(1)",
        f"RESTORE TABLE {name} TO VERSION AS OF 4",
        f"OPTIMIZE {name}",
        f"DELETE FROM {name}",
        f"RESTORE TABLE {name} TO VERSION AS OF 1",
        f"CREATE OR REPLACE TABLE {name} USING delta AS SELECT id AS a, 'n' AS b FROM range(7)",
        f"TRUNCATE TABLE {name}",
    ):
        if text.startswith(_OF_A_CATALOG.get(pyspark.__version__[:3], ())):
            continue
        spark.sql(text)
    totals = totals_by_delta_rs(location)
    found = list(count_rows(f"file:{location}"))
    check(location, found, totals)
    assert [counts(counted) for counted in found[1:5]] == [
        (20, 0, 0),
        (0, 3, 0),
        (0, 0, 3),
        (13, 2, 2),
    ]
