"""A lake of made-up features with two refits, to be asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batch_pca.pca.fit import FitOptions
from batch_pca.refit import RefitOptions, refit
from batch_pca.refits.catalog import RefitRow
from streaming.lake.layout import Lake, create_tables
from support.feature_lakes import WIDTH, Images, commit, images, new_lake


@dataclass(frozen=True, eq=False)
class QueryLake:
    """Features at version 2 (`first`) and 3 (both), each refitted."""

    lake: Lake
    first: Images
    second: Images
    refits: tuple[RefitRow, RefitRow]

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return Path(self.lake.root.removeprefix("file:"))

    def tree(self) -> dict[str, int]:
        """All that lies in it, with its time."""
        return {str(file): file.stat().st_mtime_ns for file in self.folder.rglob("*")}


def create_query_lake(spark: Any, folder: Path | str) -> QueryLake:
    """Make one; the name of its folder has whatever SQL and URIs could trip over."""
    lake = new_lake(spark, f"{folder}/My 100% 'lake'")
    create_tables(spark, lake, WIDTH)
    first, second = images(40, 1), images(20, 2)
    made = []
    for rows, k in ((first, 2), (second, 3)):
        commit(spark, lake, rows)
        made.append(refit(lake.root, RefitOptions(FitOptions(components=k))).row)
    return QueryLake(lake, first, second, (made[0], made[1]))
