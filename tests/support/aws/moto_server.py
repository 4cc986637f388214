"""Run moto, a fake AWS, in a separate process that prints the method and path of each request before executing it.

Run as a program, this module serves requests; imported, it starts that program and reads its output.
"""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from support.processes.inotify_watch import Event


class MotoServer:
    """A moto server that runs until `stop`, independently of its clients."""

    def __init__(self) -> None:
        self._popen = subprocess.Popen(
            [sys.executable, "-m", "support.aws.moto_server"],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._popen.stdout
        self.endpoint = f"http://127.0.0.1:{self._popen.stdout.readline().strip()}"
        self._requests: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    @property
    def variables(self) -> dict[str, str]:
        """Environment variables with which AWS clients use this server."""
        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        region = dict.fromkeys(("AWS_DEFAULT_REGION", "AWS_REGION"), "eu-west-1")
        return {"AWS_ENDPOINT_URL": self.endpoint, **dict.fromkeys(names, "testing"), **region}

    def events(self, seconds: float) -> Iterator[Event]:
        """Yield new requests for a number of seconds; the name of an event is the object key."""
        deadline = time.monotonic() + seconds
        while not self._requests.empty():
            self._requests.get()
        while time.monotonic() < deadline:
            try:
                method, _, path = self._requests.get(timeout=0.1).partition(" ")
            except queue.Empty:
                yield Event("nothing")
            else:
                yield Event(method, path.partition("/")[2])

    def close(self) -> None:
        """Do nothing: the server continues."""

    def stop(self) -> None:
        """Kill the server."""
        self._popen.kill()
        self._popen.wait()

    def _read(self) -> None:
        assert self._popen.stdout
        for line in self._popen.stdout:
            self._requests.put(line.strip())


def moto_application() -> Any:
    """Return the WSGI application of moto, which lists moto's folder once instead of for each request."""
    import moto.backends
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

    modules = tuple(moto.backends.list_of_moto_modules())
    moto.backends.list_of_moto_modules = lambda: modules
    return DomainDispatcherApplication(create_backend_app)


class Quiet:
    """A request handler that prints no log."""

    def log_request(self, *_: object) -> None:
        """Do nothing."""


def serve() -> None:
    """Serve on a free port of the loopback interface until standard input is closed."""
    from moto.server import MotoRequestHandler
    from werkzeug.serving import make_server

    class QuietHandler(Quiet, MotoRequestHandler):
        pass

    application = moto_application()

    def log_request(environ: dict[str, str], start: object) -> object:
        method = "COPY" if "HTTP_X_AMZ_COPY_SOURCE" in environ else environ["REQUEST_METHOD"]
        # A single write: `print` makes several, which other threads could interleave.
        sys.stdout.write(f"{method} {unquote(environ['PATH_INFO']).lstrip('/')}\n")
        sys.stdout.flush()
        return application(environ, start)

    server = make_server("127.0.0.1", 0, log_request, True, request_handler=QuietHandler)
    print(server.server_address[1], flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    serve()
