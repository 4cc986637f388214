"""The owner of a lease, and the interface of a lease."""

from __future__ import annotations

import json
import os
import socket
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from streaming.errors import LeaseError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from streaming.lake.layout import Lake


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"


#: The shape of the owner in a lease file or object.
SCHEMA = {"host": str, "pid": int, "since": str, "id": str}


@dataclass(frozen=True)
class Holder:
    """The process that owns the lease of a lake.

    Parameters
    ----------
    since : str
        Time of acquisition, in UTC.
    id : str
        Unique for each acquisition.
    """

    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)
    since: str = field(default_factory=_now)
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}"

    def as_json(self, **more: Any) -> bytes:
        """Serialize the owner with additional fields, for the lease file or object."""
        return json.dumps(asdict(self) | more).encode()

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Holder:
        """Create an owner from the content of a lease file or object, which matches `SCHEMA`."""
        return cls(**{name: content[name] for name in SCHEMA})


class Lease(Protocol):
    """An acquired lease."""

    @property
    def holder(self) -> Holder:
        """The owner: this process."""

    @property
    def lake(self) -> Lake:
        """The lake, with the checkpoint of this lease epoch."""

    @property
    def lost(self) -> LeaseError | None:
        """The error with which this process must end after another took over the lease; sends no request."""

    def begin(self) -> None:
        """Fence off an earlier owner that may still be alive; call it before the tables are read."""

    def guard(self, spark: SparkSession) -> None:
        """Make Spark's commits depend on the lease; call it before the first write."""

    def release(self) -> None:
        """Release the lease; all writes must be complete."""


def lease_conflict(lake: Lake, holder: Holder | None, remedy: str) -> LeaseError:
    """Return the error for a process that finds the lease taken."""
    return LeaseError(
        f"{lake.root} is being written by {holder or 'another process'}: {remedy}, or "
        f"stop it with `pomona stop {lake.root}`"
    )
