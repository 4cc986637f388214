"""Run the command `pomona` and kill its whole process tree at once."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from support.cli import PROGRAM, environment


def session(leader: int) -> list[int]:
    """Return the running processes of a session: the command, its JVM and its Python workers."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                state, *fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[2]) == leader and state not in "ZX":
                    found.append(int(entry.name))
    return found


class CommandProcess:
    """The command under way, in a session of its own.

    Parameters
    ----------
    folder : Path
        Takes what it says.
    *words : object
        Of the command, behind `pomona`.
    env : mapping, optional
        Its environment, in place of this process's.
    """

    def __init__(self, folder: Path, *words: object, env: Mapping[str, str] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._said = folder / "said.txt"
        self.started = time.monotonic()
        with self._said.open("w") as said:
            self._popen = subprocess.Popen(
                [PROGRAM, *map(str, words)],
                env=dict(env) if env else environment(),
                stdout=said,
                stderr=said,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        """All that it printed."""
        return self._said.read_text()

    @property
    def status(self) -> int | None:
        """How it ended; None while it runs."""
        return self._popen.poll()

    def kill(self) -> int:
        """SIGKILL to each process of the tree, until none is left; how many there were."""
        killed: set[int] = set()
        while living := session(self._popen.pid):
            for process in living:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            killed |= set(living)
            time.sleep(0.005)
        self._popen.wait()
        return len(killed)

    def stop(self) -> int:
        """Ask it to end, and wait for that."""
        self._popen.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self, seconds: float = 3600) -> int:
        """Its exit status."""
        return self._popen.wait(seconds)
