"""Find out whether a bucket exists, and in which region."""

from __future__ import annotations

from bootstrap.aws.request import ReadApi

_ABSENT_CODES = ("404", "NoSuchBucket")


def bucket_exists(read: ReadApi, bucket: str) -> bool:
    """Return whether a bucket exists; AccessDeniedError if it belongs to another account or cannot be read."""
    return read("s3", "head_bucket", {"Bucket": bucket}, _ABSENT_CODES) is not None


def bucket_region(read: ReadApi, bucket: str) -> str | None:
    """Return the region of a bucket; None if it does not exist."""
    response = read("s3", "get_bucket_location", {"Bucket": bucket}, _ABSENT_CODES)
    if response is None:
        return None
    location = response.get("LocationConstraint") or "us-east-1"
    return {"EU": "eu-west-1"}.get(location, str(location))
