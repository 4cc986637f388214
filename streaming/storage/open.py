"""Small files and listings on local folders and on S3, behind one interface.

Tables belong to Spark; this is for the source's listing, an image's bytes, the exported model, the CSV. A location
is a URI as Spark writes it, not percent-encoded: ``file:/My fruit/a.jpg`` or ``s3a://bucket/My fruit/a.jpg``.
"""

from __future__ import annotations

from streaming.storage.interface import Storage, is_s3


def open_storage(uri: str) -> Storage:
    """The storage that serves a normalized URI.

    boto3 is imported only where S3 is used: it costs each worker a third of a second.
    """
    if is_s3(uri):
        from streaming.storage.s3 import s3_storage

        return s3_storage()
    from streaming.storage.local import LocalStorage

    return LocalStorage()


def check_access(uri: str) -> None:
    """Fail early where a location on S3 does not answer, see `streaming.storage.s3.check_access`; nothing for a folder."""
    if is_s3(uri):
        from streaming.storage.s3 import check_access as reach_s3

        reach_s3(uri)
