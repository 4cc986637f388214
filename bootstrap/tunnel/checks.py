"""Checks before and after a tunnel is opened; each failure is one line with its remedy."""

from __future__ import annotations

import shutil
import socket
import ssl
from pathlib import Path

from bootstrap.errors import CloudError
from bootstrap.tunnel.commands import ForwardedPort, Node

#: Seconds that a host and a door may take to answer.
RETRY_TIMEOUT = 8.0


class TunnelError(CloudError):
    """A tunnel cannot be opened, or broke."""


def check_installed(name: str, remedy: str) -> None:
    """Check that a program is there to be started."""
    if shutil.which(name) is None:
        raise TunnelError(f"{name} is not on PATH: {remedy}")


def find_key(key: str | None, node: Node) -> Path:
    """The private key that opens a node, checked; by default, as the key pair is called in ``~/.ssh``.

    Parameters
    ----------
    key : str or None
    node : Node

    Raises
    ------
    TunnelError
    """
    if node.key is None:
        raise TunnelError(
            f"cluster {node.cluster} has no SSH key: take --via session-manager, or set "
            "[network] ssh_key and make a new cluster"
        )
    folder = Path.home() / ".ssh"
    if key is None:
        tried = [folder / f"{node.key}.pem", folder / node.key]
        found = [path for path in tried if path.exists()]
        if not found:
            reason = " and ".join(str(path) for path in tried)
            raise TunnelError(f"{reason} are not there: --key names the private half of {node.key}")
        key = str(found[0])
    path = Path(key).expanduser()
    _require_key(path, node.key)
    return path


def _require_key(path: Path, pair: str) -> None:
    try:
        mode = path.stat().st_mode & 0o777
        content = path.read_bytes()
    except OSError as error:
        reason = (error.strerror or "cannot be read").lower()
        remedy = (
            f"chmod 600 {path}" if isinstance(error, PermissionError) else "--key names another"
        )
        raise TunnelError(f"{path}: {reason}: {remedy}") from error
    if content.startswith(b"PuTTY"):
        raise TunnelError(f"{path} is PuTTY's: puttygen {path} -O private-openssh -o {pair}.pem")
    if b"PRIVATE KEY-----" not in content[:200]:
        raise TunnelError(f"{path} is no private key: --key names the private half of {pair}")
    if mode & 0o077:
        raise TunnelError(
            f"{path} may be read by others ({mode:04o}), and ssh refuses it: chmod 600 {path}"
        )


def check_port_free(port_: ForwardedPort, option: str) -> None:
    """Check that nothing listens at a door's port of this machine."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port_.local))
        except PermissionError as error:
            raise TunnelError(
                f"port {port_.local} is for root alone: {option} names one above 1023"
            ) from error
        except OSError as error:
            raise TunnelError(
                f"port {port_.local} of this machine is taken: end what listens there, another "
                f"tunnel perhaps, or name another port with {option}"
            ) from error


def check_reachable(host: str, port: int) -> None:
    """Check that a host lets this machine in at its port for SSH."""
    try:
        socket.create_connection((host, port), timeout=RETRY_TIMEOUT).close()
    except socket.gaierror as error:
        raise TunnelError(
            f"{host}: no such name: in a private subnet take --via session-manager, or --to an address that leads there"
        ) from error
    except TimeoutError as error:
        raise TunnelError(
            f"{host}: no answer at port {port}: `[network] ssh_from` must hold this machine's address "
            "(`pomona cloud up` then opens it), or take --via session-manager"
        ) from error
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise TunnelError(
            f"{host}: {reason} at port {port}: is it the primary node's address? `pomona cloud status` tells it"
        ) from error


def responds_to_http(port_: ForwardedPort) -> bool:
    """Whether a service speaks HTTP behind an open door, whatever it says."""
    try:
        plain = socket.create_connection(("127.0.0.1", port_.local), timeout=RETRY_TIMEOUT)
    except OSError:
        return False
    try:
        with plain, _open_stream(port_, plain) as stream:
            stream.sendall(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
            return stream.recv(5).startswith(b"HTTP")
    except OSError:
        return False


def _open_stream(port_: ForwardedPort, plain: socket.socket) -> socket.socket:
    if port_.scheme == "http":
        return plain
    # The node's certificate signs itself; who the node is has been told by its key for SSH.
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(plain)
