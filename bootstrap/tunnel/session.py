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

#: Seconds to wait until a program has opened its ports.
OPEN_TIMEOUT = 30.0
#: Seconds between polls.
_POLL_INTERVAL = 0.1
#: Patterns of program output and their remedies; the first match is used.
_REMEDIES = (
    (
        r"Permission denied",
        "the node rejects this key: --key names the private key of the cluster's key pair; "
        "add a key with a passphrase to ssh-agent first, with ssh-add",
    ),
    (
        r"HOST IDENTIFICATION HAS CHANGED|Host key verification failed",
        "the host key has changed: if that is expected, remove {known_hosts}",
    ),
    (
        r"Address already in use|cannot listen to port",
        "a local port is already in use: try again",
    ),
    (
        r"TargetNotConnected",
        "the node's agent is not connected to Session Manager: it needs some minutes after the start, "
        "and internet access",
    ),
    (r"AccessDenied|not authorized", "request the permission ssm:StartSession"),
    (r"SessionManagerPlugin is not found", "install AWS's Session Manager plugin"),
    (
        r"timed out|refused|reset|closed by remote",
        "`pomona cloud status` shows whether the node is running",
    ),
)


@dataclass
class _Program:
    """A process and the file with its output."""

    process: subprocess.Popen[bytes]
    output: IO[bytes]

    def output_text(self) -> str:
        self.output.seek(0)
        return self.output.read().decode(errors="replace")


class Tunnel:
    """Processes that forward ports.

    Parameters
    ----------
    commands : sequence of list of str
    forwarded_ports : sequence of ForwardedPort
    known_hosts : str
        Path for error messages.
    """

    def __init__(
        self,
        commands: Sequence[list[str]],
        forwarded_ports: Sequence[ForwardedPort],
        known_hosts: str = "",
    ) -> None:
        self._ports, self._known_hosts = forwarded_ports, known_hosts
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
        """Wait until each local port accepts connections; return the ports whose service does not respond.

        Raises
        ------
        TunnelError
            If a program exits or takes too long, or no service responds.
        """
        deadline = time.monotonic() + OPEN_TIMEOUT
        for port in self._ports:
            while not _is_listening(port):
                self.check_running()
                if time.monotonic() > deadline:
                    raise TunnelError(
                        f"{port.name}: port {port.local} is not open after {OPEN_TIMEOUT:.0f} s: try again"
                    )
                time.sleep(_POLL_INTERVAL)
        self.check_running()
        unresponsive = [port for port in self._ports if not responds_to_http(port)]
        self.check_running()
        if len(unresponsive) == len(self._ports):
            names = ", ".join(f"{port.name} at port {port.remote}" for port in unresponsive)
            raise TunnelError(
                f"the tunnel is open, but no service responds ({names}): services can take minutes to start"
            )
        return unresponsive

    def check_running(self) -> None:
        """Check that all programs run; raise TunnelError with the output of one that has exited."""
        for program in self._programs:
            if program.process.poll() is not None:
                raise TunnelError(self._failure_message(program))

    def wait(self) -> None:
        """Wait until a program exits, then raise TunnelError."""
        while True:
            self.check_running()
            time.sleep(_POLL_INTERVAL)

    def close(self) -> None:
        """Terminate the programs."""
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
        name, output = str(program.process.args[0]), program.output_text()  # type: ignore[index]
        lines = [line.strip() for line in output.splitlines() if line.strip(" @")]
        last = lines[-1] if lines else f"exited with code {program.process.returncode}"
        for pattern, remedy in _REMEDIES:
            if re.search(pattern, output, re.IGNORECASE):
                return f"{name}: {last}: {remedy.format(known_hosts=self._known_hosts)}"
        return f"{name}: {last}: run `pomona cloud tunnel` again"


@contextlib.contextmanager
def open_tunnel(
    commands: Sequence[list[str]], forwarded_ports: Sequence[ForwardedPort], known_hosts: str = ""
) -> Iterator[Tunnel]:
    """Open a tunnel, and close it on exit."""
    tunnel = Tunnel(commands, forwarded_ports, known_hosts)
    try:
        yield tunnel
    finally:
        tunnel.close()


def _is_listening(port: ForwardedPort) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port.local), timeout=1).close()
    except OSError:
        return False
    return True
