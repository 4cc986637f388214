"""The outcome of one image in one attempt, and the closed set of quarantine reasons."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Reason why an image is in quarantine; a closed set."""

    #: The file is empty: an upload that never started, or a placeholder.
    EMPTY = "empty"
    #: The first bytes match no known image format, as with a text or an HTML error page with an image suffix.
    UNIDENTIFIED = "unidentified"
    #: A valid image of a format or a variant that is not decoded, such as a 12-bit JPEG, or HEIC without its extra.
    UNSUPPORTED = "unsupported"
    #: A known format with missing bytes: an interrupted upload; upload it again.
    TRUNCATED = "truncated"
    #: A known format with inconsistent content.
    CORRUPT = "corrupt"
    #: Width x height exceeds the limit: a decompression bomb, or a scan that must be scaled down.
    TOO_MANY_PIXELS = "too_many_pixels"
    #: The file is longer than the limit; it was not read.
    TOO_MANY_BYTES = "too_many_bytes"
    #: The storage denies access: permissions, or an archived object (reader only).
    ACCESS_DENIED = "access_denied"
    #: Decoding killed its process twice, the second time as its only image: a hang, a crash, or out of memory.
    CRASHED_WORKER = "crashed_worker"


class Outcome(StrEnum):
    """The outcome of one image in one attempt."""

    FEATURES = "features"
    QUARANTINE = "quarantine"
    #: The size differs from the listed one, or it is undecodable and recently modified; it is checked again later.
    CHANGING = "changing"
    #: Deleted between listing and reading: reported, not a failure.
    DELETED = "deleted"
    #: Decoding killed the process; retried in a separate process. Never a final outcome.
    CRASHED = "crashed"
    #: Reading failed until the retry timeout. The micro-batch fails after all other images are written.
    UNREAD = "unread"
