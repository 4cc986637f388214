"""Run the command `pomona` and kill its whole process tree at once."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from support.processes.cli import PROGRAM, environment


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
    """The command `pomona`, started in a new session.

    Parameters
    ----------
    folder : Path
        Receives the file with its output.
    *args : object
        Arguments after `pomona`.
    env : mapping, optional
        Environment of the command; that of this process by default.
    """

    def __init__(self, folder: Path, *args: object, env: Mapping[str, str] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._output = folder / "output.txt"
        self.started = time.monotonic()
        with self._output.open("w") as output:
            self._popen = subprocess.Popen(
                [PROGRAM, *map(str, args)],
                env=dict(env) if env else environment(),
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        """Standard output and standard error so far."""
        return self._output.read_text()

    @property
    def status(self) -> int | None:
        """Exit status; None while the command runs."""
        return self._popen.poll()

    def kill(self) -> int:
        """Kill all processes of the session until none is left; return their number."""
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
        """Send SIGTERM, and wait for the end."""
        self._popen.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self, seconds: float = 3600) -> int:
        """Wait for the end; return the exit status."""
        return self._popen.wait(seconds)
