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
    def from_dict(cls, content: Mapping[str, Any]) -> Holder:
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


def lease_conflict(lake: Lake, holder: Holder | None, remedy: str) -> LeaseError:
    """The line for whoever comes second."""
    return LeaseError(
        f"{lake.root} is being written by {holder or 'another process'}: {remedy}, or end it "
        "with `pomona stop`"
    )
