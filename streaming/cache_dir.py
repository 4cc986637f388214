"""The folders of a user: caches (jars, class data sharing archives, weights, vectors), configuration, temporary files.

A service account may have no home folder, a container a read-only one, and a hardened machine may forbid programs in
``/tmp``: then other folders are used, or an error names the variable to set.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import stat
import tempfile
from pathlib import Path

from streaming.errors import PlatformError

log = logging.getLogger(__name__)

_reported: set[Path] = set()
_SESSION = "session-"
#: Session folders of this process by their parents, with the descriptors that lock them until it ends.
_sessions: dict[Path, tuple[Path, int]] = {}


def cache_folder() -> Path:
    """Return the writable folder for files cached per user; it is created when a file is stored in it.

    It is ``$XDG_CACHE_HOME/pomona`` (if absolute, as XDG requires) or ``~/.cache/pomona``, or else a private folder for
    temporary files. Other users have no access: it contains code, vectors and reports.
    """
    folder = _user_cache()
    if folder and _is_writable(folder):
        _make_private(folder)
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
    if folder and os.path.exists(folder / name):  # False also for the cache of another user
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
        If another user created it, or has access to it.
    """
    folder = temporary_folder() / f"pomona-{os.geteuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError as error:
        raise PlatformError(
            f"{folder} cannot be created ({error.strerror}): set TMPDIR to a writable folder"
        ) from error
    others = stat.S_IRWXG | stat.S_IRWXO
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & others:
        raise PlatformError(
            f"{folder} is not a private folder of this user: delete it, or set TMPDIR to another folder"
        )
    return folder


def session_folder(parent: Path) -> Path:
    """Return a folder for the temporary files of this process; delete those of processes that have ended.

    A lock marks the folder as used; systemd-tmpfiles respects it too. A killed process leaves its files: the next one
    deletes them. A process does not delete its own folder, because Java ends after Python.

    Parameters
    ----------
    parent : Path
        A folder of this user alone; it is created if necessary.
    """
    folder, _ = _sessions.get(parent) or (None, -1)
    if folder and folder.is_dir():
        return folder
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(parent, os.O_RDONLY)
    try:  # without the lock, another process would delete the folder before it is locked
        locked = _try_lock(lock, fcntl.LOCK_EX)
        ended = _lock_ended_sessions(parent) if locked else {}
        folder = Path(tempfile.mkdtemp(prefix=_SESSION, dir=parent))
        descriptor = os.open(folder, os.O_RDONLY)
        _try_lock(descriptor, fcntl.LOCK_EX)
    finally:
        os.close(lock)
    _sessions[parent] = folder, descriptor
    for old, held in ended.items():
        shutil.rmtree(old, ignore_errors=True)
        os.close(held)
    return folder


def _lock_ended_sessions(parent: Path) -> dict[Path, int]:
    """Lock the session folders that no process has locked; return them with their descriptors."""
    locked = {}
    for folder in parent.glob(f"{_SESSION}*"):
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue
        if _try_lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB):
            locked[folder] = descriptor
        else:
            os.close(descriptor)
    return locked


def _try_lock(descriptor: int, operation: int) -> bool:
    """Return whether a folder was locked: not if another process holds the lock, or without locks on its disk."""
    try:
        fcntl.flock(descriptor, operation)
    except OSError:
        return False
    return True


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


def _make_private(folder: Path) -> None:
    """Set mode 0700 if the folder exists, belongs to this user and has another mode."""
    with contextlib.suppress(OSError):
        status = folder.stat()
        if status.st_uid == os.geteuid() and stat.S_IMODE(status.st_mode) != 0o700:
            folder.chmod(0o700)


def _existing(folder: Path) -> Path:
    """Return the folder or its nearest ancestor that exists; an ancestor that cannot be searched counts as missing."""
    return next((path for path in (folder, *folder.parents) if os.path.lexists(path)), Path("/"))
