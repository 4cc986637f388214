"""Check whether a refit would equal an earlier one: same rows, same parameters."""

from __future__ import annotations

from collections.abc import Sequence

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from batch_pca.refits.catalog import RefitRow
from batch_pca.stats.change_feed import change_feed
from streaming.delta.log import Version
from streaming.lake.layout import Lake


def find_unchanged(
    spark: SparkSession,
    earlier: list[RefitRow],
    version: int,
    options: str,
    commits: Sequence[Version] = (),
) -> RefitRow | None:
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
    if any(c.metadata.get("pomona") and c.changed_rows for c in between):
        return False
    try:
        return change_feed(spark, lake, one, other).isEmpty()
    except (PySparkException, Py4JError):  # its files are vacuumed away: nobody can tell any more
        return False
