"""Distinguish a truncated file from a corrupt one, by the decoder's message or the length in its header."""

from __future__ import annotations

import re
from typing import Literal

# Signature to end marker and the number of bytes at the end of the file in which it must occur: JPEG, GIF.
_END_MARKERS = {b"\xff\xd8": (b"\xff\xd9", 512), b"GIF8": (b";", 1)}
_TRUNCATION_MESSAGE = re.compile(
    r"truncated|unpack|EOF|not enough|out of range|incomplete|expected to read|chunk b'\w{0,3}'",
    re.IGNORECASE,
)


def is_truncated(error: Exception, content: bytes) -> bool:
    """Return whether an undecodable file is incomplete.

    Parameters
    ----------
    error : Exception
        The exception that Pillow raised for the file.
    content : bytes
        The file, of one of `streaming.images.decode.FORMATS`.
    """
    return bool(_TRUNCATION_MESSAGE.search(str(error))) or _ends_early(content)


def _ends_early(content: bytes) -> bool:
    """Return whether a file is shorter than its header declares, or lacks the end marker of its format."""
    if content.startswith(b"RIFF"):
        return len(content) < 8 + int.from_bytes(content[4:8], "little")
    if content.startswith((b"II", b"MM")):
        order: Literal["little", "big"] = "little" if content.startswith(b"II") else "big"
        directory = int.from_bytes(content[4:8], order)
        entries = int.from_bytes(content[directory : directory + 2], order)
        return len(content) < directory + 2 + 12 * entries
    if content[4:8] in (b"ftyp", b"jP  "):  # AVIF, JPEG 2000: a sequence of boxes
        position, size = 0, 8
        while size >= 8 and position < len(content):
            size = int.from_bytes(content[position : position + 4], "big")
            position += size
        return position > len(content)
    markers = (marker for start, marker in _END_MARKERS.items() if content.startswith(start))
    return any(end not in content[-window:] for end, window in markers)
