"""Check a lake with delta-rs, independently of Spark: invariants after every kill, and the final content."""

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
    """Checks the invariants of a lake repeatedly.

    Parameters
    ----------
    lake : Lake
    source : str
        Normalized URI of the images.
    options : mapping
        Storage options of delta-rs.
    storage : Storage
        Storage with which the files are read.
    """

    lake: Lake
    source: str
    options: Mapping[str, str] = field(default_factory=dict)
    storage: Storage = field(default_factory=LocalStorage)
    _seen: set[str] = field(default_factory=set)

    def rows(self, location: str) -> dict[str, str]:
        """Return the content hash of each image in a table by name; fail if an image is duplicated."""
        log = self.storage.list(f"{location}/_delta_log")
        if not any(file.path.endswith(".json") for file in log):
            return {}
        found = self._table(location).to_pyarrow_table(columns=_COLUMNS).to_pylist()
        counts = Counter(row["path"] for row in found)
        assert not [path for path, count in counts.items() if count > 1], location
        return {row["path"].removeprefix(f"{self.source}/"): row["content_hash"] for row in found}

    def assert_consistent(self) -> tuple[dict[str, str], dict[str, str]]:
        """Return the rows of both tables; fail if a table has duplicates or a row seen earlier is missing."""
        tables = self.rows(self.lake.features), self.rows(self.lake.quarantine)
        found = tables[0].keys() | tables[1].keys()
        assert self._seen <= found, self._seen - found
        self._seen |= found
        for location in (self.lake.features, self.lake.quarantine, self.lake.refits):
            self._assert_log_complete(location)
        return tables

    def assert_rows(self, good: Mapping[str, str], bad: Mapping[str, str]) -> None:
        """Fail unless each image is in exactly the right table with its current content."""
        features, quarantine = self.assert_consistent()
        assert not features.keys() & quarantine.keys()
        assert features == good
        assert quarantine == bad

    def assert_checkpoint_complete(self) -> None:
        """Fail unless every planned batch is committed and every checkpoint file is valid."""
        batches: dict[str, set[int]] = {"offsets": set(), "commits": set()}
        for file in self._newest_checkpoint():
            folder, _, name = file.path.rpartition("/")
            if re.fullmatch(r"\d+(\.compact)?", name):
                version, *lines = self.storage.read(file.path, None).decode().splitlines()
                assert version in ("v1", "v2"), file.path
                assert all(line == "-" or json.loads(line) is not None for line in lines)
                batches.setdefault(folder.rpartition("/")[2], set()).add(int(name.split(".")[0]))
        offsets, commits = batches["offsets"], batches["commits"]
        assert max(offsets) == max(commits)
        # Spark deletes entries older than a hundred batches one by one.
        recent = set(range(max(0, max(commits) - 50), max(commits) + 1))
        assert offsets & recent == commits & recent == recent

    def _newest_checkpoint(self) -> list[StoredFile]:
        """Return the files of the most recently written checkpoint; on S3 each lease term has its own."""
        root = f"{self.lake.root}/checkpoints/"
        files: dict[str, list[StoredFile]] = defaultdict(list)
        for file in self.storage.list(root.rstrip("/")):
            files[file.path.removeprefix(root).split("/")[0]].append(file)
        return max(files.values(), key=lambda listed: max(file.modified_ms for file in listed))

    def assert_refits_complete(self) -> int:
        """Fail unless the folders in ``reduced/`` are exactly the published refits; return their number."""
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
            csv = self.storage.read(f"{self.lake.reduced}/{refit}/reduced.csv", None)
            assert len(csv.splitlines()) == rows + 1
            assert f"{refit}/report.html" in below
        return len(published)

    def _table(self, location: str) -> deltalake.DeltaTable:
        uri = location.removeprefix("file:").replace("s3a:", "s3:")
        return deltalake.DeltaTable(uri, storage_options=dict(self.options))

    def _assert_log_complete(self, location: str) -> None:
        names = [file.path for file in self.storage.list(f"{location}/_delta_log")]
        found = [re.search(r"/(\d{20})\.json$", name) for name in names]
        numbers = sorted(int(match[1]) for match in found if match)
        assert numbers == list(range(len(numbers))), location
