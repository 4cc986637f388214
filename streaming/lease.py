"""The lease of a lake: one process at a time writes its tables, and whoever comes second is told who that is.

In a folder it is a lock of the kernel's (`streaming.lease_folder`), on S3 an object that is put conditionally and
renewed (`streaming.lease_s3`).
"""

from __future__ import annotations

import json
import os
import socket
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from streaming.errors import LeaseError
from streaming.storage.interface import is_s3

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from streaming.lake.layout import Lake


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"


@dataclass(frozen=True)
class Holder:
    """The process that holds a lake.

    Parameters
    ----------
    host : str
    pid : int
    since : str
        When it began, in UTC.
    id : str
        Another one each time that a lake is taken.
    """

    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)
    since: str = field(default_factory=_now)
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}"

    def as_json(self, **more: Any) -> bytes:
        """What stands in the lake about it."""
        return json.dumps(asdict(self) | more).encode()

    @classmethod
    def told(cls, content: Mapping[str, Any]) -> Holder:
        """The holder that a lake tells of."""
        names = ("host", "pid", "since", "id")
        return cls(**{name: content[name] for name in names})


class Lease(Protocol):
    """A lake that is held."""

    @property
    def holder(self) -> Holder:
        """This process."""

    @property
    def lake(self) -> Lake:
        """The lake, with the checkpoint of this term."""

    @property
    def lost(self) -> LeaseError | None:
        """Why this process must end, once another has taken the lake over; asks nobody."""

    def begin(self) -> None:
        """Shut out an earlier holder that may still be alive: before the tables are read."""

    def guard(self, spark: SparkSession) -> None:
        """Bind Spark's writing to the lease: before anything is written."""

    def release(self) -> None:
        """Let go of the lake; what is written must be complete."""


@contextmanager
def hold(lake: Lake) -> Iterator[Lease]:
    """Hold a lake while the block runs.

    Raises
    ------
    LeaseError
        When another process holds it; the text names that.
    """
    lease = _take(lake)
    try:
        lease.begin()
        yield lease
    finally:
        lease.release()


def holder_of(lake: Lake) -> Holder | None:
    """Who holds a lake; None where nobody does."""
    if is_s3(lake.root):
        from streaming.lease_s3 import find_holder
    else:
        from streaming.lease_folder import find_holder
    return find_holder(lake)


def refusal(lake: Lake, holder: Holder | None, remedy: str) -> LeaseError:
    """The line for whoever comes second."""
    return LeaseError(
        f"{lake.root} is being written by {holder or 'another process'}: {remedy}, or end it "
        "with `pomona stop`"
    )


def _take(lake: Lake) -> Lease:
    if is_s3(lake.root):
        from streaming.lease_s3 import S3Lease

        return S3Lease(lake)
    from streaming.lease_folder import FolderLease

    return FolderLease(lake)
