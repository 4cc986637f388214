"""The catalog of refits: a Delta table with one row per published refit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from pyspark.sql import SparkSession

from batch_pca.refits.folder import Folder
from streaming.delta.commit_lock import commit_lock
from streaming.delta.reader import open_table, query_rows
from streaming.delta.tables import is_table
from streaming.delta.writer import Writer
from streaming.lake.layout import Lake
from streaming.lake.schemas import REFITS

#: Columns that are attributes of a refit as they are.
_PLAIN = [name for name in REFITS.names if name not in ("components", "explained_variance_ratio")]


@dataclass(frozen=True)
class RefitRow:
    """One row of ``refits/``; the columns are described in `streaming.lake.schemas.REFITS`.

    Attributes
    ----------
    is_new : bool
        Whether this call made it.
    limited_by_rows : bool
        Whether the number of rows, not the data, limits the components; known where it is new.
    statistics_remark : str
        What was read for the statistics, and why, for people; known where it is new.
    as_of : str
        Which version the words meant, for people; known where there were any.
    phases : dict of str to float
        Seconds of ``statistics``, ``decomposition`` and ``publishing``; known where it is new.

    Examples
    --------
    >>> import pomona
    >>> refit = pomona.open_lake("./lake").refits()[-1]
    >>> refit.rows, refit.rows_fitted, refit.is_new
    (8, 8, False)
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
    as_of: str = ""
    phases: Mapping[str, float] = field(default_factory=dict)
    drift_from: str | None = None
    drift_angle: float | None = None
    drift_largest_angle: float | None = None
    drift_shift: float | None = None
    drift_labels: str | None = None
    drift_passed: str | None = None

    @property
    def components(self) -> int:
        """Number of components kept.

        Examples
        --------
        >>> import pomona
        >>> pomona.open_lake("./lake").refits()[-1].components
        3
        """
        return len(self.explained_variance_ratio)

    @property
    def explained(self) -> float:
        """Share of the variance that the components kept explain, 0 to 1.

        Examples
        --------
        >>> import pomona
        >>> 0 < pomona.open_lake("./lake").refits()[-1].explained < 1
        True
        """
        return sum(self.explained_variance_ratio)

    @property
    def fit_on(self) -> str | None:
        """The prefix below which the rows fitted lie; None where all were."""
        asked: str | None = json.loads(self.options).get("fit_on")
        return asked

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
            ("Drift", self.drift_told),
            ("Made", f"{self.created_at:%Y-%m-%d %H:%M:%S} UTC by Pomona {self.pomona_version}"),
        )

    @property
    def labels_moved(self) -> dict[str, float]:
        """How far each label's mean has moved, the furthest first; empty where nothing was compared."""
        moved: dict[str, float] = json.loads(self.drift_labels or "{}")
        return moved

    @property
    def drift_told(self) -> str:
        """What has moved since an earlier refit, for people."""
        if self.drift_from is None:
            return "no earlier refit to compare with"
        told = (
            f"since {self.drift_from}: the subspace turned by {self.drift_angle:.1f}° "
            f"(largest principal angle {self.drift_largest_angle:.1f}°), "
            f"the mean moved by {self.drift_shift:.2f} standard deviations"
        )
        labels = self.labels_moved
        label, furthest = next(iter(labels.items()), ("", 0.0))
        return f"{told}, that of {label} the furthest, by {furthest:.2f}" if labels else told


def published(lake: Lake) -> list[RefitRow]:
    """All refits of a lake, oldest first; read without Spark."""
    if not is_table(lake.refits):
        return []
    rows = query_rows(open_table(lake.refits), "*")
    found = [
        RefitRow(
            lake=lake,
            is_new=False,
            explained_variance_ratio=tuple(row["explained_variance_ratio"]),
            # Lakes of earlier versions of Pomona lack some columns.
            **{name: row[name] for name in _PLAIN if name in row},
        )
        for row in rows
    ]
    return sorted(found, key=lambda made: made.created_at)


def commit_refit(spark: SparkSession, made: RefitRow) -> None:
    """Append the row: from here on the refit counts."""
    values = {
        **{name: getattr(made, name) for name in REFITS.names},
        "explained_variance_ratio": list(made.explained_variance_ratio),
    }
    rows = spark.createDataFrame([tuple(values[name] for name in REFITS.names)], REFITS.ddl)
    remarks = {"refit": made.refit_id, "features_version": made.features_version}
    with commit_lock(made.lake.refits):
        Writer(spark, made.lake.refits, remarks).upsert(rows, merge=False)


def aligned_with(
    earlier: list[RefitRow],
    model_id: str,
    version: int,
    options: str = "",
    until: datetime | None = None,
) -> RefitRow | None:
    """The refit whose signs a new one takes over: of the same model, on the latest version up to this one.

    Parameters
    ----------
    earlier : list of RefitRow
        Oldest first.
    model_id : str
    version : int
        Of the features, that is fitted.
    options : str
        What is asked. A refit of this very version with the same is the one to be had again.
    until : datetime, optional
        When the version after it was committed: refits made before that are those which a refit then would have
        followed, so they go before those made since.
    """
    candidates = [
        made for made in earlier if made.model_id == model_id and made.features_version <= version
    ]

    def order(made: RefitRow) -> tuple[bool, bool, int]:
        again = made.features_version == version and made.options == options
        # A look back (--as-of) made meanwhile must not flip the plot of the night.
        return again, until is None or made.created_at < until, made.features_version

    return max(reversed(candidates), key=order, default=None)
