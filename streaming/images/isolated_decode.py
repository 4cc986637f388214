"""Decode images in child processes under the limits of a worker, for programs that must survive a hostile image."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import threading
from dataclasses import asdict
from multiprocessing.connection import Connection
from queue import LifoQueue
from typing import Self

import numpy as np
from PIL import ImageFile

from streaming.errors import ExternalError
from streaming.images.decode import DecodedImage, DecodeSettings, UndecodableImage, decode
from streaming.images.resource_limits import (
    MAX_CPU_SECONDS,
    MEMORY_HEADROOM,
    describe_exit,
    limit_cpu_time,
    raise_oom_score,
)
from streaming.outcomes import Reason

# A fresh interpreter, because this process has threads. `multiprocessing` would run the user's program again, which may
# lack `if __name__ == "__main__"`. Nothing is imported from the current directory.
_PROGRAM = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from streaming.images.isolated_decode import serve
serve(int(sys.argv[2]), lenient=bool(int(sys.argv[3])))
"""


class IsolatedDecoder:
    """Decodes images in child processes, which start when they are needed and are replaced when an image kills them.

    Parameters
    ----------
    processes : int
        Maximum number of processes. Other threads wait.
    max_cpu_seconds : float
        CPU time for decoding one image.
    lenient : bool
        Decode truncated and damaged files as far as Pillow can; the rest is gray.

    Notes
    -----
    Memory is limited as in a worker. Thread-safe.
    """

    def __init__(
        self,
        processes: int = 1,
        max_cpu_seconds: float = MAX_CPU_SECONDS,
        *,
        lenient: bool = False,
    ) -> None:
        self._max_cpu_seconds, self._lenient = max_cpu_seconds, lenient
        self._idle = LifoQueue[_Child | None]()
        for _ in range(processes):
            self._idle.put(None)
        self._lock = threading.Lock()
        self._children = set[_Child]()
        self._closed = False

    def __enter__(self) -> Self:
        """Return this decoder, which the block closes."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the decoder."""
        self.close()

    def close(self) -> None:
        """End the processes, also those that decode; `decode` raises UndecodableImage from now on."""
        with self._lock:
            self._closed = True
            for child in self._children:
                child.kill()
            self._children.clear()

    def decode(self, content: bytes, settings: DecodeSettings) -> DecodedImage:
        """Decode one image, see `streaming.images.decode.decode`.

        Raises
        ------
        UndecodableImage
            For invalid content; with the reason ``crashed_worker`` if decoding ended its process.
        ExternalError
            If no process can be started.
        """
        child = self._idle.get()
        try:
            child = child or self._start()
            return child.decode(content, settings)
        except (EOFError, OSError):
            exit_code = child.end() if child else None
            child = None
            how = describe_exit(exit_code, self._max_cpu_seconds)
            raise UndecodableImage(Reason.CRASHED_WORKER, how) from None
        finally:
            self._idle.put(child)

    def _start(self) -> _Child:
        with self._lock:
            if self._closed:
                raise EOFError
            child = _Child(self._max_cpu_seconds, lenient=self._lenient)
            self._children = {one for one in self._children if one.is_running} | {child}
            return child


class _Child:
    """One process, and the connection to it."""

    def __init__(self, max_cpu_seconds: float, *, lenient: bool) -> None:
        self._connection, other = multiprocessing.Pipe()
        path = [os.path.abspath(folder) for folder in sys.path if folder]
        arguments = [json.dumps(path), str(other.fileno()), str(int(lenient))]
        command = [sys.executable, "-I", "-c", _PROGRAM, *arguments]
        self._max_cpu_seconds = max_cpu_seconds
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[other.fileno()],
            )
        except OSError as error:
            self._connection.close()
            raise ExternalError(
                f"no process for decoding images can be started ({error.strerror}): free memory or processes"
            ) from error
        finally:
            other.close()

    @property
    def is_running(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def decode(self, content: bytes, settings: DecodeSettings) -> DecodedImage:
        """Decode one image in the process.

        Raises
        ------
        UndecodableImage
            For invalid content.
        EOFError, OSError
            If the process ended.
        """
        limits = asdict(settings) | {"memory_headroom": MEMORY_HEADROOM}
        request = {"settings": limits, "max_cpu_seconds": self._max_cpu_seconds}
        self._connection.send_bytes(json.dumps(request).encode())
        self._connection.send_bytes(content)
        # The answer is not pickled: a decoder that an image has taken over must not reach this process.
        answer = json.loads(self._connection.recv_bytes())
        if "reason" in answer:
            raise UndecodableImage(Reason(answer["reason"]), answer["detail"])
        rgb = np.frombuffer(self._connection.recv_bytes(), np.uint8)
        shape = (settings.size, settings.size, 3)
        return DecodedImage(
            rgb=rgb.reshape(shape), divisor=settings.divisor, offset=settings.offset, **answer
        )

    def kill(self) -> None:
        """Kill the process, which ends `decode` in another thread."""
        self._process.kill()
        self._process.wait()

    def end(self) -> int:
        """End the process, and return its exit code: its own, if it is ending itself."""
        self._connection.close()
        try:
            return self._process.wait(1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


def serve(descriptor: int, *, lenient: bool = False) -> None:
    """Decode the images that arrive over a connection, until its other end is closed."""
    raise_oom_score()
    ImageFile.LOAD_TRUNCATED_IMAGES = lenient  # global, but this process does nothing else
    with Connection(descriptor) as connection:
        while True:
            try:
                request, content = json.loads(connection.recv_bytes()), connection.recv_bytes()
            except EOFError:
                return
            try:
                with limit_cpu_time(request["max_cpu_seconds"]):
                    image = decode(content, DecodeSettings(**request["settings"]))
            except UndecodableImage as error:
                answer = {"reason": error.reason.value, "detail": error.detail}
                connection.send_bytes(json.dumps(answer).encode())
                continue
            except MemoryError:
                os._exit(os.EX_OSERR)
            facts = {"width": image.width, "height": image.height, "format": image.format}
            connection.send_bytes(json.dumps(facts).encode())
            connection.send_bytes(image.rgb.tobytes())
