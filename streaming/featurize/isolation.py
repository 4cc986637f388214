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

TRIES = 2  # alone, in a fresh process, before an image is said to end its worker
# A fresh interpreter: what runs in a worker, threads included, must not be forked.
_PROCESSES = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class IsolatedFeaturizer:
    """Takes a Featurizer's place in a task: the worker hands the images on, to a process that may end.

    Parameters
    ----------
    featurizer : Featurizer
        Does the work there.
    alone : bool
        A process for each image, and a verdict on one that ends it twice. Else one process takes all, and what
        ends it is marked as `Outcome.CRASHED`.
    """

    featurizer: Featurizer
    one_process_per_image: bool = False

    def __call__(self, tasks: Sequence[Task]) -> Iterator[pa.RecordBatch]:
        """Featurize images, in their order.

        Yields
        ------
        pyarrow.RecordBatch
            `featurize.OUTPUT`, one row.
        """
        left, deaths = deque(tasks), 0
        while left:
            count = 1 if self.one_process_per_image else len(left)
            with self._process(list(left)[:count]) as (process, answers):
                try:
                    for _ in range(count):
                        yield _answer(answers)
                        left.popleft()
                        deaths = 0
                    continue
                except EOFError:
                    process.join()
            deaths += 1
            if not self.one_process_per_image:
                yield self.featurizer.crashed_row(left.popleft())
            elif deaths == TRIES:
                how = describe_exit(process.exitcode, self.featurizer.max_cpu_seconds)
                yield self.featurizer.quarantined_row(left.popleft(), Reason.CRASHED_WORKER, how)
                deaths = 0

    @contextmanager
    def _process(self, tasks: Sequence[Task]) -> Iterator[tuple[BaseProcess, Connection]]:
        # The GPU's memory is the worker's.
        featurizer = replace(
            self.featurizer, model=ModelBytes(self.featurizer.model.value), device="cpu"
        )
        ours, theirs = _PROCESSES.Pipe(duplex=False)
        process = _PROCESSES.Process(target=_work, args=(featurizer, tasks, theirs))
        process.start()
        theirs.close()
        try:
            _await_start(process, ours)
            yield process, ours
        finally:
            process.kill()
            process.join()
            ours.close()


@dataclass(frozen=True)
class ModelBytes:
    """The model's bytes themselves: a broadcast cannot be handed on by a worker."""

    value: bytes


def _await_start(process: BaseProcess, answers: Connection) -> None:
    """Whatever ends it before its engine has been loaded is no image's fault."""
    try:
        _answer(answers)
    except EOFError:
        process.join()
        raise ExternalError(
            f"a process for single images did not start (exit status {process.exitcode}): "
            "free memory on the workers' machine"
        ) from None


def _answer(answers: Connection) -> Any:
    answer = answers.recv()
    if isinstance(answer, Exception):
        raise answer
    return answer


def _work(featurizer: Featurizer, tasks: Sequence[Task], answers: Connection) -> None:
    """Take images one by one, in the other process; it ends without a word where nobody listens any more."""
    with suppress(BrokenPipeError):
        try:
            answers.send(list(featurizer.load([])))
            for task in tasks:
                for batch in featurizer([task]):
                    answers.send(batch)
        except MemoryError:
            os._exit(os.EX_OSERR)
        except Exception as error:  # a fault that is no image's: the worker raises it
            _send(error, answers)


def _send(error: Exception, answers: Connection) -> None:
    try:
        answers.send(error)
    except (TypeError, ValueError, pickle.PicklingError):
        answers.send(RuntimeError(f"{type(error).__name__}: {error}"))
