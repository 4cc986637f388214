"""The table of contents of the refits: what was published, of which rows, and whether it still is the same."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from batch_pca.changes import change_feed
from batch_pca.publish import Folder
from streaming.commit import Writer
from streaming.delta_rs import open_table, rows_of
from streaming.lake import Lake, is_table
from streaming.schemas import REFITS
from streaming.table_log import Version
from streaming.turns import turn

#: Columns that are attributes of a refit as they are.
_PLAIN = [name for name in REFITS.names if name not in ("components", "explained_variance_ratio")]


@dataclass(frozen=True)
class PublishedRefit:
    """One row of ``refits/``; the columns are described in `streaming.schemas.REFITS`.

    Attributes
    ----------
    is_new : bool
        Whether this call made it.
    limited_by_rows : bool
        Whether the number of rows, not the data, limits the components; known where it is new.
    statistics_remark : str
        What was read for the statistics, and why, for people; known where it is new.
    phases : dict of str to float
        Seconds of ``statistics``, ``decomposition`` and ``publishing``; known where it is new.
    """

    refit_id: str
    lake: Lake
    features_version: int
    features_timestamp: datetime
    model_id: str
    options: str
    rows: int
    rows_fitted: int
    explained_variance_ratio: tuple[float, ...]
    created_at: datetime
    pomona_version: str
    seconds: float = 0.0
    is_new: bool = True
    limited_by_rows: bool = False
    statistics: str | None = None
    statistics_from: str | None = None
    statistics_remark: str = ""
    phases: Mapping[str, float] = field(default_factory=dict)

    @property
    def components(self) -> int:
        """Number of components kept."""
        return len(self.explained_variance_ratio)

    @property
    def explained(self) -> float:
        """Share of the variance that the components kept explain, 0 to 1."""
        return sum(self.explained_variance_ratio)

    @property
    def folder(self) -> Folder:
        """Where its files are."""
        return Folder(f"{self.lake.reduced}/{self.refit_id}")

    @property
    def facts(self) -> tuple[tuple[str, str], ...]:
        """Lineage, for people."""
        asked = {key: value for key, value in json.loads(self.options).items() if value is not None}
        return (
            (
                "Features",
                f"version {self.features_version} of {self.features_timestamp:%Y-%m-%d %H:%M:%S} UTC",
            ),
            ("Rows", f"{self.rows:,} transformed, {self.rows_fitted:,} fitted"),
            ("Model", self.model_id),
            ("Asked for", ", ".join(f"{key} {value}" for key, value in asked.items())),
            ("Made", f"{self.created_at:%Y-%m-%d %H:%M:%S} UTC by Pomona {self.pomona_version}"),
        )


def published(lake: Lake) -> list[PublishedRefit]:
    """All refits of a lake, oldest first; read without Spark."""
    if not is_table(lake.refits):
        return []
    rows = rows_of(open_table(lake.refits), "*")
    found = [
        PublishedRefit(
            lake=lake,
            is_new=False,
            explained_variance_ratio=tuple(row["explained_variance_ratio"]),
            # Lakes of earlier versions of Pomona lack some columns.
            **{name: row[name] for name in _PLAIN if name in row},
        )
        for row in rows
    ]
    return sorted(found, key=lambda made: made.created_at)


def commit_refit(spark: SparkSession, made: PublishedRefit) -> None:
    """Append the row: from here on the refit counts."""
    values = {
        **{name: getattr(made, name) for name in REFITS.names},
        "explained_variance_ratio": list(made.explained_variance_ratio),
    }
    rows = spark.createDataFrame([tuple(values[name] for name in REFITS.names)], REFITS.ddl)
    remarks = {"refit": made.refit_id, "features_version": made.features_version}
    with turn(made.lake.refits):
        Writer(spark, made.lake.refits, remarks).upsert(rows, known=False)


def find_unchanged(
    spark: SparkSession,
    earlier: list[PublishedRefit],
    version: int,
    options: str,
    commits: Sequence[Version] = (),
) -> PublishedRefit | None:
    """The refit with these options of the version nearest to `version`, if the rows it saw are the same.

    One whose folder somebody has removed does not count. `commits` are the last of the table, see `same_rows`.
    """
    same = [made for made in reversed(earlier) if made.options == options]
    nearest = min(same, key=lambda made: abs(made.features_version - version), default=None)
    if nearest is None or not nearest.folder.exists():
        return None
    unchanged = same_rows(spark, nearest.lake, nearest.features_version, version, commits)
    return nearest if unchanged else None


def same_rows(
    spark: SparkSession, lake: Lake, one: int, other: int, commits: Sequence[Version] = ()
) -> bool:
    """Whether no row changed between two versions: an OPTIMIZE or a new property is no change.

    Where a commit of Pomona's among `commits` says that it changed rows, the change feed need not be asked.
    """
    if one == other:
        return True
    low, high = sorted((one, other))
    between = (commit for commit in commits if low < commit.number <= high)
    if any(c.told.get("pomona") and (c.added or c.removed or c.replaced) for c in between):
        return False
    try:
        return change_feed(spark, lake, one, other).isEmpty()
    except (PySparkException, Py4JError):  # its files are vacuumed away: nobody can tell any more
        return False


def aligned_with(
    earlier: list[PublishedRefit], model_id: str, version: int
) -> PublishedRefit | None:
    """The refit whose signs a new one takes over: of the same model, on the latest version up to this one."""
    candidates = [
        made for made in earlier if made.model_id == model_id and made.features_version <= version
    ]
    # A look back (--as-of) made meanwhile must not flip the plot of the night.
    return max(reversed(candidates), key=lambda made: made.features_version, default=None)
