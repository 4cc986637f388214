"""Checks before and after a tunnel is opened; each failure is one line with its remedy."""

from __future__ import annotations

import shutil
import socket
import ssl
from pathlib import Path

from bootstrap.errors import CloudError
from bootstrap.tunnel.commands import ForwardedPort, Node

#: Timeout in seconds for connections to a host or to a forwarded port.
CONNECT_TIMEOUT = 8.0


class TunnelError(CloudError):
    """A tunnel cannot be opened, or was interrupted."""


def check_installed(name: str, remedy: str) -> None:
    """Check that a program is installed."""
    if shutil.which(name) is None:
        raise TunnelError(f"{name} is not on PATH: {remedy}")


def find_key(key: str | None, node: Node) -> Path:
    """Return the private key of a node, checked; default: the key in ``~/.ssh`` named after the key pair.

    Raises
    ------
    TunnelError
        If the node has no key pair, or the file cannot be used as its private key.
    """
    if node.key is None:
        raise TunnelError(
            f"cluster {node.cluster} has no SSH key: use --via session-manager, or set "
            "[network] ssh_key and create a new cluster"
        )
    folder = Path.home() / ".ssh"
    if key is None:
        tried = [folder / f"{node.key}.pem", folder / node.key]
        existing = [path for path in tried if path.exists()]
        if not existing:
            paths = " and ".join(str(path) for path in tried)
            raise TunnelError(
                f"{paths} do not exist: specify the private key of {node.key} with --key"
            )
        key = str(existing[0])
    path = Path(key).expanduser()
    _validate_key(path, node.key)
    return path


def _validate_key(path: Path, key_pair: str) -> None:
    """Check that a file is a private key that `ssh` accepts."""
    try:
        mode = path.stat().st_mode & 0o777
        content = path.read_bytes()
    except OSError as error:
        reason = (error.strerror or "cannot be read").lower()
        remedy = (
            f"chmod 600 {path}"
            if isinstance(error, PermissionError)
            else "specify another with --key"
        )
        raise TunnelError(f"{path}: {reason}: {remedy}") from error
    if content.startswith(b"PuTTY"):
        raise TunnelError(
            f"{path} is a PuTTY key: puttygen {path} -O private-openssh -o {key_pair}.pem"
        )
    if b"PRIVATE KEY-----" not in content[:200]:
        raise TunnelError(
            f"{path} is not a private key: specify the private key of {key_pair} with --key"
        )
    if mode & 0o077:
        raise TunnelError(
            f"{path} is readable by others ({mode:04o}), and ssh rejects it: chmod 600 {path}"
        )


def check_port_free(port: ForwardedPort, option: str) -> None:
    """Check that the local port is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port.local))
        except PermissionError as error:
            raise TunnelError(
                f"port {port.local} requires root: use a port above 1023 with {option}"
            ) from error
        except OSError as error:
            raise TunnelError(
                f"port {port.local} of this machine is in use, perhaps by another tunnel: "
                f"stop that process, or use another port with {option}"
            ) from error


def check_reachable(host: str, port: int) -> None:
    """Check that the SSH port of a host accepts connections."""
    try:
        socket.create_connection((host, port), timeout=CONNECT_TIMEOUT).close()
    except socket.gaierror as error:
        raise TunnelError(
            f"{host}: unknown host: for a private subnet use --via session-manager, or --to with a reachable address"
        ) from error
    except TimeoutError as error:
        raise TunnelError(
            f"{host}: no response at port {port}: `[network] ssh_from` must include this machine's address "
            "(`pomona cloud up` then opens the port), or use --via session-manager"
        ) from error
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise TunnelError(
            f"{host}: {reason} at port {port}: is it the primary node's address? `pomona cloud status` shows it"
        ) from error


def responds_to_http(port: ForwardedPort) -> bool:
    """Return whether an HTTP service responds at a forwarded port, with any status."""
    try:
        connection = socket.create_connection(("127.0.0.1", port.local), timeout=CONNECT_TIMEOUT)
    except OSError:
        return False
    try:
        with connection, _open_stream(port, connection) as stream:
            stream.sendall(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
            return stream.recv(5).startswith(b"HTTP")
    except OSError:
        return False


def _open_stream(port: ForwardedPort, connection: socket.socket) -> socket.socket:
    """Return the connection, with TLS if the service uses it."""
    if port.scheme == "http":
        return connection
    # The certificate of the node is self-signed; SSH has already authenticated the node.
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(connection)
