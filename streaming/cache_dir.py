"""The folders of a user: cached files (jars, class-data archives, weights, vectors), configuration, temporary files.

A service account may have no home folder, a container a read-only one, and a hardened machine may forbid programs in
``/tmp``: then other folders are used, or an error names the variable to set.
"""

from __future__ import annotations

import logging
import os
import stat
import tempfile
from pathlib import Path

from streaming.errors import PlatformError

log = logging.getLogger(__name__)

_reported: set[Path] = set()


def cache_folder() -> Path:
    """Return the writable folder for files cached per user; it is created when a file is stored in it.

    It is ``$XDG_CACHE_HOME/pomona`` (if absolute, as XDG requires) or ``~/.cache/pomona``, or else a private folder for
    temporary files.
    """
    folder = _user_cache()
    if folder and _is_writable(folder):
        return folder
    private = private_folder()
    if private not in _reported:
        _reported.add(private)
        log.warning(
            "%s: files are cached in %s; set XDG_CACHE_HOME to a writable folder to keep them",
            f"{folder} is not writable" if folder else "this user has no home folder",
            private,
        )
    return private


def find_cached(name: str) -> Path:
    """Return the path of a cached file: in the user's cache, even if that is read-only, or in `cache_folder()`."""
    folder = _user_cache()
    if folder and (folder / name).exists():
        return folder / name
    return cache_folder() / name


def config_folder() -> Path | None:
    """Return the folder for records to keep: ``$XDG_CONFIG_HOME/pomona`` (if absolute) or ``~/.config/pomona``.

    None for a user without a home folder.
    """
    return _user_folder("XDG_CONFIG_HOME", ".config")


def temporary_folder() -> Path:
    """Return the folder for temporary files: ``$TMPDIR``, or the system's if that does not exist or is full.

    Raises
    ------
    PlatformError
        If no folder can be written.
    """
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        raise PlatformError(
            "there is no writable folder for temporary files: set TMPDIR to one"
        ) from error


def private_folder() -> Path:
    """Return a folder for temporary files that belongs to this user alone; it is kept for later commands.

    Raises
    ------
    PlatformError
        If another user created it, or can write to it.
    """
    folder = temporary_folder() / f"pomona-{os.geteuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError as error:
        raise PlatformError(
            f"{folder} cannot be created ({error.strerror}): set XDG_CACHE_HOME to a writable folder"
        ) from error
    others = stat.S_IWGRP | stat.S_IWOTH
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & others:
        raise PlatformError(
            f"{folder} is not a private folder of this user: delete it, or set XDG_CACHE_HOME to a writable folder"
        )
    return folder


def executable_folder(*candidates: Path) -> Path:
    """Return the first folder on a file system that permits the execution of programs.

    Raises
    ------
    PlatformError
        If all are mounted with the option ``noexec``.
    """
    for folder in candidates:
        if permits_execution(folder):
            return folder
    named = " and ".join(dict.fromkeys(map(str, candidates)))
    raise PlatformError(
        f"{named}: mounted with noexec, but Java needs a folder for programs; set TMPDIR to one without noexec"
    )


def permits_execution(folder: Path) -> bool:
    """Return whether programs in a folder, which need not exist yet, can be executed."""
    noexec = getattr(os, "ST_NOEXEC", 0)  # absent on macOS
    return not os.statvfs(_existing(folder)).f_flag & noexec


def _user_cache() -> Path | None:
    """Return the cache of the user, or None for a user without a home folder."""
    return _user_folder("XDG_CACHE_HOME", ".cache")


def _user_folder(variable: str, default: str) -> Path | None:
    """Return Pomona's folder below that of the XDG variable, or below its default in the home folder."""
    given = os.environ.get(variable, "")
    if os.path.isabs(given):
        return Path(given, "pomona")
    try:
        home = Path.home()
    except RuntimeError:  # neither HOME nor an entry in the user database
        return None
    return home / default / "pomona" if home.is_absolute() else None


def _is_writable(folder: Path) -> bool:
    existing = _existing(folder)
    return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)


def _existing(folder: Path) -> Path:
    """Return the folder or its nearest ancestor that exists; an ancestor that cannot be searched counts as missing."""
    return next((path for path in (folder, *folder.parents) if os.path.lexists(path)), Path("/"))
