"""Write to Delta tables idempotently: upserts by path that a replay cannot duplicate, with commit metadata."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

from delta.tables import DeltaTable
from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from streaming import __version__
from streaming.delta.external_files import check_files
from streaming.delta.log import Version, read_commits_backwards
from streaming.delta.reader import open_table
from streaming.delta.tables import create_frame
from streaming.delta.throughput import STARTED
from streaming.storage.interface import TransientError

log = logging.getLogger(__name__)

_METADATA = "spark.databricks.delta.commitInfo.userMetadata"
# Deletes of more paths than this use a merge with a temporary table instead of an IN condition.
_MAX_PATHS_IN_CONDITION = 1000
# Commits of other writers that may follow a commit before it is looked up.
_COMMITS_TO_SEARCH = 16
# A conflict with OPTIMIZE of another process, in the name or message of an exception. Delta 4.0 has no Python classes
# for conflicts.
_OPTIMIZE_CONFLICT = re.compile(
    r"Concurrent(Append|DeleteRead|DeleteDelete)Exception.*OPTIMIZE", re.DOTALL
)
# Attempts to commit while another process runs OPTIMIZE.
_MAX_ATTEMPTS = 5


@dataclass(frozen=True)
class BatchId:
    """Identifies a part of a micro-batch.

    Parameters
    ----------
    query : str, optional
        Id of the streaming query, which changes with the checkpoint; None outside a stream.
    number : int
        Number of the micro-batch.
    part : int
        Index of the part.
    """

    query: str | None
    number: int
    part: int = 0


#: For files that the stream does not deliver. They are compared with the tables first, so no id is needed to make
#: this idempotent.
SWEEP = BatchId(None, -1)


def prepare_commit(spark: SparkSession, location: str) -> None:
    """Let Delta rebuild the state of a table now: the next commit needs its transaction ids.

    This takes most of a second, so do it while nothing waits for it. If it is not done, or fails because another
    release of Delta has other method names, the commit does it.
    """
    try:
        _cached_snapshot(spark, location).setTransactions()
    except Py4JError as error:
        log.debug("%s: the table state was not prepared (%s)", location, error)


def last_transaction_version(spark: SparkSession, location: str, app_id: str) -> int | None:
    """Return the last transaction version of an application ID in a table; None if there is none.

    Delta ignores commits of this application up to that version. The value is read from Delta's cached table state,
    or by delta-rs if another release of Delta has other method names.
    """
    try:
        option = _cached_snapshot(spark, location).transactions().get(app_id)
        number: int | None = option.get() if option.isDefined() else None
    except Py4JError as error:
        log.debug("%s: transactions are read with delta-rs (%s)", location, error)
        number = open_table(location).transaction_version(app_id)
    return number


def _cached_snapshot(spark: SparkSession, location: str) -> Any:
    """Return Delta's cached state of a table; Py4JError if another release of Delta has other method names."""
    jvm: Any = spark._jvm
    delta_log = jvm.org.apache.spark.sql.delta.DeltaLog.forTable(spark._jsparkSession, location)
    return delta_log.unsafeVolatileSnapshot()


def _merge(table: DeltaTable, rows: DataFrame) -> None:
    merge = table.alias("old").merge(rows.alias("new"), "old.path = new.path")
    merge.whenMatchedUpdateAll().whenNotMatchedInsertAll().execute()


def _merge_deleted(table: DeltaTable, deleted: DataFrame) -> None:
    merge = table.alias("old").merge(deleted.alias("deleted"), "old.path = deleted.path")
    merge.whenMatchedDelete().execute()


