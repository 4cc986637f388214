"""A proxy in front of the stand-in for S3 that holds one request back, as a pause of its sender at that point would."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlparse


class BlockingProxy(ThreadingHTTPServer):
    """Hands on everything; a PUT whose path ends like `held` waits until `let_go` is set."""

    daemon_threads = True

    def __init__(self, behind: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind = str(urlparse(behind).netloc)
        self.held: str | None = None
        self.holds, self.let_go = threading.Event(), threading.Event()

    @property
    def endpoint(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def blocking_proxy(behind: str) -> Iterator[BlockingProxy]:
    """Run a proxy while the block runs."""
    proxy = BlockingProxy(behind)
    thread = threading.Thread(target=proxy.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.let_go.set()
        proxy.shutdown()
        proxy.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: BlockingProxy

    def _hand_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        held = self.server.held
        if self.command == "PUT" and held and urlparse(self.path).path.endswith(held):
            self.server.holds.set()
            self.server.let_go.wait()
        behind = http.client.HTTPConnection(self.server.behind, timeout=60)
        headers = {key: value for key, value in self.headers.items() if key.lower() != "expect"}
        behind.request(self.command, self.path, body, headers)
        answer = behind.getresponse()
        content = answer.read()
        self.send_response_only(answer.status)
        for key, value in answer.getheaders():
            if key.lower() not in ("transfer-encoding", "connection", "content-length"):
                self.send_header(key, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else len(content)
        self.send_header("Content-Length", str(length or 0))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
        behind.close()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _hand_on

    def log_message(self, *_words: object) -> None:
        """Say nothing."""
