"""Files outside of a lake and a source that no command may read, change, import or execute, and who opens them."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import deltalake

from support.lakes.feature_lakes import WRITTEN, images
from support.lakes.small_lakes import jpeg
from support.processes.inotify_watch import Watch

#: Occurs in the content of every canary, and in the environment.
SECRET = "hunter2-correct-horse"
#: A Python module, also as a package and a `.pth` file: it writes the file `EXECUTED` beside the canaries.
EXECUTED = "EXECUTED"
# Events of `sys.addaudithook` that change the file system, with the index of the changed path.
_CHANGES = {
    **dict.fromkeys(
        ("os.remove", "os.rmdir", "os.mkdir", "os.chmod", "os.chown", "os.truncate"), 0
    ),
    **dict.fromkeys(("os.utime", "shutil.rmtree"), 0),
    **dict.fromkeys(("os.rename", "os.link", "os.symlink"), 1),
}
_EXECUTIONS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "pickle.find_class")


class Canaries:
    """A folder of canaries; `folder` is never below a lake or a source.

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "package").mkdir(parents=True)
        code = f"open({str(folder / EXECUTED)!r}, 'w').write('{SECRET}')\n"
        tag = (
            f'{{"version": 1, "committed": "2026-03-03T08:30:00+00:00", "created_at": "{SECRET}"}}'
        )
        contents = {
            "secret.txt": SECRET,
            "secret.json": tag,
            "lake.json": f'{{"format": 5, "pomona": "{SECRET}"}}',
            "module.py": code,
            "package/__init__.py": code,
            "x.pth": f"import os; {code}",
            "x.pkl": f"cbuiltins\nexec\n(V{code.strip()}\ntR.",
        }
        for name, content in contents.items():
            (folder / name).write_text(content)
        (folder / "photo.jpg").write_bytes(jpeg(77) + SECRET.encode())
        rows = images(3, seed=5, below=f"file:/{SECRET}").table()
        deltalake.write_deltalake(str(folder / "features"), rows)
        deltalake.DeltaTable(str(folder / "features")).create_checkpoint()
        for file in folder.rglob("*"):
            os.utime(file, (WRITTEN.timestamp(), WRITTEN.timestamp()))
        self.before = self._state()

    def _state(self) -> dict[str, tuple[int, int, str]]:
        """Return mode, modification time and hash of all canaries."""
        found = {}
        for file in sorted(self.folder.rglob("*")):
            status = file.stat()
            content = file.read_bytes() if file.is_file() else b""
            digest = hashlib.sha256(content).hexdigest()
            found[str(file)] = (status.st_mode, status.st_mtime_ns, digest)
        return found

    def changes(self) -> list[str]:
        """Return the canaries that were changed, created or removed."""
        now = self._state()
        return [
            f"changed: {name}"
            for name in now.keys() | self.before.keys()
            if now.get(name) != self.before.get(name)
        ]

    @contextmanager
    def watched(self) -> Iterator[Watch]:
        """Record who opens a canary, in any process and in any language."""
        watch = Watch(self.folder, "open")
        try:
            yield watch
        finally:
            watch.close()


class Audit:
    """Records changes of files outside of permitted folders, and code that is loaded from the others.

    Parameters
    ----------
    writable : tuple of str
        Folders, without links, below which files may be changed.
    untrusted : tuple of str
        Folders from which nothing may be imported or executed.
    may_start : bool
        Permit new processes, as Spark needs them.
    """

    _active: Audit | None = None
    _installed = False

    def __init__(
        self, writable: tuple[str, ...], untrusted: tuple[str, ...], *, may_start: bool = False
    ) -> None:
        self.writable, self.untrusted, self.may_start = writable, untrusted, may_start
        self.found: list[str] = []

    @contextmanager
    def recording(self) -> Iterator[list[str]]:
        """Record while the block runs."""
        if not Audit._installed:
            sys.addaudithook(_hook)
            Audit._installed = True
        self.found = []
        Audit._active = self
        try:
            yield self.found
        finally:
            Audit._active = None

    def note(self, event: str, args: tuple[Any, ...]) -> None:
        """Record an event if it is not permitted."""
        if event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR):
            if not self._may_write(args[0], follow=not args[2] & os.O_NOFOLLOW):
                self.found.append(f"opened for writing: {args[0]}")
        elif event in _CHANGES:
            directory = args[_CHANGES[event] + 1] if event in ("os.remove", "os.rmdir") else -1
            if not self._may_write(args[_CHANGES[event]], directory):
                self.found.append(f"{event}: {args}")
        elif event in _EXECUTIONS and not self.may_start:
            self.found.append(f"{event}: {args[:2]}")
        elif event == "import" and args[1]:
            self._check_code(event, args[1])
        elif event == "exec":
            self._check_code(event, getattr(args[0], "co_filename", ""))
        elif event == "ctypes.dlopen":
            self._check_code(event, args[0])

    def _may_write(self, path: Any, directory: int = -1, *, follow: bool = False) -> bool:
        if isinstance(path, int):
            return True
        text = os.fsdecode(path)
        if isinstance(directory, int) and directory >= 0 and not os.path.isabs(text):
            text = os.path.join(os.readlink(f"/proc/self/fd/{directory}"), text)
        parent, name = os.path.split(text)
        real = os.path.realpath(text) if follow else f"{os.path.realpath(parent)}/{name}"
        return real == "/dev/null" or real.startswith(tuple(f"{root}/" for root in self.writable))

    def _check_code(self, event: str, name: Any) -> None:
        if not isinstance(name, str) or name.startswith("<"):
            return
        if os.path.realpath(name).startswith(self.untrusted):
            self.found.append(f"{event}: {name}")


def _hook(event: str, args: tuple[Any, ...]) -> None:
    active = Audit._active
    if active is None:
        return
    Audit._active = None  # what follows is not recorded
    try:
        active.note(event, args)
    finally:
        Audit._active = active
