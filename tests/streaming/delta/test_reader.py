"""Tests for `streaming.delta.reader`: tables at unusual paths, and panics of delta-rs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import deltalake
import pyarrow as pa
import pytest

from pomona.queries.session import translate_read_errors
from streaming.delta import reader as module
from streaming.delta.reader import existing_paths, open_table, query_rows, read_change_feed
from streaming.errors import LakeError
from streaming.lake.layout import Lake
from streaming.spark.errors import translate_errors

NAMES = (
    *("fruit (v2)", "a*b?c", "{a,b}", "#a", "10:30", "a;b", "$HOME", "'a'", '"a"'),
    *(
        " a b ",
        "été",
        "e\u0301",
        "🍎",
        "100%",
        "%zz",
        "a+b",
        "a&b=c",
        "@",
        "~",
        "a<b>",
        "\u202ea",
        "a\xa0",
    ),
)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of two versions; delta-rs cannot write to each path that it can read."""
    table = tmp_path_factory.mktemp("table")
    configuration = {"delta.enableChangeDataFeed": "true"}
    deltalake.write_deltalake(str(table), pa.table({"a": [1]}), configuration=configuration)
    deltalake.write_deltalake(str(table), pa.table({"a": [2]}), mode="append")
    return table


@pytest.mark.parametrize("name", NAMES)
def test_tables_at_unusual_paths_are_read(written: Path, tmp_path: Path, name: str) -> None:
    lake = Lake.at(str(tmp_path / name))
    shutil.copytree(written, tmp_path / name / "features")
    opened = open_table(lake.features)
    assert sorted(row["a"] for row in query_rows(opened, "a")) == [1, 2]
    assert query_rows(open_table(lake.features, 0), "a") == [{"a": 1}]
    (batch,) = read_change_feed(opened, 0, ["a"])
    assert batch.column("a").to_pylist() == [2]


@pytest.mark.parametrize("translate", [translate_errors, translate_read_errors])
def test_panic_of_delta_rs_becomes_one_line(tmp_path: Path, translate: Any) -> None:
    expected = pytest.raises(LakeError, match=r"delta-rs cannot read.*Invalid object store")
    with expected as caught, translate():
        deltalake.write_deltalake(str(tmp_path / "fruit [v2]"), pa.table({"a": [1]}))
    assert "\n" not in str(caught.value)


def test_paths_are_looked_up_in_one_query(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [f"file:/x/{name}/caf\\xe9 \\x5c.jpg" for name in NAMES]
    for part in (paths[:10], paths[10:]):
        deltalake.write_deltalake(str(tmp_path), pa.table({"path": part}), mode="append")
    others = [paths[0].upper(), paths[0].encode().decode("unicode_escape"), "file:/x/a%"]
    location, query = Lake.at(str(tmp_path)).root, Mock(wraps=module.query)
    monkeypatch.setattr(module, "query", query)
    for known in (paths[:2], paths[::2], paths):
        query.reset_mock()
        assert existing_paths(location, [*known, *others, *known]) == set(known)
        assert query.call_count == 1
        # From the second time on, the condition would have too many paths.
        monkeypatch.setattr(module, "_MAX_PATHS_IN_CONDITION", 5)
    assert existing_paths(location, []) == set()
    assert existing_paths(f"{location}/none", paths) == set()
