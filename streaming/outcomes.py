"""The outcome of one image in one attempt, and the closed set of quarantine reasons."""

from __future__ import annotations

import enum
from enum import StrEnum


class Reason(enum.StrEnum):
    """Why an image is in quarantine; the closed set."""

    #: The file has no bytes: an upload that never began, or a placeholder.
    EMPTY = "empty"
    #: The bytes begin like no known image format: a text or an error page with an image's name.
    UNIDENTIFIED = "unidentified"
    #: A known format that stops before its end: an upload that was cut short; send it again.
    TRUNCATED = "truncated"
    #: A known format whose content contradicts itself, or a variant that Pillow does not read.
    CORRUPT = "corrupt"
    #: Width times height is over the limit: a decompression bomb, or a scan to be scaled down.
    TOO_MANY_PIXELS = "too_many_pixels"
    #: The file is longer than the limit; it was not looked into.
    TOO_MANY_BYTES = "too_many_bytes"
    #: The storage refuses to hand the file out: permissions, an archived object (reader only).
    ACCESS_DENIED = "access_denied"
    #: It killed the process that decoded it, twice, the second time alone: a hang, a crash, out of memory.
    CRASHED_WORKER = "crashed_worker"


class Outcome(StrEnum):
    """What became of one image in one attempt."""

    FEATURES = "features"
    QUARANTINE = "quarantine"
    #: Its size is not the listed one, or it is broken and young: still being written; taken later.
    CHANGING = "changing"
    #: Deleted between listing and reading: reported, and no failure.
    DELETED = "deleted"
    #: Ended the process that decoded it: to be taken once more, alone; never what becomes of an image in the end.
    CRASHED = "crashed"
    #: A fault that stayed: no verdict on the image; the micro-batch fails when the others have been written.
    UNREAD = "unread"
