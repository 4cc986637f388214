"""Tests for `pomona query`: the rows that delta-rs finds too, as a table, CSV or JSON, and nothing changed."""

from __future__ import annotations

import csv
import io
from collections import Counter
from datetime import datetime
from pathlib import Path

import pyarrow.parquet
import pytest
from pyspark.sql import SparkSession

from support.cli import Command
from support.deltars_lakes import create_deltars_lake, random_images
from support.feature_lakes import LABELS, WRITTEN, delta
from support.query_lakes import QueryLake

pytestmark = pytest.mark.spark


@pytest.fixture
def pomona(
    query_lake: QueryLake,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Command:
    monkeypatch.chdir(tmp_path)
    return Command(monkeypatch, capsys)


def test_rows_are_counted_as_delta_rs_counts_them(pomona: Command, query_lake: QueryLake) -> None:
    by_label = "SELECT label, count(*) AS images FROM features{} GROUP BY label"
    for version, words in ((None, ""), (2, " VERSION AS OF 2")):
        told = pomona("query", query_lake.folder, by_label.format(words), "--json").json
        labels = delta(query_lake.lake.features, version).to_pyarrow_table(columns=["label"])
        assert {row["label"]: row["images"] for row in told} == Counter(labels["label"].to_pylist())


def test_a_version_is_found_by_its_time_too(pomona: Command, query_lake: QueryLake) -> None:
    at = query_lake.refits[0].features_timestamp
    words = f"SELECT count(*) AS n FROM features TIMESTAMP AS OF '{at:%Y-%m-%d %H:%M:%S.%f}'"
    assert pomona("query", query_lake.folder, words, "--json").json == [
        {"n": len(query_lake.first.paths)}
    ]


def test_all_tables_are_asked_as_they_were(pomona: Command, query_lake: QueryLake) -> None:
    """The first refit was made while version 2 was the latest, the second one since."""
    words = (
        "SELECT (SELECT count(*) FROM features) AS features, (SELECT count(*) FROM quarantine) AS bad, "
        "(SELECT max(refit_id) FROM refits) AS refit, (SELECT count(*) FROM reduced) AS reduced"
    )
    one, two = query_lake.refits
    at = one.features_timestamp.isoformat()
    for as_of, refit, reduced in ((2, one, 40), (at, None, 0), (3, two, 100), ("latest", two, 100)):
        done = pomona("query", query_lake.folder, words, "--as-of", as_of, "--json")
        rows = (
            delta(query_lake.lake.features, 2 if reduced < 100 else 3).to_pyarrow_table().num_rows
        )
        expected = {"features": rows, "bad": 0, "refit": refit and refit.refit_id}
        assert done.json == [expected | {"reduced": reduced}], as_of
        assert done.err.startswith("as of  ")
    assert (
        pomona("query", query_lake.folder, words, "--as-of", "1", "--json").json[0]["features"] == 0
    )
    assert "as of  version 2" in pomona("query", query_lake.folder, words, "--as-of", 2).out
    for version in ("VERSION AS OF 1", "TIMESTAMP AS OF '2026-01-01'"):
        text = f"SELECT 1 FROM features {version}"
        refused = pomona("query", query_lake.folder, text, "--as-of", 2)
        assert refused.status == 2
        assert "--as-of and a version in the text: give one of the two" in refused.err
    assert "no version 9" in pomona("query", query_lake.folder, words, "--as-of", 9).complaint


def test_refits_and_the_reduced_rows_of_each(pomona: Command, query_lake: QueryLake) -> None:
    words = (
        "SELECT refit_id, size(reduced) AS k, count(*) AS n, sum(reduced[0]) AS total, components "
        "FROM reduced JOIN refits USING (refit_id) GROUP BY ALL ORDER BY k"
    )
    told = pomona("query", query_lake.folder, words, "--json").json
    assert [row["refit_id"] for row in told] == [made.refit_id for made in query_lake.refits]
    for row, made in zip(told, query_lake.refits, strict=True):
        expected = pyarrow.parquet.read_table(made.folder.parquet.removeprefix("file:"))
        scores = [values[0] for values in expected["reduced"].to_pylist()]
        assert (
            (row["n"], row["k"]) == (len(scores), made.components) == (row["n"], row["components"])
        )
        assert row["total"] == pytest.approx(sum(scores), abs=1e-9)


def test_a_refit_whose_folder_is_gone_has_no_reduced_rows(
    pomona: Command, query_lake: QueryLake
) -> None:
    folder = Path(query_lake.refits[0].folder.uri.removeprefix("file:"))
    away = folder.with_name("away")
    folder.rename(away)
    try:
        told = pomona("query", query_lake.folder, "SELECT DISTINCT refit_id FROM reduced", "--json")
        assert told.json == [{"refit_id": query_lake.refits[1].refit_id}]
        assert not folder.exists()
    finally:
        away.rename(folder)


def test_a_table_shows_text_as_it_is_and_long_cells_in_short(
    pomona: Command, query_lake: QueryLake
) -> None:
    words = "SELECT label AS `[b]`, features FROM features ORDER BY label LIMIT 3"
    lines = pomona("query", query_lake.folder, words).out.splitlines()
    assert lines[0].split() == ["[b]", "features"]
    assert len(lines) == 4
    assert all(line.startswith("Ananas") and line.rstrip().endswith("…") for line in lines[1:])
    assert all(len(line) < 100 for line in lines)


def test_a_table_says_where_it_does_not_show_all(pomona: Command, query_lake: QueryLake) -> None:
    lines = pomona("query", query_lake.folder, "SELECT * FROM range(101)").out.splitlines()
    assert lines[-2:] == ["99", "… the first 100 rows: --csv and --json print all, LIMIT fewer"]
    assert (
        len(pomona("query", query_lake.folder, "SELECT * FROM range(100)").out.splitlines()) == 101
    )


def test_csv_has_all_rows_and_harmless_text(pomona: Command, query_lake: QueryLake) -> None:
    words = "SELECT path, label, -length AS less, ingested_at, features FROM features ORDER BY path"
    found = list(
        csv.DictReader(io.StringIO(pomona("query", query_lake.folder, words, "--csv").out))
    )
    assert [row["path"] for row in found] == sorted(
        query_lake.first.paths + query_lake.second.paths
    )
    assert {row["label"] for row in found} == set(LABELS)
    assert {row["less"] for row in found} == {"-4711"}
    assert {datetime.fromisoformat(f"{row['ingested_at']}Z") for row in found} == {WRITTEN}
    words = "SELECT '=cmd()' AS a, -1.5 AS a, CAST(NULL AS INT) AS c, array('x', null) AS d"
    assert pomona("query", query_lake.folder, words, "--csv").out == (
        'a,a,c,d\n\'=cmd(),-1.5,,"[""x"",null]"\n'
    )


def test_json_keeps_types_and_nulls(pomona: Command, query_lake: QueryLake) -> None:
    words = "SELECT 1 AS a, NULL AS b, array(1.5D) AS c, true AS d, TIMESTAMP '2026-03-03 08:30:00' AS t"
    (row,) = pomona("query", query_lake.folder, words, "--json").json
    at = datetime.fromisoformat(row.pop("t"))
    assert (row, at) == ({"a": 1, "b": None, "c": [1.5], "d": True}, WRITTEN)
    assert pomona("query", query_lake.folder, "SELECT 1 WHERE false", "--json").json == []
    told = pomona("query", query_lake.folder, "SELECT 1 AS a, 2 AS a", "--json")
    assert (told.status, "two columns are called a" in told.complaint) == (2, True)


@pytest.mark.parametrize(
    ("text", "status", "told"),
    [
        ("DROP TABLE features", 2, "DropTable is not for a query of a lake"),
        ("SELECT * FROM text.`/etc/hosts`", 2, "the table text./etc/hosts"),
        ("SELECT nonsense FROM features", 2, "nonsense"),
        ("SELECT 1 FROM features VERSION AS OF 99", 2, "99"),
        # Of two lines in a row, and a plan behind them.
        ("SELECT 1 FROM features TIMESTAMP AS OF '1999-01-01'", 2, "available to this table"),
        ("SELECT CAST(label AS INT) FROM features", 1, "CAST_INVALID_INPUT"),
    ],
)
def test_a_mistake_is_one_line(
    pomona: Command, query_lake: QueryLake, text: str, status: int, told: str
) -> None:
    done = pomona("query", query_lake.folder, text)
    assert done.status == status
    assert told in done.complaint


def test_a_table_that_a_lake_lacks_is_told(tmp_path: Path, pomona: Command) -> None:
    create_deltars_lake(tmp_path / "plain", random_images(3, 8))
    for words in ((), ("--as-of", "0")):
        told = pomona("query", tmp_path / "plain", "SELECT * FROM refits", *words)
        assert told.status == 1
        assert "plain has no table refits: nothing has made it yet" in told.err
    found = pomona("query", tmp_path / "plain", "SELECT count(*) AS n FROM reduced", "--json")
    assert found.json == [{"n": 0}]


def test_a_query_changes_nothing_and_leaves_nothing(
    pomona: Command, query_lake: QueryLake, spark: SparkSession, tmp_path: Path
) -> None:
    before = query_lake.tree()
    for table in ("features", "quarantine", "refits", "reduced"):
        assert pomona("query", query_lake.folder, f"SELECT count(*) FROM {table}").status == 0
    assert query_lake.tree() == before
    assert list(tmp_path.iterdir()) == []
    names = {row.namespace for row in spark.sql("SHOW DATABASES").collect()}
    assert names == {"default"}


def test_two_formats_at_once_are_wrong_words(pomona: Command, query_lake: QueryLake) -> None:
    done = pomona("query", query_lake.folder, "SELECT 1", "--csv", "--json")
    assert (done.status, "give one of the two" in done.complaint) == (2, True)
