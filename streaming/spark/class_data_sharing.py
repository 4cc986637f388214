"""Class data sharing (JEP 350): an archive of loaded Java classes halves Spark's start-up time.

Loading and verifying the 20,000 classes of Spark and Delta is most of the cost of a session's start and first
commit. `streaming.ingest.warmup` creates the archive once. Without it, or if it belongs to another Java or other
jars, Spark starts as slowly as it does by default.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from streaming.cache_dir import cache_folder

_SILENT = "-Xlog:disable -Xlog:all=error:stderr"  # an archive that does not fit is no news


def archive_file(java_home: Path, jars: list[Path]) -> Path:
    """Where the archive for these is, made or not.

    Parameters
    ----------
    java_home : Path
        Home of the Java that runs Spark.
    jars : list of Path
        The jars beside Spark's own.
    """
    import pyspark

    parts = (java_home, *jars, pyspark.__file__, pyspark.__version__)
    digest = hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:12]
    return cache_folder() / f"classes-{digest}.jsa"


def sharing_options(archive: Path) -> str:
    """Options of Java that use an archive; none where there is no archive."""
    return f'"-XX:SharedArchiveFile={archive}" {_SILENT}' if archive.exists() else ""


def dumping_options(archive: Path) -> str:
    """Options of Java that make it write an archive as it ends."""
    return f'"-XX:ArchiveClassesAtExit={archive}" {_SILENT}'
