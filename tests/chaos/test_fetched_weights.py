"""Tests for downloaded ImageNet weights: a file with another hash is rejected."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

PROGRAM = """
import sys
import streaming.model.keras
from streaming.model.export import export
from streaming.model.weights import WeightsUnavailable
streaming.model.keras._WHERE = sys.argv[1]
try:
    export("imagenet")
except WeightsUnavailable as error:
    print(error)
"""


class WrongFileHandler(BaseHTTPRequestHandler):
    """Returns the same few bytes for every request."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "9")
        self.end_headers()
        self.wfile.write(b"\x89HDF\r\n\x1a\n!")

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def test_weights_with_wrong_hash_are_rejected_in_one_line(tmp_path: Path) -> None:
    server = HTTPServer(("127.0.0.1", 0), WrongFileHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, f"http://127.0.0.1:{server.server_port}/"],
            env=os.environ | {"KERAS_HOME": str(tmp_path)},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        )
    finally:
        server.shutdown()
        server.server_close()
    assert "hash does not match" in done.stdout
    assert "give --weights PATH" in done.stdout
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""
