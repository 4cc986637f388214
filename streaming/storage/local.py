"""Local files and mounted network drives behind `streaming.storage.interface`."""

from __future__ import annotations

import logging
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from streaming.storage.interface import StoredFile, TransientError, local_path, local_uri

log = logging.getLogger(__name__)


class LocalStorage:
    """Local folders and mounted network drives."""

    def list(self, prefix: str) -> Iterator[StoredFile]:
        """Walk the folder; links to files count as files, and links to folders are followed."""
        walk = os.walk(local_path(prefix), onerror=_log_unreadable_folder, followlinks=True)
        for folder, _, names in walk:
            for name in names:
                try:
                    yield self.stat(local_uri(f"{folder.rstrip('/')}/{name}"))
                except FileNotFoundError:
                    continue

    def stat(self, path: str) -> StoredFile:
        """Return length and modification time, truncated to milliseconds as in Hadoop; only for regular files."""
        status = os.stat(local_path(path))
        if not stat.S_ISREG(status.st_mode):
            raise FileNotFoundError(f"{path} is not a regular file")
        return StoredFile(path, status.st_size, status.st_mtime_ns // 1_000_000)

    def exists(self, path: str) -> bool:
        """Return whether the name exists, including broken links; raise if that cannot be determined."""
        try:
            os.lstat(local_path(path))
        except (FileNotFoundError, NotADirectoryError):
            return False
        except PermissionError:
            raise
        except OSError as error:
            raise TransientError(f"{path}: {error}") from error
        return True

    def check_readable(self, path: str) -> None:
        """Open and close a file."""
        local_path(path).open("rb").close()

    def read(self, path: str) -> bytes:
        """Return the content of one file, without retries: local errors are seldom transient."""
        return self.read_once(path)

    def read_once(self, path: str) -> bytes:
        """Return the content of one file."""
        try:
            return local_path(path).read_bytes()
        except (FileNotFoundError, PermissionError):
            raise
        except OSError as error:
            raise TransientError(f"{path}: {error}") from error

    def write(self, path: str, content: bytes) -> None:
        """Write a temporary file and rename it, so that readers never see a partial file."""
        target = local_path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        temporary.write_bytes(content)
        os.replace(temporary, target)

    def upload(self, local: Path, path: str) -> None:
        """Move a local file into place."""
        target = local_path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(local, target)

    def delete(self, path: str) -> None:
        """Delete one file if it exists."""
        local_path(path).unlink(missing_ok=True)

    def delete_tree(self, prefix: str) -> None:
        """Delete a folder and its content."""
        shutil.rmtree(local_path(prefix), ignore_errors=True)

    def move_tree(self, prefix: str, destination: str) -> None:
        """Rename a folder."""
        os.rename(local_path(prefix), local_path(destination))


def _log_unreadable_folder(error: OSError) -> None:
    """Log a folder that cannot be listed, and continue with the others."""
    if not isinstance(error, FileNotFoundError):
        log.warning("%s cannot be listed: %s", error.filename, error.strerror)
