"""A lake of random features with two refits, for tests of queries."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batch_pca.pca.fit import FitOptions
from batch_pca.refit import RefitOptions, refit
from batch_pca.refits.catalog import RefitRow
from streaming.lake.layout import Lake, create_tables
from support.lakes.feature_lakes import WIDTH, Images, commit, images, new_lake


@dataclass(frozen=True, eq=False)
class QueryLake:
    """A lake with `first` at version 2 of the features and `first` and `second` at version 3; each has a refit."""

    lake: Lake
    first: Images
    second: Images
    refits: tuple[RefitRow, RefitRow]

    @property
    def folder(self) -> Path:
        """Local path of the lake."""
        return Path(self.lake.root.removeprefix("file:"))

    def tree(self) -> dict[str, int]:
        """Return all files and folders of the lake with their modification times."""
        return {str(file): file.stat().st_mtime_ns for file in self.folder.rglob("*")}


def create_query_lake(spark: Any, folder: Path | str) -> QueryLake:
    """Create a lake in a folder whose name has characters that are special in SQL and URIs."""
    lake = new_lake(spark, f"{folder}/My 100% 'lake'")
    create_tables(spark, lake, WIDTH)
    first, second = images(40, 1), images(20, 2)
    refits = []
    for rows, k in ((first, 2), (second, 3)):
        commit(spark, lake, rows)
        refits.append(refit(lake.root, RefitOptions(FitOptions(components=k))).row)
    return QueryLake(lake, first, second, (refits[0], refits[1]))
