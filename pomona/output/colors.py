"""Colors of errors and warnings, on terminals only."""

from __future__ import annotations

import os
from typing import IO

_CODES = {"red": 31, "yellow": 33}


def colored(text: str, color: str, stream: IO[str]) -> str:
    """Return a text in a color if the stream is a terminal that shows colors, and NO_COLOR is not set."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM", "") in ("", "dumb", "unknown")
    if plain or not stream.isatty():
        return text
    return f"\x1b[{_CODES[color]}m{text}\x1b[0m"
