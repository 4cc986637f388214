"""A proxy before the stand-in for S3 that throttles, fails, breaks connections and cuts answers short, by a seed.

    client -> FaultyProxy (127.0.0.1, a free port) -> the stand-in

Which request is hit depends on the seed, the request, and how often it came: not on the order of threads, nor on the
bucket, whose name is drawn.
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

#: What happens to a request that is hit. ``lost``: it is carried out, and its answer does not arrive. ``cut``: half
#: of the answer's content does.
KINDS = ("slow_down", "error", "reset", "lost", "cut", "delay")
_HOPS = {"connection", "transfer-encoding", "keep-alive"}
_ANSWERS = {"slow_down": (503, "SlowDown"), "error": (500, "InternalError")}

Chooser = Callable[[str, str], bool]


class FaultyProxy:
    """Serves until the block ends.

    Parameters
    ----------
    upstream : str
        URL of the stand-in.
    share : float
        How many of the requests are hit, 0 to 1.
    seed : int
    kinds : sequence of str
    only : callable, optional
        Says of a method and a path (percent-encoded, with its query) whether it may be hit.
    before : callable, optional
        Called with method and path before a request is passed on.
    """

    def __init__(
        self,
        upstream: str,
        share: float,
        *,
        seed: int = 0,
        kinds: Sequence[str] = KINDS,
        only: Chooser = lambda method, path: True,
        before: Callable[[str, str], object] = lambda method, path: None,
    ) -> None:
        self.upstream, self.share, self.seed = urlparse(upstream), share, seed
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

    def fate(self, method: str, path: str) -> tuple[str | None, random.Random]:
        """What is to happen to a request, None for nothing, and where the rest of its luck comes from."""
        with self._lock:
            self.requests += 1
            self._seen[method, path] += 1
            within = path.lstrip("/").partition("/")[2]
            luck = random.Random(f"{self.seed} {method} {within} {self._seen[method, path]}")
            if not self.only(method, path) or luck.random() >= self.share:
                return None, luck
            kind = luck.choice(self.kinds)
            self.faults[kind] += 1
            return kind, luck


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def shutdown_request(self, request: Any) -> None:
        self.close_request(request)  # at once: no polite end where one is to be broken off

    def handle_error(self, *_: object) -> None:
        """A client that has gone is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: FaultyProxy

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._there: http.client.HTTPConnection | None = None

    def finish(self) -> None:
        if self._there:
            self._there.close()
        super().finish()

    def _serve(self) -> None:
        body = self._body()
        kind, luck = self.proxy.fate(self.command, self.path)
        if kind == "reset":
            return self._break()
        if kind in _ANSWERS:
            return self._refuse(*_ANSWERS[kind])
        if kind == "delay":
            time.sleep(luck.uniform(0.1, 0.6))
        self.proxy.before(self.command, self.path)
        answer, content = self._pass_on(body)
        if kind == "lost" or (kind == "cut" and not content):
            return self._break()
        cut = len(content) // 2 if kind == "cut" else None
        self._answer(answer, content[:cut])
        if kind == "cut":
            self._break()
        return None

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _serve

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(parts)

    def _pass_on(self, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        skipped = _HOPS | {"expect", "content-length"}
        headers = {k: v for k, v in self.headers.items() if k.lower() not in skipped}
        if self.command in ("PUT", "POST"):
            headers["Content-Length"] = str(len(body))
        host, port = self.proxy.upstream.hostname, self.proxy.upstream.port
        assert host
        there = self._there or http.client.HTTPConnection(host, port, timeout=60)
        self._there = None
        there.request(self.command, self.path, body or None, headers)
        answer = there.getresponse()
        content = answer.read()
        if not answer.will_close:
            self._there = there
        return answer, content

    def _answer(self, answer: http.client.HTTPResponse, content: bytes) -> None:
        self.send_response_only(answer.status, answer.reason)
        length = None
        for name, value in answer.getheaders():
            if name.lower() == "content-length":
                length = value
            elif name.lower() not in _HOPS:
                self.send_header(name, value)
        if answer.status != 204:
            self.send_header("Content-Length", length or str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _refuse(self, status: int, code: str) -> None:
        text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>by the proxy</Message></Error>"
        self.send_response_only(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text.encode())

    def _break(self) -> None:
        """End the connection without a goodbye, as a load balancer that is restarted does."""
        self.wfile.flush()
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def log_message(self, *_: Any) -> None: ...
