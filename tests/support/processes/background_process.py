"""Run programs in the background until a signal stops them, with or without a terminal."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import subprocess
import termios
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from support.processes.cli import PROGRAM


@dataclass
class Terminal:
    """The controlling side of a pseudo-terminal, and the output so far."""

    fd: int
    output: bytes = b""

    def read(self) -> bytes:
        """Return all output so far."""
        with contextlib.suppress(OSError):  # the program closed its side
            while select.select([self.fd], [], [], 0)[0]:
                self.output += os.read(self.fd, 65536)
        return self.output

    def send_keys(self, keys: bytes) -> None:
        """Send input to the program."""
        os.write(self.fd, keys)

    def wait_for_exit(self, running: subprocess.Popen[str], seconds: float) -> int | None:
        """Read until the program exits; return its exit status."""
        deadline = time.monotonic() + seconds
        while running.poll() is None and time.monotonic() < deadline:
            self.read()
            time.sleep(0.1)
        self.read()
        os.close(self.fd)
        return running.returncode

    @property
    def text(self) -> str:
        """The output without escape sequences."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.output.decode())


def start_on_terminal(
    args: list[str], env: Mapping[str, str], program: Path = PROGRAM
) -> tuple[subprocess.Popen[str], Terminal]:
    """Start the console script, or another program, on a new pseudo-terminal."""
    controller, terminal = pty.openpty()

    def set_controlling_terminal() -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    running = subprocess.Popen(
        [program, *args],
        env={**env, "TERM": "xterm-256color"},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        text=True,
        start_new_session=True,
        preexec_fn=set_controlling_terminal,
    )
    os.close(terminal)
    return running, Terminal(controller)


def wait_for(
    condition: Callable[[], bool], seconds: float, running: subprocess.Popen[str]
) -> float:
    """Wait for a condition; return the seconds. Fail on a timeout, or if the program exits."""
    started = time.monotonic()
    while not condition():
        assert running.poll() is None, "the program exited"
        assert time.monotonic() - started < seconds, f"the condition is false after {seconds} s"
        time.sleep(0.2)
    return time.monotonic() - started


def kill_process_group(running: subprocess.Popen[str]) -> None:
    """Kill the program and its children if it is still running."""
    if running.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        running.wait()
