"""Featurize images in child processes, so that an image that kills its process is identified."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

import pyarrow as pa

from streaming.errors import ExternalError
from streaming.featurize.worker import Featurizer, Task
from streaming.images.resource_limits import describe_exit
from streaming.outcomes import Reason

ATTEMPTS = 2  # processes that an image may kill before it is quarantined
# A fresh interpreter: a worker has threads and must not be forked.
_PROCESSES = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class IsolatedFeaturizer:
    """Replaces a Featurizer in a task: images are featurized in a child process, whose death the worker survives.

    Parameters
    ----------
    featurizer : Featurizer
        Does the work in the child process.
    one_process_per_image : bool
        Use a process for each image, and quarantine an image that kills it twice. Otherwise one process featurizes
        all images, and an image that kills it gets `Outcome.CRASHED`.
    """

    featurizer: Featurizer
    one_process_per_image: bool = False

    def __call__(self, tasks: Sequence[Task]) -> Iterator[pa.RecordBatch]:
        """Featurize images, in their order.

        Yields
        ------
        pyarrow.RecordBatch
            `worker.OUTPUT`, one row.
        """
        remaining, deaths = deque(tasks), 0
        while remaining:
            count = 1 if self.one_process_per_image else len(remaining)
            with self._process(list(remaining)[:count]) as (process, results):
                try:
                    for _ in range(count):
                        yield _receive(results)
                        remaining.popleft()
                        deaths = 0
                    continue
                except EOFError:
                    process.join()
            deaths += 1
            if not self.one_process_per_image:
                yield self.featurizer.crashed_row(remaining.popleft())
            elif deaths == ATTEMPTS:
                how = describe_exit(process.exitcode, self.featurizer.max_cpu_seconds)
                yield self.featurizer.quarantined_row(
                    remaining.popleft(), Reason.CRASHED_WORKER, how
                )
                deaths = 0

    @contextmanager
    def _process(self, tasks: Sequence[Task]) -> Iterator[tuple[BaseProcess, Connection]]:
        # On the CPU: the worker already uses the memory of the GPU.
        featurizer = replace(
            self.featurizer, model=ModelBytes(self.featurizer.model.value), device="cpu"
        )
        receiver, sender = _PROCESSES.Pipe(duplex=False)
        process = _PROCESSES.Process(target=_run_child, args=(featurizer, tasks, sender))
        process.start()
        sender.close()
        try:
            _wait_for_start(process, receiver)
            yield process, receiver
        finally:
            process.kill()
            process.join()
            receiver.close()


@dataclass(frozen=True)
class ModelBytes:
    """The bytes of the model: a worker cannot pickle a Spark broadcast."""

    value: bytes


def _wait_for_start(process: BaseProcess, results: Connection) -> None:
    """Wait until the engine is loaded; a death before that is not caused by an image."""
    try:
        _receive(results)
    except EOFError:
        process.join()
        raise ExternalError(
            f"the child process that isolates images did not start (exit status {process.exitcode}): "
            "free memory on the worker's machine"
        ) from None


def _receive(results: Connection) -> Any:
    """Return the next result; raise it if it is an exception."""
    result = results.recv()
    if isinstance(result, Exception):
        raise result
    return result


def _run_child(featurizer: Featurizer, tasks: Sequence[Task], results: Connection) -> None:
    """Featurize images one by one in the child process; end silently if the parent closed the pipe."""
    with suppress(BrokenPipeError):
        try:
            results.send(list(featurizer.load([])))
            for task in tasks:
                for batch in featurizer([task]):
                    results.send(batch)
        except MemoryError:
            os._exit(os.EX_OSERR)
        except Exception as error:  # not caused by an image: the worker raises it
            _send(error, results)


def _send(error: Exception, results: Connection) -> None:
    """Send an exception, or a RuntimeError with its message if it cannot be pickled."""
    try:
        results.send(error)
    except (TypeError, ValueError, pickle.PicklingError):
        results.send(RuntimeError(f"{type(error).__name__}: {error}"))
