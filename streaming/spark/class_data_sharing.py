"""Class data sharing (JEP 350): an archive of loaded Java classes halves Spark's start-up time.

Loading and verifying the 20,000 classes of Spark and Delta is most of the cost of a session's start and first
commit. `streaming.ingest.warmup` creates the archive once. Without it, or if it belongs to another Java or other
jars, Spark starts as slowly as it does by default.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from streaming.cache_dir import find_cached

_SILENT = "-Xlog:disable -Xlog:all=error:stderr"  # an archive that does not match is not reported


def archive_file(java_home: Path, jars: list[Path]) -> Path:
    """Return the path of the archive for this Java and these jars, which may not exist yet.

    Parameters
    ----------
    java_home : Path
        Home of the Java that runs Spark.
    jars : list of Path
        The jars in addition to those of Spark.
    """
    import pyspark

    # Java does not use an archive if a jar has another size or modification time, as after a new installation.
    installed = sorted((Path(pyspark.__file__).parent / "jars").glob("*.jar"))
    states = [(file, file.stat()) for file in (*jars, *installed)]
    parts = (
        java_home,
        pyspark.__version__,
        *(f"{file} {state.st_size} {int(state.st_mtime)}" for file, state in states),
    )
    digest = hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:12]
    return find_cached(f"classes-{digest}.jsa")


def sharing_options(archive: Path) -> str:
    """Return the Java options that use an archive; an empty string if it does not exist."""
    return f'"-XX:SharedArchiveFile={archive}" {_SILENT}' if archive.exists() else ""


def dumping_options(archive: Path) -> str:
    """Return the Java options that write an archive at exit."""
    return f'"-XX:ArchiveClassesAtExit={archive}" {_SILENT}'
