"""A proxy that injects errors into S3 requests: throttling, server errors, lost connections, truncated responses.

    client -> FaultyProxy (127.0.0.1, a free port) -> moto server

Which request fails depends on the seed, the method, the key and the number of the attempt, not on the order of
threads or on the random bucket name.
"""

from __future__ import annotations

import http.client
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlparse

#: Kinds of errors. ``lost``: the request is executed, but its response is not sent. ``cut``: half of the response
#: body is sent.
FAULTS = ("slow_down", "error", "reset", "lost", "cut", "delay")
_HOP_HEADERS = {"connection", "transfer-encoding", "keep-alive"}
_ERROR_RESPONSES = {"slow_down": (503, "SlowDown"), "error": (500, "InternalError")}

RequestFilter = Callable[[str, str], bool]


class FaultyProxy:
    """Serves while the ``with`` block runs.

    Parameters
    ----------
    upstream : str
        URL of the moto server.
    rate : float
        Share of the requests that fail, 0 to 1.
    seed : int
    kinds : sequence of str
    only : callable, optional
        Called with the method and the percent-encoded path and query; requests for which it returns False succeed.
    before : callable, optional
        Called with method and path before a request is forwarded.
    """

    def __init__(
        self,
        upstream: str,
        rate: float,
        *,
        seed: int = 0,
        kinds: Sequence[str] = FAULTS,
        only: RequestFilter = lambda method, path: True,
        before: Callable[[str, str], object] = lambda method, path: None,
    ) -> None:
        self.upstream, self.rate, self.seed = urlparse(upstream), rate, seed
        self.kinds, self.only, self.before = kinds, only, before
        self.requests = 0
        self.faults: Counter[str] = Counter()
        self._seen: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"proxy": self})
        self._server = _Server(("127.0.0.1", 0), handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def choose_fault(self, method: str, path: str) -> tuple[str | None, random.Random]:
        """Return the kind of error for a request, or None, and the random generator of the request."""
        with self._lock:
            self.requests += 1
            self._seen[method, path] += 1
            key = path.lstrip("/").partition("/")[2]
            rng = random.Random(f"{self.seed} {method} {key} {self._seen[method, path]}")
            if not self.only(method, path) or rng.random() >= self.rate:
                return None, rng
            kind = rng.choice(self.kinds)
            self.faults[kind] += 1
            return kind, rng


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def shutdown_request(self, request: Any) -> None:
        self.close_request(
            request
        )  # without the shutdown handshake, so that a connection can be reset

    def handle_error(self, *_: object) -> None:
        """Ignore clients that closed the connection."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: FaultyProxy

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._upstream: http.client.HTTPConnection | None = None

    def finish(self) -> None:
        if self._upstream:
            self._upstream.close()
        super().finish()

    def _serve(self) -> None:
        body = self._body()
        kind, rng = self.proxy.choose_fault(self.command, self.path)
        if kind == "reset":
            return self._reset()
        if kind in _ERROR_RESPONSES:
            return self._send_error(*_ERROR_RESPONSES[kind])
        if kind == "delay":
            time.sleep(rng.uniform(0.1, 0.6))
        self.proxy.before(self.command, self.path)
        response, content = self._forward(body)
        if kind == "lost" or (kind == "cut" and not content):
            return self._reset()
        cut = len(content) // 2 if kind == "cut" else None
        self._send_response(response, content[:cut])
        if kind == "cut":
            self._reset()
        return None

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _serve

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(chunks)

    def _forward(self, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        skipped = _HOP_HEADERS | {"expect", "content-length"}
        headers = {k: v for k, v in self.headers.items() if k.lower() not in skipped}
        if self.command in ("PUT", "POST"):
            headers["Content-Length"] = str(len(body))
        host, port = self.proxy.upstream.hostname, self.proxy.upstream.port
        assert host
        upstream = self._upstream or http.client.HTTPConnection(host, port, timeout=60)
        self._upstream = None
        upstream.request(self.command, self.path, body or None, headers)
        response = upstream.getresponse()
        content = response.read()
        if not response.will_close:
            self._upstream = upstream
        return response, content

    def _send_response(self, response: http.client.HTTPResponse, content: bytes) -> None:
        self.send_response_only(response.status, response.reason)
        length = None
        for name, value in response.getheaders():
            if name.lower() == "content-length":
                length = value
            elif name.lower() not in _HOP_HEADERS:
                self.send_header(name, value)
        if response.status != 204:
            self.send_header("Content-Length", length or str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _send_error(self, status: int, code: str) -> None:
        text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>by the proxy</Message></Error>"
        self.send_response_only(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text.encode())

    def _reset(self) -> None:
        """Reset the connection, as a restarted load balancer does."""
        self.wfile.flush()
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def log_message(self, *_: Any) -> None: ...
