"""Tests for `streaming.delta.time_travel`: the work grows in proportion to the number of commits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import deltalake
import pyarrow as pa
import pytest

from streaming.delta.time_travel import oldest_complete_version

COMMITS = 8


@pytest.fixture
def table(tmp_path: Path) -> str:
    """A table of 8 versions; version 3 removes the files of versions 0 to 2."""
    for number in range(COMMITS):
        deltalake.write_deltalake(
            str(tmp_path),
            pa.table({"path": [f"{number}.jpg"]}),
            mode="overwrite" if number == 3 else "append",
        )
    return f"file:{tmp_path}"


class CountedList(list[int]):
    """A list that counts how often it is iterated over."""

    iterations = 0

    def __iter__(self) -> Iterator[int]:
        self.iterations += 1
        return super().__iter__()


def test_versions_are_iterated_over_once_to_find_the_oldest_complete_one(table: str) -> None:
    versions = CountedList(range(COMMITS))
    assert oldest_complete_version(table, versions) == 0
    assert versions.iterations == 1
    for file in Path(table.removeprefix("file:")).glob("*.parquet"):
        file.unlink()
    assert oldest_complete_version(table, versions) == 3
