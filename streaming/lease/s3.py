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

#: Names the seconds after which a lease that was not renewed may be taken over.
TERM_VARIABLE = "POMONA_LEASE_TERM"
_TERM = 30.0
_RENEWALS = 3  # in a term


def lease_term() -> float:
    """Seconds of a term; UsageError where the environment asks for something else than a number above 0."""
    text = os.environ.get(TERM_VARIABLE) or str(_TERM)
    try:
        term = float(text)
    except ValueError:
        term = 0.0
    if not 0 < term < 86400:
        raise UsageError(f"{TERM_VARIABLE}={text}: give seconds, such as {_TERM:.0f}")
    return term


class S3Lease:
    """A lake on S3, held by this process from the creation of this object on."""

    def __init__(self, lake: Lake) -> None:
        self.holder = Holder()
        self.lost: LeaseError | None = None
        self.lake, self._term = lake, lease_term()
        self._spark: SparkSession | None = None
        self._held, self._renewals = False, 0
        self._object = LeaseObject(lake)
        before = self._object.find()
        if before and not before.is_free:
            raise lease_conflict(lake, before.holder, self._remedy(before))
        # A lake without a lease object may be written by a Pomona that knows of none.
        self._clean = bool(before.content["released"]) if before else not lake.exists()
        self._before = replace(lake, term=before.content["checkpoint"]) if before else lake
        # A paused writer of the term before goes on writing to the checkpoint that it has.
        new = replace(lake, term=f"{lake.term}-{self.holder.id[:8]}")
        self.lake = self._before if self._clean else new
        self._etag = self._put(before.etag if before else None)
        self._held = True
        self._ended = threading.Event()
        self._renewing = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._renewing.start()

    def _remedy(self, found: LeaseState) -> str:
        left = max(1.0, found.seconds_left)
        return f"wait for its end (if it was killed, until its term ends in {left:.0f} s)"

    def _put(self, etag: str | None, *, released: bool = False) -> str:
        self._renewals += (
            1  # another ETag each time, so that a renewal and a takeover exclude each other
        )
        content = self.holder.as_json(
            term=self._term,
            checkpoint=self.lake.term,
            released=released,
            renewals=self._renewals,
        )
        put = self._object.put(content, etag)
        if put:
            return put
        found = self._object.find()
        if found and found.holder == self.holder:  # the answer to an earlier try was lost
            return found.etag
        if found is None:
            return self._put(None, released=released)
        if self._held:
            raise LeaseError(
                f"{self.lake.root} was taken over by {found.holder}, while this process was paused or "
                f"cut off for longer than {self._term:.0f} s: the new owner processes what was not committed"
            )
        raise lease_conflict(self.lake, found.holder, self._remedy(found))

    def begin(self) -> None:
        """Shut the holder of the term before out, unless it let go of the lake itself."""
        if not self._clean:
            fence(self.lake, self.holder)
            copy_checkpoint(self._before.checkpoint, self.lake.checkpoint)
        self._clean = True

    def guard(self, spark: SparkSession) -> None:
        """Have Delta's log store look at the lease before each commit."""
        if self._spark is not None:
            return
        self._spark = spark
        if not guard_commits(spark, self.lake, self._object.uri, self.holder):
            log.warning(
                "%s: two writers are not fenced here, since this Spark runs without Pomona's log "
                "store: see that no second one is started while one is paused",
                self.lake.root,
            )

    def _renew(self) -> None:
        pause = self._term / _RENEWALS
        while not self._ended.wait(pause):
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
        """Say in the object that nobody holds the lake."""
        self._ended.set()
        self._renewing.join()
        if self._spark:
            release_commits(self._spark, self.lake)
        if self.lost or not self._clean:  # the next one, too, must shut the one before out
            return
        try:
            self._put(self._etag, released=True)
        except LeaseError as error:  # all had been written
            log.debug("%s", error)
        except (TransientError, PomonaError, OSError) as error:
            log.warning(
                "%s: the lease was not released and will expire (%s)", self.lake.root, error
            )


def find_holder(lake: Lake) -> Holder | None:
    """Who holds a lake on S3; None where nobody does."""
    found = LeaseObject(lake).find()
    return None if found is None or found.is_free else found.holder
