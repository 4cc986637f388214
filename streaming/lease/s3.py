"""The lease of a lake on S3: an object written by conditional puts, renewed, and taken over after it expires.

S3's clock is the only clock: a response's ``Date`` minus the object's ``Last-Modified``. An owner that cannot renew
continues until it sees that another process owns the lake, which has fenced it off the tables
(`streaming.lease.fencing`).
"""

from __future__ import annotations

import logging
import os
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from streaming.errors import LeaseError, PomonaError, UsageError
from streaming.lease.checkpoint_copy import copy_checkpoint
from streaming.lease.fencing import fence, guard_commits, release_commits
from streaming.lease.holder import Holder, lease_conflict
from streaming.lease.s3_object import LeaseObject, LeaseState
from streaming.storage.interface import TransientError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from streaming.lake.layout import Lake

log = logging.getLogger(__name__)

#: Environment variable: seconds after which a lease that was not renewed may be taken over.
TERM_VARIABLE = "POMONA_LEASE_TERM"
_TERM = 30.0
_RENEWALS = 3  # per term


def lease_term() -> float:
    """Return the lease term in seconds; UsageError if the environment variable is not a number above 0."""
    text = os.environ.get(TERM_VARIABLE) or str(_TERM)
    try:
        term = float(text)
    except ValueError:
        term = 0.0
    if not 0 < term < 86400:
        raise UsageError(f"{TERM_VARIABLE}={text}: give seconds, such as {_TERM:.0f}")
    return term


class S3Lease:
    """The lease of a lake on S3, acquired when this object is created."""

    def __init__(self, lake: Lake) -> None:
        self.holder = Holder()
        self.lost: LeaseError | None = None
        self.lake, self._term = lake, lease_term()
        self._spark: SparkSession | None = None
        self._acquired, self._renewals = False, 0
        self._object = LeaseObject(lake)
        previous = self._object.find()
        if previous and not previous.is_free:
            raise lease_conflict(lake, previous.holder, self._remedy(previous))
        # Without a lease object, the writer may be an older Pomona version that uses none.
        self._clean = bool(previous.content["released"]) if previous else not lake.exists()
        self._previous = (
            replace(lake, checkpoint_name=previous.content["checkpoint"]) if previous else lake
        )
        # A paused writer of the previous epoch may continue to write to its own checkpoint.
        new = replace(lake, checkpoint_name=f"{lake.checkpoint_name}-{self.holder.id[:8]}")
        self.lake = self._previous if self._clean else new
        self._etag = self._put(previous.etag if previous else None)
        self._acquired = True
        self._stopped = threading.Event()
        self._renewer = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._renewer.start()

    def _remedy(self, state: LeaseState) -> str:
        left = max(1.0, state.seconds_left)
        return (
            f"wait until it has ended (if it was killed, until its lease expires in {left:.0f} s)"
        )

    def _put(self, etag: str | None, *, released: bool = False) -> str:
        # The content of each put differs, and so does its ETag: of a renewal and a takeover, one fails.
        self._renewals += 1
        content = self.holder.as_json(
            term=self._term,
            checkpoint=self.lake.checkpoint_name,
            released=released,
            renewals=self._renewals,
        )
        new_etag = self._object.put(content, etag)
        if new_etag:
            return new_etag
        state = self._object.find()
        if state and state.holder == self.holder:  # the response to an earlier attempt was lost
            return state.etag
        if state is None:
            return self._put(None, released=released)
        if self._acquired:
            raise LeaseError(
                f"{self.lake.root} was taken over by {state.holder}, while this process was paused or "
                f"disconnected for longer than {self._term:.0f} s: the new owner processes what was not committed"
            )
        raise lease_conflict(self.lake, state.holder, self._remedy(state))

    def begin(self) -> None:
        """Fence off the previous owner, unless it released the lease."""
        if not self._clean:
            fence(self.lake, self.holder)
            copy_checkpoint(self._previous.checkpoint, self.lake.checkpoint)
        self._clean = True

    def guard(self, spark: SparkSession) -> None:
        """Make Delta's log store check the lease before each commit."""
        if self._spark is not None:
            return
        self._spark = spark
        if not guard_commits(spark, self.lake, self._object.uri, self.holder):
            log.warning(
                "%s: concurrent writers are not fenced, because this Spark session does not use Pomona's "
                "log store: do not start a second writer while one is paused",
                self.lake.root,
            )

    def _renew(self) -> None:
        pause = self._term / _RENEWALS
        while not self._stopped.wait(pause):
            try:
                self._etag = self._put(self._etag)
                pause = self._term / _RENEWALS
            except LeaseError as error:
                self.lost = error
                return
            except (TransientError, PomonaError, OSError) as error:
                log.debug("the lease could not be renewed: %s", error)
                pause = min(1.0, self._term / _RENEWALS / 4)

    def release(self) -> None:
        """Mark the lease object as released."""
        self._stopped.set()
        self._renewer.join()
        if self._spark:
            release_commits(self._spark, self.lake)
        if self.lost or not self._clean:  # the next owner must still fence off the previous one
            return
        try:
            self._put(self._etag, released=True)
        except LeaseError as error:  # all writes were complete
            log.debug("%s", error)
        except (TransientError, PomonaError, OSError) as error:
            log.warning(
                "%s: the lease was not released and will expire (%s)", self.lake.root, error
            )


def find_holder(lake: Lake) -> Holder | None:
    """Return the owner of the lease of a lake on S3; None if it is free."""
    state = LeaseObject(lake).find()
    return None if state is None or state.is_free else state.holder
