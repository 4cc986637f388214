"""Java and the jars that Spark needs beside its own: Delta Lake, S3A and a slim AWS SDK.

The set is resolved once by Ivy, through Spark, into a cache folder that all clones of a user share; sessions then
start from the files and ask no repository anything.
"""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Folder of what is fetched or made once a user: ``$XDG_CACHE_HOME/pomona``, or ``~/.cache/pomona``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pomona"
