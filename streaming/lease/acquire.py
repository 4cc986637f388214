"""Acquire the lease of a lake: one process at a time writes its tables.

A local lake uses a kernel lock (`streaming.lease.local`), a lake on S3 an object that is created by a conditional
put and renewed (`streaming.lease.s3`). A second process gets an error that names the owner.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from streaming.lease.holder import Holder, Lease
from streaming.storage.interface import is_s3

if TYPE_CHECKING:
    from streaming.lake.layout import Lake


@contextmanager
def acquire_lease(lake: Lake) -> Iterator[Lease]:
    """Acquire the lease of a lake, and release it after the block.

    Raises
    ------
    LeaseError
        When another process holds it; the text names the process.
    """
    lease = _create_lease(lake)
    try:
        lease.begin()
        yield lease
    finally:
        lease.release()


def lease_owner(lake: Lake) -> Holder | None:
    """Return the owner of the lease of a lake; None if it is free."""
    if is_s3(lake.root):
        from streaming.lease.s3 import find_holder
    else:
        from streaming.lease.local import find_holder
    return find_holder(lake)


def _create_lease(lake: Lake) -> Lease:
    if is_s3(lake.root):
        from streaming.lease.s3 import S3Lease

        return S3Lease(lake)
    from streaming.lease.local import LocalLease

    return LocalLease(lake)
