"""Tests for `streaming.delta.time_travel`: the work grows in proportion to the number of commits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import deltalake
import pyarrow as pa
import pytest

from streaming.delta import log
from streaming.delta.log import Commit
from streaming.delta.time_travel import available_commits, commit_times, oldest_complete_version

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


@pytest.fixture
def read_numbers(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets the number of each commit that is read."""
    numbers, content = list[int](), Commit.content

    def record(commit: Commit) -> bytes:
        numbers.append(commit.number)
        return content(commit)

    monkeypatch.setattr(Commit, "content", record)
    return numbers


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


def test_times_are_read_without_the_contents_of_all_commits(
    table: str, read_numbers: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "_CHUNK", 2)
    versions = log.read_versions(available_commits(table))
    for number, version in enumerate(versions):
        assert version.number == number
        assert len(read_numbers) <= number + 2
    assert list(commit_times(table)) == list(range(COMMITS))
