"""A lake looked at from outside, with delta-rs: what every kill must leave as it is, and what must hold in the end."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import deltalake

from streaming.lake.layout import Lake
from streaming.storage.interface import Storage, StoredFile
from streaming.storage.local import LocalStorage

_COLUMNS = ["path", "content_hash"]


@dataclass
class LakeChecker:
    """Looks at a lake again and again.

    Parameters
    ----------
    lake : Lake
    source : str
        Normalized URI of the images.
    options : mapping
        How delta-rs reaches it.
    storage : Storage
        How its files are read.
    """

    lake: Lake
    source: str
    options: Mapping[str, str] = field(default_factory=dict)
    storage: Storage = field(default_factory=LocalStorage)
    _seen: set[str] = field(default_factory=set)

    def rows(self, location: str) -> dict[str, str]:
        """The hash of each image of a table, by its name; none may be there twice."""
        log = self.storage.list(f"{location}/_delta_log")
        if not any(file.path.endswith(".json") for file in log):
            return {}
        found = self._table(location).to_pyarrow_table(columns=_COLUMNS).to_pylist()
        counts = Counter(row["path"] for row in found)
        assert not [path for path, count in counts.items() if count > 1], location
        return {row["path"].removeprefix(f"{self.source}/"): row["content_hash"] for row in found}

    def assert_consistent(self) -> tuple[dict[str, str], dict[str, str]]:
        """Both tables, at any moment: nothing twice in one, and nothing gone that was there before."""
        tables = self.rows(self.lake.features), self.rows(self.lake.quarantine)
        there = tables[0].keys() | tables[1].keys()
        assert self._seen <= there, self._seen - there
        self._seen |= there
        for location in (self.lake.features, self.lake.quarantine, self.lake.refits):
            self._log_is_whole(location)
        return tables

    def assert_rows(self, good: Mapping[str, str], bad: Mapping[str, str]) -> None:
        """In the end: each image in the one table where it belongs, as it is now."""
        features, quarantine = self.assert_consistent()
        assert not features.keys() & quarantine.keys()
        assert features == good
        assert quarantine == bad

    def assert_checkpoint_complete(self) -> None:
        """All that the stream planned it has noted as done; each of its files says what it should."""
        batches: dict[str, set[int]] = {"offsets": set(), "commits": set()}
        for file in self._newest_checkpoint():
            of, _, name = file.path.rpartition("/")
            if re.fullmatch(r"\d+(\.compact)?", name):
                version, *lines = self.storage.read(file.path).decode().splitlines()
                assert version in ("v1", "v2"), file.path
                assert all(line == "-" or json.loads(line) is not None for line in lines)
                batches.setdefault(of.rpartition("/")[2], set()).add(int(name.split(".")[0]))
        offsets, commits = batches["offsets"], batches["commits"]
        assert max(offsets) == max(commits)
        # Spark deletes what is a hundred batches old, one by one.
        recent = set(range(max(0, max(commits) - 50), max(commits) + 1))
        assert offsets & recent == commits & recent == recent

    def _newest_checkpoint(self) -> list[StoredFile]:
        """The files of the checkpoint that was written to last; on S3 each term of the lease has its own."""
        root = f"{self.lake.root}/checkpoints/"
        files: dict[str, list[StoredFile]] = defaultdict(list)
        for file in self.storage.list(root.rstrip("/")):
            files[file.path.removeprefix(root).split("/")[0]].append(file)
        return max(files.values(), key=lambda of: max(file.modified_ms for file in of))

    def assert_refits_complete(self) -> int:
        """Every folder below ``reduced/`` is published, and every published one is there; how many."""
        below = [
            file.path.removeprefix(f"{self.lake.reduced}/")
            for file in self.storage.list(self.lake.reduced)
        ]
        assert not [path for path in below if path.endswith("_unpublished.json")]
        folders = {path.split("/")[0] for path in below}
        table = self._table(self.lake.refits).to_pyarrow_table(columns=["refit_id", "rows"])
        published = {row["refit_id"]: row["rows"] for row in table.to_pylist()}
        assert folders == published.keys()
        for refit, rows in published.items():
            csv = self.storage.read(f"{self.lake.reduced}/{refit}/reduced.csv")
            assert len(csv.splitlines()) == rows + 1
            assert f"{refit}/report.html" in below
        return len(published)

    def _table(self, location: str) -> deltalake.DeltaTable:
        uri = location.removeprefix("file:").replace("s3a:", "s3:")
        return deltalake.DeltaTable(uri, storage_options=dict(self.options))

    def _log_is_whole(self, location: str) -> None:
        names = [file.path for file in self.storage.list(f"{location}/_delta_log")]
        found = [re.search(r"/(\d{20})\.json$", name) for name in names]
        numbers = sorted(int(match[1]) for match in found if match)
        assert numbers == list(range(len(numbers))), location
