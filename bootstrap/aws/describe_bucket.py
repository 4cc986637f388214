"""Find out whether a bucket exists, and in which region."""

from __future__ import annotations

from bootstrap.aws.request import ReadApi

_ABSENT_CODES = ("404", "NoSuchBucket")


def bucket_exists(read: ReadApi, bucket: str) -> bool:
    """Return whether a bucket exists; AccessDeniedError if it belongs to another account or cannot be read."""
    return bucket_region(read, bucket) is not None


def bucket_region(read: ReadApi, bucket: str) -> str | None:
    """Return the region of a bucket; None if it does not exist.

    Raises
    ------
    AccessDeniedError
        If the bucket belongs to another account, or the caller lacks s3:ListBucket.
    """
    response = read("s3", "head_bucket", {"Bucket": bucket}, _ABSENT_CODES)
    return None if response is None else str(response["BucketRegion"])
