"""A fake EMR primary node for the tests of the tunnel: an SSH server in front of fake JupyterHub and Spark servers."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import asyncssh

from support.aws.account import certificate


@dataclass
class PrimaryNode:
    """A running SSH server, its key, and the users and connections that were requested.

    Parameters
    ----------
    port : int
        Port of the SSH server.
    key : pathlib.Path
        The private key of the client.
    services : dict of int
        Maps ports of the node to local ports; connections to other ports are refused.
    """

    port: int
    key: Path
    services: dict[int, int]
    users: list[str] = field(default_factory=list)
    requested: list[tuple[str, int]] = field(default_factory=list)
    connections: list[Any] = field(default_factory=list)
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)

    def drop(self) -> None:
        """Abort all connections, as if the node were terminated."""
        for connection in self.connections:
            self.loop.call_soon_threadsafe(connection.abort)


class _Server(asyncssh.SSHServer):
    def __init__(self, node: PrimaryNode) -> None:
        self._node = node
        self._connection: Any = None

    def connection_made(self, connection: Any) -> None:
        self._connection = connection
        self._node.connections.append(connection)

    def begin_auth(self, username: str) -> bool:
        self._node.users.append(username)
        return True

    async def _forward(self, port: int) -> Any:
        return await self._connection.forward_connection("127.0.0.1", port)

    def connection_requested(self, host: str, port: int, *_: Any) -> Any:
        self._node.requested.append((host, port))
        if port not in self._node.services:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "Connection refused")
        return self._forward(self._node.services[port])


async def _listen(node: PrimaryNode, authorized: Path) -> Any:
    return await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=lambda: _Server(node),
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        authorized_client_keys=str(authorized),
    )


@contextmanager
def serve_node(folder: Path) -> Iterator[PrimaryNode]:
    """Run a node on free ports of the loopback interface."""
    folder.mkdir(parents=True, exist_ok=True)
    key = asyncssh.generate_private_key("ssh-ed25519")
    path = folder / "mine.pem"
    path.write_bytes(key.export_private_key())
    path.chmod(0o600)
    (folder / "authorized").write_bytes(key.export_public_key())
    with _web(folder, tls=True) as hub, _web(folder, tls=False) as spark:
        node = PrimaryNode(0, path, {9443: hub, 18888: hub, 18080: spark})
        loop = node.loop
        threading.Thread(target=loop.run_forever, daemon=True).start()
        listening = _listen(node, folder / "authorized")
        server = asyncio.run_coroutine_threadsafe(listening, loop).result(20)
        node.port = server.get_port()
        yield node
        node.drop()
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)


@contextmanager
def _web(folder: Path, *, tls: bool) -> Iterator[int]:
    """Run a web server that returns ``hub`` (TLS) or ``spark``."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b"hub" if tls else b"spark"
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Page)
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate(folder))
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()
