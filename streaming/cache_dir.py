"""The per-user cache directory for jars, class-data archives, weights and vectors."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return the folder for files cached per user: ``$XDG_CACHE_HOME/pomona``, or ``~/.cache/pomona``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pomona"
