"""Image bytes to the float32 RGB array that the network takes; plain Python, without Spark.

An image is taken as a viewer would show it: EXIF orientation applied, palette, grey, 16-bit, CMYK
and alpha turned into RGB (alpha over white), the first frame of an animation; embedded colour
profiles are not applied. Pillow's bicubic filter resizes it, straight to a square; of large JPEGs
no more is decoded than that takes (`streaming.images.resize`).
All of this may be called from several threads, and changes no setting of Pillow.
"""

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
    #: It ended the process that decoded it, twice, alone there: a hang, a crash, no memory (`streaming.featurize.crash_recovery`).
    CRASHED_WORKER = "crashed_worker"


class Outcome(StrEnum):
    """What became of one image in one attempt."""

    FEATURES = "features"
    QUARANTINE = "quarantine"
    #: Its size is not the listed one, or it is broken and young: still being written; taken later.
    CHANGING = "changing"
    #: Deleted between listing and reading: reported, and no failure.
    GONE = "gone"
    #: Ended the process that decoded it: to be taken once more, alone; never what becomes of an image in the end.
    CRASHED = "crashed"
    #: A fault that stayed: no verdict on the image; the micro-batch fails when the others have been written.
    UNREAD = "unread"
