"""Write to Delta tables idempotently: upserts by path that a replay cannot duplicate, with commit metadata."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd
from delta.tables import DeltaTable
from py4j.protocol import Py4JError
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from streaming import __version__
from streaming.delta.reader import open_table

log = logging.getLogger(__name__)

_METADATA = "spark.databricks.delta.commitInfo.userMetadata"
# Paths that a condition names; of more, a table is made.
_NAMED_AT_MOST = 1000


@dataclass(frozen=True)
class BatchId:
    """A part of a micro-batch: the streaming query (its id changes with the checkpoint), the number, and which
    part this is."""

    query: str | None
    number: int
    part: int = 0


#: Files that the stream does not deliver are taken outside of it; comparing with the tables makes that repeatable.
SWEEP = BatchId(None, -1)


def prepare_commit(spark: SparkSession, location: str) -> None:
    """Have Delta rebuild a table's state now, which the next commit asks for its transaction ids.

    That takes most of a second, and is free while nothing waits for it. Without it, or where a version of Delta
    names things otherwise, the commit does it.
    """
    jvm: Any = spark._jvm
    try:
        delta_log = jvm.org.apache.spark.sql.delta.DeltaLog.forTable(spark._jsparkSession, location)
        delta_log.unsafeVolatileSnapshot().setTransactions()
    except Py4JError as error:
        log.debug("%s: its state was not prepared (%s)", location, error)


def last_transaction_version(spark: SparkSession, location: str, app_id: str) -> int | None:
    """The number up to which a table ignores the commits of an app id; None where it knows none of them.

    Delta has it at hand, since its next commit asks the same; where a version of Delta names things otherwise,
    delta-rs reads it from the log.
    """
    jvm: Any = spark._jvm
    try:
        delta_log = jvm.org.apache.spark.sql.delta.DeltaLog.forTable(spark._jsparkSession, location)
        found = delta_log.unsafeVolatileSnapshot().transactions().get(app_id)
        number: int | None = found.get() if found.isDefined() else None
    except Py4JError as error:
        log.debug("%s: its transactions are read by delta-rs (%s)", location, error)
        number = open_table(location).transaction_version(app_id)
    return number


@dataclass(frozen=True)
class Writer:
    """Commits to one table for one micro-batch; the metadata are kept with each commit."""

    spark: SparkSession
    location: str
    metadata: Mapping[str, Any]
    batch: BatchId = SWEEP

    def upsert(self, rows: DataFrame, *, merge: bool) -> None:
        """Append rows, or merge them by path where some are known already."""
        key = self._idempotency_key()
        if merge:
            session = {f"spark.databricks.delta.write.{name}": value for name, value in key.items()}
            with self._set(session):
                (
                    DeltaTable.forPath(self.spark, self.location)
                    .alias("old")
                    .merge(rows.alias("new"), "old.path = new.path")
                    .whenMatchedUpdateAll()
                    .whenNotMatchedInsertAll()
                    .execute()
                )
            return
        writer = (
            rows.write.format("delta").mode("append").option("userMetadata", self._user_metadata)
        )
        writer.options(**key).save(self.location)

    def delete(self, paths: list[str]) -> None:
        """Delete the rows of some paths, in one commit. It repeats without harm."""
        with self._set({}):
            table = DeltaTable.forPath(self.spark, self.location)
            if len(paths) <= _NAMED_AT_MOST:
                table.delete(F.col("path").isin(paths))
                return
            names = self.spark.createDataFrame(pd.DataFrame({"path": paths}), "path string")
            merge = table.alias("old").merge(names.alias("gone"), "old.path = gone.path")
            merge.whenMatchedDelete().execute()

    def _idempotency_key(self) -> dict[str, str]:
        """Delta ignores a commit whose app id has reached its number: a repetition, or a writer that was replaced.

        Each part of a batch has an app id of its own.
        """
        if self.batch.query is None:
            return {}
        return {"txnAppId": self._app_id(self._part), "txnVersion": str(self.batch.number)}

    def _app_id(self, part: int) -> str:
        return f"pomona/{self.batch.query}" + (f"/{part}" if part else "")

    @cached_property
    def _part(self) -> int:
        """The first part, from this one on, that the table does not take for a repetition.

        What is written here is in neither table, whatever was committed under this number: by an earlier attempt
        at the batch, or before the checkpoint lost its last batches and counted them again.
        """
        part = self.batch.part
        while self.batch.query is not None and self._has(part):
            part += 1
        return part

    def _has(self, part: int) -> bool:
        number = last_transaction_version(self.spark, self.location, self._app_id(part))
        return number is not None and number >= self.batch.number

    @property
    def _user_metadata(self) -> str:
        told = {
            "pomona": __version__,
            "query": self.batch.query,
            "batch": self.batch.number,
            "part": self._part,
        }
        return json.dumps(told | dict(self.metadata))

    @contextmanager
    def _set(self, settings: Mapping[str, str]) -> Iterator[None]:
        """Key and metadata of a merge go through the session, and must not outlive it there."""
        settings = {_METADATA: self._user_metadata, **settings}
        for key, value in settings.items():
            self.spark.conf.set(key, value)
        try:
            yield
        finally:
            for key in settings:
                self.spark.conf.unset(key)
