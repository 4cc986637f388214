"""A proxy in front of the moto server that delays one request, as if its sender were paused at that point."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlparse


class BlockingProxy(ThreadingHTTPServer):
    """Forward all requests. A PUT whose path ends with `blocked_suffix` waits until `release` is set."""

    daemon_threads = True

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = str(urlparse(upstream).netloc)
        self.blocked_suffix: str | None = None
        self.is_blocking, self.release = threading.Event(), threading.Event()

    @property
    def endpoint(self) -> str:
        """URL of the proxy."""
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def blocking_proxy(upstream: str) -> Iterator[BlockingProxy]:
    """Run a proxy for an endpoint while the ``with`` block runs."""
    proxy = BlockingProxy(upstream)
    thread = threading.Thread(target=proxy.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.release.set()
        proxy.shutdown()
        proxy.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: BlockingProxy

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        suffix = self.server.blocked_suffix
        if self.command == "PUT" and suffix and urlparse(self.path).path.endswith(suffix):
            self.server.is_blocking.set()
            self.server.release.wait()
        upstream = http.client.HTTPConnection(self.server.upstream, timeout=60)
        headers = {key: value for key, value in self.headers.items() if key.lower() != "expect"}
        upstream.request(self.command, self.path, body, headers)
        response = upstream.getresponse()
        content = response.read()
        self.send_response_only(response.status)
        for key, value in response.getheaders():
            if key.lower() not in ("transfer-encoding", "connection", "content-length"):
                self.send_header(key, value)
        length = response.getheader("Content-Length") if self.command == "HEAD" else len(content)
        self.send_header("Content-Length", str(length or 0))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
        upstream.close()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _forward

    def log_message(self, *_arguments: object) -> None:
        """Log nothing."""