@dataclass(frozen=True)
class Writer:
    """Commits to one table for one micro-batch; `metadata` is stored with each commit (``userMetadata``).

    A delete that follows names neither source nor start: the commit of the rows is the one that counts as the batch.
    """

    spark: SparkSession
    location: str
    metadata: Mapping[str, Any]
    batch: BatchId = SWEEP

    def upsert(self, rows: DataFrame, *, merge: bool) -> None:
        """Append rows, or merge them by path (required if the table already has rows for some of the paths)."""
        key = self._idempotency_key()
        if merge:
            session = {f"spark.databricks.delta.write.{name}": value for name, value in key.items()}
            with self._session_settings(session):
                self._repeat_after_optimize(lambda table: _merge(table, rows))
            return
        writer = (
            rows.write.format("delta").mode("append").option("userMetadata", self._user_metadata)
        )
        writer.options(**key).save(self.location)

    def find_commit(self) -> Version | None:
        """Return the commit of `upsert`, with its number of rows and its duration; None if it is not found."""
        try:
            newest = int(_cached_snapshot(self.spark, self.location).version())
        except Py4JError as error:
            log.debug("%s: the version is read with delta-rs (%s)", self.location, error)
            newest = open_table(self.location).version()
        own = json.loads(self._user_metadata)
        try:
            commits = islice(read_commits_backwards(self.location, newest), _COMMITS_TO_SEARCH)
            return next((commit for commit in commits if commit.metadata == own), None)
        except (OSError, TransientError) as error:
            log.debug("%s: the commit is not read (%s)", self.location, error)
            return None

    def delete(self, paths: list[str]) -> None:
        """Delete the rows with these paths, in one commit. Idempotent."""
        with self._session_settings({_METADATA: self._encode_metadata("source", STARTED)}):
            if len(paths) <= _MAX_PATHS_IN_CONDITION:
                self._repeat_after_optimize(lambda table: table.delete(F.col("path").isin(paths)))
                return
            import pandas as pd  # takes half a second, and few commits need it

            deleted = create_frame(self.spark, pd.DataFrame({"path": paths}), "path string")
            self._repeat_after_optimize(lambda table: _merge_deleted(table, deleted))

    def _repeat_after_optimize(self, change: Callable[[DeltaTable], None]) -> None:
        """Change the table, again if OPTIMIZE has replaced files in the meantime that the change had read.

        OPTIMIZE changes no rows. A conflict with any other commit is raised.
        """
        for attempt in range(1, _MAX_ATTEMPTS + 1):
            check_files(self.location)
            try:
                change(DeltaTable.forPath(self.spark, self.location))
            except (PySparkException, Py4JError) as error:
                text = f"{type(error).__name__}: {error}"
                if attempt == _MAX_ATTEMPTS or not _OPTIMIZE_CONFLICT.search(text):
                    raise
                log.info("%s: committing again after a concurrent OPTIMIZE", self.location)
            else:
                return

    def _idempotency_key(self) -> dict[str, str]:
        """Return the options that make Delta ignore a repeated commit, or one of a writer that was replaced.

        Each part of a batch has its own application id.
        """
        if self.batch.query is None:
            return {}
        return {"txnAppId": self._app_id(self._part), "txnVersion": str(self.batch.number)}

    def _app_id(self, part: int) -> str:
        return f"pomona/{self.batch.query}" + (f"/{part}" if part else "")

    @cached_property
    def _part(self) -> int:
        """The first part index, starting at the batch's own, that Delta would not ignore as a repetition.

        The rows to write are known to be missing from the tables. An earlier commit with the same batch number was
        an attempt with other files, or was made before the checkpoint lost its last batches and reused their numbers.
        """
        part = self.batch.part
        while self.batch.query is not None and self._is_committed(part):
            part += 1
        return part

    def _is_committed(self, part: int) -> bool:
        number = last_transaction_version(self.spark, self.location, self._app_id(part))
        return number is not None and number >= self.batch.number

    @property
    def _user_metadata(self) -> str:
        return self._encode_metadata()

    def _encode_metadata(self, *without: str) -> str:
        batch = {
            "pomona": __version__,
            "query": self.batch.query,
            "batch": self.batch.number,
            "part": self._part,
        }
        metadata = batch | dict(self.metadata)
        return json.dumps({key: metadata[key] for key in metadata if key not in without})

    @contextmanager
    def _session_settings(self, settings: Mapping[str, str]) -> Iterator[None]:
        """Pass idempotency key and metadata through session settings, and unset them afterwards."""
        settings = {_METADATA: self._user_metadata, **settings}
        for key, value in settings.items():
            self.spark.conf.set(key, value)
        try:
            yield
        finally:
            for key in settings:
                self.spark.conf.unset(key)
