"""Start a tunnel, check it and keep it open; translate the errors of its program."""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO

from bootstrap.tunnel.checks import TunnelError, responds_to_http
from bootstrap.tunnel.commands import ForwardedPort

#: Seconds until a program must have opened its ports.
RETRY_TIMEOUT = 30.0
_PAUSE = 0.1
#: What programs say, and what to do about it; the first that fits.
_REMEDIES = (
    (
        r"Permission denied",
        "the node does not take this key: --key names the private half of the cluster's key pair; "
        "one with a passphrase goes into ssh-agent first, by ssh-add",
    ),
    (
        r"HOST IDENTIFICATION HAS CHANGED|Host key verification failed",
        "another machine answers than before: if that is meant to be, remove {known}",
    ),
    (
        r"Address already in use|cannot listen to port",
        "a port of this machine was taken in the meantime: try again",
    ),
    (
        r"TargetNotConnected",
        "the node's agent does not speak to Session Manager: it needs minutes after the start, "
        "and a way to the internet",
    ),
    (r"AccessDenied|not authorized", "ask for the right to ssm:StartSession"),
    (r"SessionManagerPlugin is not found", "install AWS's Session Manager plugin"),
    (
        r"timed out|refused|reset|closed by remote",
        "`pomona cloud status` tells whether the node is there",
    ),
)


@dataclass
class _Program:
    process: subprocess.Popen[bytes]
    output: IO[bytes]

    def output_text(self) -> str:
        self.output.seek(0)
        return self.output.read().decode(errors="replace")


class Tunnel:
    """Programs that hold doors open.

    Parameters
    ----------
    commands : sequence of list of str
    doors : sequence of Door
    known_hosts : str
        The file that a remedy may name.
    """

    def __init__(
        self,
        commands: Sequence[list[str]],
        forwarded_ports: Sequence[ForwardedPort],
        known_hosts: str = "",
    ) -> None:
        self._doors, self._known = forwarded_ports, known_hosts
        self._programs: list[_Program] = []
        for command in commands:
            output = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the tunnel
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
            self._programs.append(_Program(process, output))

    def wait_until_open(self) -> list[ForwardedPort]:
        """Wait until each door's port takes connections; the doors behind which nothing speaks.

        Raises
        ------
        TunnelError
            Where a program ends, takes too long, or nothing at all speaks.
        """
        until = time.monotonic() + RETRY_TIMEOUT
        for forwarded in self._doors:
            while not _is_listening(forwarded):
                self.check_running()
                if time.monotonic() > until:
                    raise TunnelError(
                        f"{forwarded.name}: port {forwarded.local} is not open after {RETRY_TIMEOUT:.0f} s: try again"
                    )
                time.sleep(_PAUSE)
        self.check_running()
        silent = [forwarded for forwarded in self._doors if not responds_to_http(forwarded)]
        self.check_running()
        if len(silent) == len(self._doors):
            names = ", ".join(
                f"{forwarded.name} at port {forwarded.remote}" for forwarded in silent
            )
            raise TunnelError(
                f"the tunnel is open, and nothing speaks behind it ({names}): services need minutes after the start"
            )
        return silent

    def check_running(self) -> None:
        """Check that all programs run; TunnelError with the last words of one that does not."""
        for program in self._programs:
            if program.process.poll() is not None:
                raise TunnelError(self._failure_message(program))

    def wait(self) -> None:
        """Wait; TunnelError when a program ends."""
        while True:
            self.check_running()
            time.sleep(_PAUSE)

    def close(self) -> None:
        """End the programs."""
        for program in self._programs:
            program.process.terminate()
        for program in self._programs:
            try:
                program.process.wait(5)
            except subprocess.TimeoutExpired:
                program.process.kill()
                program.process.wait()
            program.output.close()

    def _failure_message(self, program: _Program) -> str:
        called, words = str(program.process.args[0]), program.output_text()  # type: ignore[index]
        lines = [line.strip() for line in words.splitlines() if line.strip(" @")]
        last = lines[-1] if lines else f"ended with status {program.process.returncode}"
        for pattern, remedy in _REMEDIES:
            if re.search(pattern, words, re.IGNORECASE):
                return f"{called}: {last}: {remedy.format(known=self._known)}"
        return f"{called}: {last}: run `pomona cloud tunnel` again"


@contextlib.contextmanager
def open_tunnel(
    commands: Sequence[list[str]], forwarded_ports: Sequence[ForwardedPort], known_hosts: str = ""
) -> Iterator[Tunnel]:
    """A tunnel, closed at the end whatever happens."""
    tunnel = Tunnel(commands, forwarded_ports, known_hosts)
    try:
        yield tunnel
    finally:
        tunnel.close()


def _is_listening(forwarded: ForwardedPort) -> bool:
    try:
        socket.create_connection(("127.0.0.1", forwarded.local), timeout=1).close()
    except OSError:
        return False
    return True
