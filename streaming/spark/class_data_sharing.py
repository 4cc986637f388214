"""Class data sharing (JEP 350): an archive of loaded Java classes halves Spark's start-up time.

Loading and verifying the 20,000 classes of Spark and Delta is most of the cost of a session's start and first
commit. `streaming.ingest.warmup` creates the archive once. Without it, or if it belongs to another Java or other
jars, Spark starts as slowly as it does by default.

Java does not check the content of an archive, which is code: one that another user could have written is not used.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import time
from pathlib import Path

from streaming.cache_dir import find_cached
from streaming.storage.write_file import replace_file

_UNUSED_SECONDS = 30 * 24 * 3600.0
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
    """Return the Java options that use an archive; an empty string if it does not exist or cannot be trusted."""
    if not _is_trusted(archive):
        return ""
    with contextlib.suppress(OSError):  # marks it as used, see `delete_outdated_archives`
        os.utime(archive)
    return f'"-XX:SharedArchiveFile={archive}" {_SILENT}'


def _is_trusted(archive: Path) -> bool:
    """Return whether a file exists that only this user or root can have written."""
    try:
        states = archive.lstat(), archive.parent.stat()
    except OSError:
        return False
    others = stat.S_IWGRP | stat.S_IWOTH
    return stat.S_ISREG(states[0].st_mode) and not any(
        state.st_uid not in (0, os.geteuid()) or state.st_mode & others for state in states
    )


def dumping_options(archive: Path) -> str:
    """Return the Java options that write an archive at exit."""
    return f'"-XX:ArchiveClassesAtExit={archive}" {_SILENT}'


def delete_outdated_archives(archive: Path, java_home: Path) -> None:
    """Delete the archive that a new one replaces, and those that were not used for 30 days.

    Each takes 200 MB. The folder is shared by the installations of a user, whose archives are kept. A process that has
    mapped a deleted file keeps it until it ends; one that starts with a deleted file starts without it.

    Parameters
    ----------
    archive : Path
        The new archive of this installation.
    java_home : Path
        Home of the Java that runs Spark.
    """
    import pyspark

    installation = hashlib.sha256(f"{java_home}\n{pyspark.__file__}".encode()).hexdigest()[:12]
    record = archive.with_name(f"classes-{installation}.current")
    with contextlib.suppress(OSError, UnicodeDecodeError):
        replaced = record.read_text()
        if replaced != archive.name and re.fullmatch(r"classes-[0-9a-f]{12}\.jsa", replaced):
            archive.with_name(replaced).unlink()
    with contextlib.suppress(OSError):
        replace_file(record, archive.name.encode())
    for file in archive.parent.glob("classes-*"):  # also what an interrupted set-up has left
        with contextlib.suppress(OSError):
            unused = time.time() - file.lstat().st_mtime > _UNUSED_SECONDS
            if unused and file.suffix != record.suffix:
                file.unlink()
