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

from support.cli import PROGRAM


@dataclass
class Terminal:
    """Our side of a terminal, and what was shown on it."""

    side: int
    shown: bytes = b""

    def look(self) -> bytes:
        """All that was shown so far."""
        with contextlib.suppress(OSError):  # the other side has closed
            while select.select([self.side], [], [], 0)[0]:
                self.shown += os.read(self.side, 65536)
        return self.shown

    def press(self, keys: bytes) -> None:
        """Type something."""
        os.write(self.side, keys)

    def until_end(self, running: subprocess.Popen[str], seconds: float) -> int | None:
        """Look until the program ends; its exit status."""
        until = time.monotonic() + seconds
        while running.poll() is None and time.monotonic() < until:
            self.look()
            time.sleep(0.1)
        self.look()
        os.close(self.side)
        return running.returncode

    @property
    def text(self) -> str:
        """What was shown, without colours and movements."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.shown.decode())


def start_on_terminal(
    words: list[str], env: Mapping[str, str]
) -> tuple[subprocess.Popen[str], Terminal]:
    """Start the console script on a terminal of its own."""
    ours, theirs = pty.openpty()

    def take_terminal() -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    running = subprocess.Popen(
        [PROGRAM, *words],
        env={**env, "TERM": "xterm-256color"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        text=True,
        start_new_session=True,
        preexec_fn=take_terminal,
    )
    os.close(theirs)
    return running, Terminal(ours)


def wait_for(
    condition: Callable[[], bool], seconds: float, running: subprocess.Popen[str]
) -> float:
    """Seconds until a condition holds; the test fails where it does not, or the program ends."""
    started = time.monotonic()
    while not condition():
        assert running.poll() is None, "it ended too early"
        assert time.monotonic() - started < seconds, "it took too long"
        time.sleep(0.2)
    return time.monotonic() - started


def end(running: subprocess.Popen[str]) -> None:
    """Leave no program behind, whatever a test found."""
    if running.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        running.wait()
