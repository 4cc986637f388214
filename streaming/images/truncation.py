"""Distinguish a truncated file from a corrupt one, by the decoder's message or the file's own length."""

from __future__ import annotations

import re
from typing import Literal

_END_MARKS = {b"\xff\xd8": (b"\xff\xd9", 512), b"GIF8": (b";", 1)}  # JPEG, GIF: sought in the tail
_READ_PAST_THE_END = re.compile(
    r"truncated|unpack|EOF|not enough|out of range|incomplete|expected to read|chunk b'\w{0,3}'",
    re.IGNORECASE,
)


def is_truncated(error: Exception, content: bytes) -> bool:
    """Whether a file stops before its end.

    Parameters
    ----------
    error : Exception
        What Pillow raised when it read the file.
    content : bytes
        The file, of a format that Pillow knows.
    """
    return bool(_READ_PAST_THE_END.search(str(error))) or _ends_early(content)


def _ends_early(content: bytes) -> bool:
    """Whether a file ends before the length its header declares, or lacks its format's end mark."""
    if content.startswith(b"RIFF"):
        return len(content) < 8 + int.from_bytes(content[4:8], "little")
    if content.startswith((b"II", b"MM")):
        order: Literal["little", "big"] = "little" if content.startswith(b"II") else "big"
        directory = int.from_bytes(content[4:8], order)
        entries = int.from_bytes(content[directory : directory + 2], order)
        return len(content) < directory + 2 + 12 * entries
    if content[4:8] in (b"ftyp", b"jP  "):  # AVIF, JPEG 2000: a chain of boxes
        position, size = 0, 8
        while size >= 8 and position < len(content):
            size = int.from_bytes(content[position : position + 4], "big")
            position += size
        return position > len(content)
    marks = (mark for start, mark in _END_MARKS.items() if content.startswith(start))
    return any(end not in content[-window:] for end, window in marks)
