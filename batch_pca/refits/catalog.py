"""The catalog of refits: a Delta table with one row per published refit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pyspark.sql import SparkSession

from batch_pca.refits.folder import AbandonedFolder, RefitFolder, find_abandoned
from streaming import __version__
from streaming.delta.commit_lock import commit_lock
from streaming.delta.reader import open_table, query_rows, quote_literal
from streaming.delta.tables import create_frame, is_table
from streaming.delta.writer import Writer
from streaming.errors import LakeError
from streaming.lake.format_version import rename_keys
from streaming.lake.layout import Lake
from streaming.lake.schemas import REFITS, RENAMED_REFITS_COLUMNS
from streaming.storage.documents import (
    InvalidDocumentError,
    Optional,
    Schema,
    Values,
    parse_document,
)

# Columns that are attributes of RefitRow under the same name and without conversion.
_PLAIN_COLUMNS = [
    name for name in REFITS.names if name not in ("components", "explained_variance_ratio")
]


@dataclass(frozen=True)
class RefitRow:
    """One row of the ``refits/`` table, and the lake it belongs to.

    The columns are documented in `streaming.lake.schemas.REFITS`. Columns that the table of an older lake lacks
    are None.

    Examples
    --------
    >>> import pomona
    >>> refit = pomona.open_lake("./lake").refits()[-1]
    >>> refit.rows, refit.rows_fitted
    (8, 8)
    """

    refit_id: str
    lake: Lake
    features_version: int
    features_timestamp: datetime
    model_id: str
    parameters: str
    rows: int
    rows_fitted: int
    explained_variance_ratio: tuple[float, ...]
    created_at: datetime
    pomona_version: str
    seconds: float = 0.0
    statistics: str | None = None
    statistics_from: str | None = None
    drift_from: str | None = None
    drift_angle: float | None = None
    drift_shift: float | None = None
    drift_labels: str | None = None
    drift_exceeded: str | None = None
    scheduled: bool | None = None
    drift_new_labels: str | None = None
    drift_vanished_labels: str | None = None
    drift_limits: str | None = None

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
        """Explained variance ratio of all kept components, 0 to 1.

        Examples
        --------
        >>> import pomona
        >>> 0 < pomona.open_lake("./lake").refits()[-1].explained < 1
        True
        """
        return sum(self.explained_variance_ratio)

    @property
    def fit_on(self) -> str | None:
        """Path prefix of the rows that were fitted; None if all rows were fitted."""
        fit_on: str | None = self.parse("parameters", {"fit_on": Optional(str)}).get("fit_on")
        return fit_on

    @property
    def label_shifts(self) -> dict[str, float]:
        """Drift of the mean of each label, in standard deviations, largest first; empty without a baseline."""
        shifts: dict[str, float] = self.parse("drift_labels", Values(float))
        return shifts

    @property
    def new_labels(self) -> dict[str, int]:
        """Rows of each label that the baseline does not have, most rows first; empty without a baseline."""
        counts: dict[str, int] = self.parse("drift_new_labels", Values(int))
        return counts

    @property
    def vanished_labels(self) -> dict[str, int]:
        """Rows that the baseline has of each label that this refit does not have, most rows first."""
        counts: dict[str, int] = self.parse("drift_vanished_labels", Values(int))
        return counts

    def parse(self, column: str, schema: Schema = dict) -> dict[str, Any]:
        """Return the JSON object in a column, empty if it is NULL; LakeError if it has another shape."""
        try:
            found: dict[str, Any] = parse_document(getattr(self, column) or "{}", schema)
        except InvalidDocumentError as error:
            raise LakeError(
                f"{self.lake.refits}: {column} of refit {self.refit_id} is broken ({error}): restore an earlier "
                "version of this table"
            ) from error
        return found

    @property
    def folder(self) -> RefitFolder:
        """The folder with the files of the refit."""
        return RefitFolder.of(self.lake, self.refit_id)


def read_refits(lake: Lake) -> list[RefitRow]:
    """Read all refits of a lake, oldest first, without Spark; LakeError if the lake does not exist (any more)."""
    if not is_table(lake.refits):
        lake.check_exists()
        return []
    refits = [
        RefitRow(
            lake=lake,
            explained_variance_ratio=tuple(row["explained_variance_ratio"]),
            # Lakes of older versions of Pomona lack some columns.
            **{name: row[name] for name in _PLAIN_COLUMNS if name in row},
        )
        for row in (
            rename_keys(row, RENAMED_REFITS_COLUMNS)
            for row in query_rows(open_table(lake.refits), "*")
        )
    ]
    return sorted(refits, key=lambda row: row.created_at)


def read_refits_and_abandoned(lake: Lake) -> tuple[list[RefitRow], list[AbandonedFolder]]:
    """Read all refits, oldest first, and find the folders that `remove_abandoned` deletes or completes.

    Of the published refits, only the latest can be one that was killed after its commit: the refit that follows it
    completes its folder.
    """
    refits = read_refits(lake)
    abandoned = find_abandoned(lake, {row.refit_id for row in refits[:-1]})
    # Read again: a refit may have been published before its folder was found.
    return (read_refits(lake) if abandoned else refits), abandoned


def commit_refit(spark: SparkSession, row: RefitRow) -> None:
    """Append the row to the catalog; this commit publishes the refit."""
    values = {
        **{name: getattr(row, name) for name in REFITS.names},
        "explained_variance_ratio": list(row.explained_variance_ratio),
    }
    rows = create_frame(spark, [tuple(values[name] for name in REFITS.names)], REFITS.ddl)
    metadata = {"refit": row.refit_id, "features_version": row.features_version}
    with commit_lock(row.lake.refits):
        Writer(spark, row.lake.refits, metadata).upsert(rows, merge=False)


def delete_rows(lake: Lake, refit_ids: Sequence[str]) -> None:
    """Delete rows from the catalog, in one commit and without Spark; earlier versions of the table keep them."""
    from deltalake import CommitProperties, PostCommitHookProperties

    ids = ", ".join(map(quote_literal, refit_ids))
    metadata = json.dumps({"pomona": __version__, "removed": list(refit_ids)})
    with commit_lock(lake.refits):
        # Only Spark writes checkpoints of the log, and deletes its old files.
        open_table(lake.refits).delete(
            f"refit_id IN ({ids})",
            commit_properties=CommitProperties({"userMetadata": metadata}),
            post_commithook_properties=PostCommitHookProperties(False, False),
        )


def find_sign_reference(
    refits: list[RefitRow],
    model_id: str,
    version: int,
    parameters: str = "",
    superseded_at: datetime | None = None,
) -> RefitRow | None:
    """Find the refit whose component signs a new refit adopts, so that consecutive plots do not flip.

    It has the same model and the latest features version up to `version`. A refit of `version` itself with the same
    parameters comes first: repeating it must give the same signs.

    Parameters
    ----------
    refits : list of RefitRow
        Candidates, oldest first.
    model_id : str
        Model of the rows to fit.
    version : int
        Features version to fit.
    parameters : str
        `RefitOptions.as_json` of the new refit.
    superseded_at : datetime, optional
        Commit time of the next features version. Refits made before it are preferred: a refit run at that time
        would have used one of them.
    """
    candidates = [
        row for row in refits if row.model_id == model_id and row.features_version <= version
    ]

    def rank(row: RefitRow) -> tuple[bool, bool, int]:
        """Order candidates: the same refit first, then refits of that time, then the latest version."""
        repeated = row.features_version == version and row.parameters == parameters
        # A refit with --as-of made in the meantime must not flip the next scheduled plot.
        made_then = superseded_at is None or row.created_at < superseded_at
        return repeated, made_then, row.features_version

    return max(reversed(candidates), key=rank, default=None)
