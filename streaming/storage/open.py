"""Open the storage of a location, and check access to it."""

from __future__ import annotations

from streaming.storage.interface import Storage, is_s3


def open_storage(uri: str) -> Storage:
    """Return the storage backend for a normalized URI.

    boto3 is imported only if S3 is used: the import costs each worker a third of a second.
    """
    if is_s3(uri):
        from streaming.storage.s3 import s3_storage

        return s3_storage()
    from streaming.storage.local import LocalStorage

    return LocalStorage()


def check_access(uri: str) -> None:
    """Fail early if a location on S3 does not respond, see `streaming.storage.s3`; a no-op for a folder."""
    if is_s3(uri):
        from streaming.storage.s3 import check_access as check_s3_access

        check_s3_access(uri)
