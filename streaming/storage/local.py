"""Local files and mounted network drives behind `streaming.storage.interface`."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import BinaryIO

from streaming.errors import LakeError
from streaming.storage.interface import (
    NotRegularFileError,
    OutsideFolderError,
    StoredFile,
    TooManyBytesError,
    TransientError,
    Unlisted,
    UnlistedCallback,
    is_below,
    local_path,
    local_uri,
)
from streaming.storage.write_file import new_file, replace_file

log = logging.getLogger(__name__)

_ATTEMPTS = 10  # to resolve a path whose links change
# Errors of a path that names nothing: a parent is not a folder (any more), a link loop.
_NO_SUCH_NAME = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}
# Errors of a path that names no file: also a folder, a socket or a FIFO in its place.
_NO_SUCH_FILE = _NO_SUCH_NAME | {errno.EISDIR, errno.ENXIO}


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder to list.

    Parameters
    ----------
    path : str
    keys : frozenset
        Device and inode of the folder and of the folders above it, by which link loops are found.
    """

    path: str
    keys: frozenset[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class ListingRules:
    """Which links a listing follows, and what it does with an entry that is not listed.

    Parameters
    ----------
    boundary : str
        URI of the folder that links must not lead out of.
    real_boundary : str, optional
        Its path without links; None if links may lead out of it.
    on_unlisted : callable, optional
        None raises the error of a folder or entry that cannot be read, and logs the others.
    """

    boundary: str
    real_boundary: str | None
    on_unlisted: UnlistedCallback | None

    @classmethod
    def below(
        cls,
        prefix: str,
        on_unlisted: UnlistedCallback | None = None,
        *,
        follow_outside: bool = False,
        within: str | None = None,
    ) -> ListingRules:
        """Return the rules for the arguments of `LocalStorage.list`."""
        boundary = within or prefix
        real = None if follow_outside else os.path.realpath(local_path(boundary))
        return cls(boundary, real, on_unlisted)

    def unlisted(self, path: str, reason: Unlisted, detail: str) -> None:
        """Report an entry that is not listed."""
        (self.on_unlisted or log_unlisted)(path, reason, detail)

    def unreadable(self, path: str, error: OSError) -> None:
        """Report a folder or entry that cannot be read; raise the error if there is no callback."""
        if self.on_unlisted is None:
            if isinstance(error, PermissionError):
                raise error
            raise TransientError(f"{path}: {error}") from error
        self.unlisted(path, Unlisted.UNREADABLE, _describe(error))


def root_folder(prefix: str) -> Folder:
    """Return the folder with which the listing of a prefix begins."""
    root = str(local_path(prefix))
    return Folder(root, _folder_keys_from(root))


def lies_inside(path: str, folder: str) -> bool:
    """Return whether a path is a folder or below it; both without links.

    If the file system ignores case, or a folder is mounted twice, a folder has several such paths.
    """
    if is_below(f"{path}/", folder):
        return True
    try:
        key = _folder_key(os.stat(folder))
    except OSError:
        return False
    return key[1] != 0 and key in _folder_keys_from(path)


def list_folder(
    folder: Folder,
    rules: ListingRules,
    select: Callable[[list[os.DirEntry[str]]], Iterable[os.DirEntry[str]]] = iter,
) -> Iterator[tuple[str, StoredFile | Folder]]:
    """List one folder.

    Parameters
    ----------
    folder : Folder
    rules : ListingRules
    select : callable
        Returns the entries to look at. It is not called if the folder is missing or cannot be listed.

    Yields
    ------
    str, StoredFile or Folder
        The name of each regular file and of each folder that the listing follows.
    """
    if _leads_outside(folder.path, rules.real_boundary):  # replaced by a link after it was listed
        return
    try:
        with os.scandir(folder.path) as opened:
            entries = list(opened)
    except (FileNotFoundError, NotADirectoryError):  # renamed or removed meanwhile
        return
    except OSError as error:
        rules.unreadable(local_uri(folder.path), error)
        return
    for entry in select(entries):
        path = local_uri(f"{folder.path.rstrip('/')}/{entry.name}")
        try:
            status = entry.stat()
        except OSError as error:
            reason = _why_unlisted(entry, error)
            if reason is Unlisted.UNREADABLE:
                rules.unreadable(path, error)
            elif reason:
                rules.unlisted(path, reason, _describe(error))
            continue
        is_folder = stat.S_ISDIR(status.st_mode)
        if is_folder and _folder_key(status) in folder.keys:
            rules.unlisted(path, Unlisted.LINK_LOOP, "leads back to a folder above it")
        elif not is_folder and not stat.S_ISREG(status.st_mode):
            rules.unlisted(path, Unlisted.SPECIAL_FILE, "is not a regular file")
        elif entry.is_symlink() and _leads_outside(entry.path, rules.real_boundary):
            rules.unlisted(path, Unlisted.OUTSIDE_LINK, f"leads out of {rules.boundary}")
        elif is_folder:
            yield entry.name, Folder(entry.path, folder.keys | {_folder_key(status)})
        else:
            yield entry.name, _stored_file(path, status)


class LocalStorage:
    """Local folders and mounted network drives."""

    def list(
        self,
        prefix: str,
        on_unlisted: UnlistedCallback | None = None,
        *,
        follow_outside: bool = False,
        within: str | None = None,
        start_after: str = "",
    ) -> Iterator[StoredFile]:
        """Walk the folder: regular files, and links to them.

        Links to folders are followed, except to a folder above the link and, unless `follow_outside` is set, out of
        `within`. The listing of the stream has the same rules: ``java/pomona/source/SourceFileSystem.java``.
        """
        rules = ListingRules.below(
            prefix, on_unlisted, follow_outside=follow_outside, within=within
        )
        root = root_folder(prefix)
        pending = [root]
        while pending:
            folder = pending.pop()
            select = partial(_names_after, start_after) if folder is root and start_after else iter
            for _, found in list_folder(folder, rules, select):
                if isinstance(found, Folder):
                    pending.append(found)
                else:
                    yield found

    def list_folders(self, prefix: str) -> Iterator[str]:
        """Yield the names of folders, and of links to folders below the prefix."""
        for name, found in list_folder(root_folder(prefix), ListingRules.below(prefix)):
            if isinstance(found, Folder):
                yield name

    def stat(self, path: str) -> StoredFile:
        """Return length and modification time, truncated to milliseconds as in Hadoop; only for regular files."""
        with _translate_errors(path):
            status = os.stat(local_path(path))
        return _stored_file(path, _require_regular(path, status))

    def exists(self, path: str) -> bool:
        """Return whether the name exists, including broken links; True if the file system fails to say.

        A folder above it that cannot be entered raises PermissionError. A row must not be deleted, nor the stream be
        ended, because a disk or network drive has an error at one image.
        """
        try:
            os.lstat(local_path(path))
        except PermissionError:
            raise
        except OSError as error:
            return error.errno not in _NO_SUCH_NAME
        return True

    def check_readable(self, path: str, within: str | None) -> None:
        """Open and close a file."""
        with _reject_outside_link(path, within), _translate_errors(path):
            _open_regular(path, within).close()

    def read(self, path: str, within: str | None) -> bytes:
        """Return the content of one file, without retries: local errors are seldom transient."""
        with _reject_outside_link(path, within):
            return self.read_once(path, within)

    def read_once(
        self, path: str, within: str | None = None, max_bytes: int | None = None
    ) -> bytes:
        """Return the content of one file."""
        with _translate_errors(path), _open_regular(path, within) as file:
            content = file.read() if max_bytes is None else file.read(max_bytes + 1)
        if max_bytes is not None and len(content) > max_bytes:
            raise TooManyBytesError(f"{path}: more than {max_bytes:,} bytes")
        return content

    def write(self, path: str, content: bytes) -> None:
        """Write a temporary file and rename it, so that readers never see a partial file."""
        target = local_path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        replace_file(target, content)

    def upload_stream(self, chunks: Callable[[], Iterable[bytes]], path: str, size: int) -> None:
        """Write a temporary file beside the file, one chunk at a time, and rename it."""
        target = local_path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with new_file(target) as (temporary, file):
            file.writelines(chunks())
            file.flush()
            os.replace(temporary, target)

    def delete(self, path: str) -> None:
        """Delete one file if it exists."""
        local_path(path).unlink(missing_ok=True)

    def delete_tree(self, prefix: str, last: str = "") -> None:
        """Delete a folder and its content, and the file `last` after the rest; of a link, delete only the link."""
        folder = local_path(prefix)
        if folder.is_symlink():
            folder.unlink(missing_ok=True)
            return
        if last:
            kept = local_path(last).name
            with suppress(OSError):
                for name in {entry.name for entry in os.scandir(folder)} - {kept}:
                    _delete(folder / name)
                if {entry.name for entry in os.scandir(folder)} - {kept}:
                    return  # no permission, or files that were created in the meantime
        shutil.rmtree(folder, ignore_errors=True)

    def move_tree(self, prefix: str, destination: str) -> None:
        """Rename a folder."""
        os.rename(local_path(prefix), local_path(destination))


def _names_after(name: str, entries: Iterable[os.DirEntry[str]]) -> Iterator[os.DirEntry[str]]:
    return (entry for entry in entries if entry.name > name)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _stored_file(path: str, status: os.stat_result) -> StoredFile:
    return StoredFile(path, status.st_size, status.st_mtime_ns // 1_000_000)


def _require_regular(path: str, status: os.stat_result) -> os.stat_result:
    if not stat.S_ISREG(status.st_mode):
        raise NotRegularFileError(f"{path} is not a regular file")
    return status


def _open_regular(path: str, within: str | None) -> BinaryIO:
    """Open a regular file below a folder, if one is given; a FIFO in its place must not block the caller.

    A link out of the folder is not opened. The open file is checked again, because links can be exchanged in between.
    """
    real_root = None if within is None else os.path.realpath(local_path(within))
    if _leads_outside(str(local_path(path)), real_root):
        raise _outside_folder(path, within)
    descriptor = os.open(local_path(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _require_regular(path, os.fstat(descriptor))
        if real_root is not None and not is_below(f"{_real_path(path, descriptor)}/", real_root):
            raise _outside_folder(path, within)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _outside_folder(path: str, within: str | None) -> OutsideFolderError:
    return OutsideFolderError(f"{path}: a link leads out of {within}")


def _real_path(path: str, descriptor: int) -> str:
    """Return the path of an open file without links; an empty string if it cannot be determined."""
    with suppress(OSError):
        return os.readlink(f"/proc/self/fd/{descriptor}")
    with suppress(OSError):
        real = os.path.realpath(local_path(path))
        if os.path.samestat(os.lstat(real), os.fstat(descriptor)):
            return real
    return ""


def _leads_outside(path: str, real_root: str | None) -> bool:
    """Return whether a path, with its links resolved, is outside of a folder; False without one."""
    if real_root is None:
        return False
    for _ in range(_ATTEMPTS):
        with suppress(OSError):  # a link that was replaced by a file while it was resolved
            return not is_below(f"{os.path.realpath(path)}/", real_root)
    return True


@contextmanager
def _translate_errors(path: str) -> Iterator[None]:
    """Translate the errors of a path that names no file to FileNotFoundError, and others to TransientError."""
    try:
        yield
    except (FileNotFoundError, PermissionError):
        raise
    except OSError as error:
        if error.errno in _NO_SUCH_FILE:
            raise FileNotFoundError(error.errno, os.strerror(error.errno), path) from error
        raise TransientError(f"{path}: {error}") from error


@contextmanager
def _reject_outside_link(path: str, within: str | None) -> Iterator[None]:
    """Translate OutsideFolderError to LakeError, because a file of a lake that is a link does not count as missing."""
    try:
        yield
    except OutsideFolderError as error:
        raise LakeError(
            f"{path}: is a link, or in a folder that is a link, that leads out of {within}: replace it by what it "
            "points to, or delete it"
        ) from error


def _folder_key(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _folder_keys_from(folder: str) -> frozenset[tuple[int, int]]:
    """Return device and inode of a folder and of all folders above it."""
    keys = set()
    for part in (Path(folder), *Path(folder).parents):
        with suppress(OSError):
            keys.add(_folder_key(os.stat(part)))
    return frozenset(keys)


def _why_unlisted(entry: os.DirEntry[str], error: OSError) -> Unlisted | None:
    """Return why an entry has no status; None if it was removed during the listing."""
    if error.errno == errno.ELOOP:
        return Unlisted.LINK_LOOP
    if error.errno not in _NO_SUCH_FILE:
        return Unlisted.UNREADABLE
    return Unlisted.DANGLING_LINK if os.path.islink(entry.path) else None


def _describe(error: OSError) -> str:
    return error.strerror or type(error).__name__


@lru_cache(4096)
def log_unlisted(path: str, reason: Unlisted, detail: str) -> None:
    """Log an entry that is not listed, once per process: some folders are listed every second."""
    log.warning("%s is not listed (%s): %s", path, reason, detail)
