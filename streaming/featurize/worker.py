"""The Python worker: image names in, rows of both tables out, as Arrow batches; and the Spark tasks that run it."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from streaming.engines import gpu
from streaming.engines.registry import Engine, create_engine
from streaming.errors import PlatformError
from streaming.images.decode import DecodedImage, DecodeSettings, UndecodableImage, decode
from streaming.images.decoder_warnings import collect_warnings
from streaming.images.fetch import (
    MAX_PREFETCH_BYTES,
    FetchedImage,
    is_recently_modified,
    prefetch_images,
)
from streaming.images.resource_limits import MAX_CPU_SECONDS, limit_cpu_time, raise_oom_score
from streaming.model.metadata import ModelInfo
from streaming.outcomes import Outcome, Reason
from streaming.sources.listing import label_from_path
from streaming.storage.interface import StoredFile
from streaming.storage.retry import RETRY_TIMEOUT

if TYPE_CHECKING:  # isolated child processes start without Spark
    from pyspark.sql import DataFrame, SparkSession

OUTPUT_DDL = (
    "path string, label string, length long, modified_ms long, outcome string, content_hash string, "
    "width int, height int, format string, features array<float>, reason string, detail string, "
    "attempts int, retries int, warnings array<string>"
)
_TYPES = {
    "string": pa.string(),
    "long": pa.int64(),
    "int": pa.int32(),
    "array<float>": pa.list_(pa.float32()),
    "array<string>": pa.list_(pa.string()),
}
OUTPUT = pa.schema([(n, _TYPES[t]) for n, t in (c.split() for c in OUTPUT_DDL.split(", "))])

#: An image and the number of this attempt.
Task = tuple[StoredFile, int]


class BroadcastModel(Protocol):
    """A Spark broadcast: `value` is fetched once per worker."""

    @property
    def value(self) -> bytes:
        """The bytes."""


@dataclass(frozen=True)
class Featurizer:
    """Everything a worker needs, pickled with each task; the model is therefore a broadcast.

    Parameters
    ----------
    model_info : ModelInfo
        Identity and input format of the model.
    engine : str
        Inference engine.
    model : BroadcastModel
        Bytes of the model in the engine's format.
    decode_settings : DecodeSettings
        Size, scaling and limits.
    max_prefetch_bytes : int
        Bytes of files in memory at a time; a longer file is read alone.
    device : str
        ``cpu``, or ``cuda`` for the GPU assigned to the task.
    settle : float
        Seconds for which a local file must be unmodified before it is quarantined.
    max_cpu_seconds : float
        CPU time for decoding one image; more kills the worker.
    retry_timeout : float
        Seconds for which failed reads are retried.
    boundaries : sequence of str
        Folders that links in the path of an image below them must not lead out of.
    """

    model_info: ModelInfo
    engine: str
    model: BroadcastModel
    decode_settings: DecodeSettings
    max_prefetch_bytes: int = MAX_PREFETCH_BYTES
    device: str = "cpu"
    settle: float = 0.0
    max_cpu_seconds: float = MAX_CPU_SECONDS
    retry_timeout: float = RETRY_TIMEOUT
    boundaries: Sequence[str] = ()

    def __call__(self, tasks: Sequence[Task]) -> Iterator[pa.RecordBatch]:
        """Featurize images, in their order.

        Yields
        ------
        pyarrow.RecordBatch
            `OUTPUT`: one row per image, with features, a reason, or neither if it is to be checked again.
        """
        engine = _engine(self)
        rows = self._decoded(tasks)
        while chunk := list(islice(rows, engine.batch)):
            decoded = [(row, row.image) for row in chunk if row.image]
            if decoded:
                images = np.empty((len(decoded), *decoded[0][1].rgb.shape), np.float32)
                for (_, image), pixels in zip(decoded, images, strict=True):
                    image.write_pixels(pixels)
                for (row, _), vector in zip(decoded, engine.run(images), strict=True):
                    row.features = vector
            yield pa.RecordBatch.from_pylist([row.as_dict() for row in chunk], schema=OUTPUT)

    def load(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Load the engine; pass the batches through."""
        _engine(self)
        yield from batches

    def _decoded(self, tasks: Sequence[Task]) -> Iterator[_Row]:
        attempts = {file.path: number for file, number in tasks}
        files = prefetch_images(
            (file for file, _ in tasks),
            self.decode_settings.max_bytes,
            self.max_prefetch_bytes,
            self.retry_timeout,
            self.boundaries,
        )
        for fetched in files:
            row = self._row(fetched, attempts[fetched.file.path])
            del fetched  # frees its bytes before the next ones are read
            yield row

    def _row(self, fetched: FetchedImage, attempts: int) -> _Row:
        row = _Row(fetched.file, fetched.outcome, attempts, fetched.reason, fetched.detail)
        row.retries = fetched.retries
        if fetched.outcome is Outcome.FEATURES:
            row.content_hash = hashlib.sha256(fetched.content).hexdigest()
            try:
                with (
                    collect_warnings() as row.warnings,
                    limit_cpu_time(self.max_cpu_seconds),
                ):
                    row.image = decode(fetched.content, self.decode_settings)
            except UndecodableImage as error:
                row.fail(error.reason, error.detail, self.settle)
        return row

    def quarantined_row(self, task: Task, reason: Reason, detail: str) -> pa.RecordBatch:
        """Return the row of an image that is quarantined without being decoded in this process."""
        row = _Row(task[0], Outcome.QUARANTINE, task[1])
        row.fail(reason, detail, self.settle)
        return row.as_batch()

    def crashed_row(self, task: Task) -> pa.RecordBatch:
        """Return the row of an image that killed a process and is to be retried in one of its own."""
        return _Row(task[0], Outcome.CRASHED, task[1]).as_batch()


def featurize_partitions(
    spark: SparkSession,
    featurize: Callable[[Sequence[Task]], Iterator[pa.RecordBatch]],
    tasks: Sequence[Task],
    count: int,
) -> DataFrame:
    """Return the rows of the images (`OUTPUT_DDL`), which `count` Spark tasks compute when the frame is read.

    The file names are pickled with the function. As rows they would need a shuffle, which costs a second of all
    cores in each micro-batch. Every task gets the names of all tasks, and unpickles only its own.

    Parameters
    ----------
    spark : SparkSession
    featurize : callable
        A `Featurizer` or `streaming.featurize.isolation.IsolatedFeaturizer`.
    tasks : sequence of Task
        Distributed round-robin: images of one folder take similar time.
    count : int
        Number of Spark tasks.
    """
    partitions = [pickle.dumps(tasks[i::count]) for i in range(count)]

    def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        raise_oom_score()
        for batch in batches:
            for number in batch.column(0).to_pylist():
                yield from featurize(pickle.loads(partitions[number]))

    return spark.range(0, count, 1, count).mapInArrow(run, OUTPUT_DDL)


def start_workers(spark: SparkSession, featurizer: Featurizer) -> None:
    """Start the Python workers and load their engines, so that the first images do not wait."""
    tasks = max_concurrent_tasks(spark, featurizer)
    spark.range(0, tasks, 1, tasks).mapInArrow(featurizer.load, "id long").collect()


def max_concurrent_tasks(spark: SparkSession, featurizer: Featurizer) -> int:
    """Return how many tasks may run the network at the same time: one per core, or one per GPU.

    On a cluster, Spark itself queues tasks until a GPU is free, if its configuration declares that they need one.

    Raises
    ------
    PlatformError
        If the cluster's configuration assigns no GPU to a task.
    """
    context = spark.sparkContext
    cores = context.defaultParallelism
    if featurizer.device != "cuda":
        return cores
    if str(context.master).startswith("local"):
        return min(cores, max(1, gpu.device_count()))
    if not context.getConf().get("spark.task.resource.gpu.amount"):
        raise PlatformError(
            "--device cuda: this cluster assigns no GPU to its tasks: submit with spark.executor.resource.gpu.amount=1 "
            "and spark.task.resource.gpu.amount=1, or use --device cpu"
        )
    return cores


# The engines of this worker, created once and kept between tasks.
_engines: dict[tuple[str, str, int | None], Engine] = {}


def _engine(featurizer: Featurizer) -> Engine:
    number = gpu.assigned_device() if featurizer.device == "cuda" else None
    key = (featurizer.model_info.model_id, featurizer.engine, number)
    if key not in _engines:
        _engines[key] = create_engine(
            featurizer.engine, featurizer.model_info, featurizer.model.value, gpu=number
        )
    return _engines[key]


@dataclass
class _Row:
    file: StoredFile
    outcome: Outcome
    attempts: int
    reason: Reason | None = None
    detail: str = ""
    content_hash: str | None = None
    image: DecodedImage | None = None
    features: NDArray[np.float32] | None = field(default=None)
    retries: int = 0
    warnings: list[str] = field(default_factory=list)

    def fail(self, reason: Reason, detail: str, settle: float) -> None:
        """Mark the image as quarantined, or as changing if the file was modified recently."""
        if is_recently_modified(self.file, settle):
            self.outcome = Outcome.CHANGING
        else:
            self.outcome, self.reason, self.detail = Outcome.QUARANTINE, reason, detail

    def as_batch(self) -> pa.RecordBatch:
        """Return one row of `OUTPUT`."""
        return pa.RecordBatch.from_pylist([self.as_dict()], schema=OUTPUT)

    def as_dict(self) -> dict[str, Any]:
        """Return the values of `OUTPUT`."""
        image = self.image
        return {
            "path": self.file.path,
            "label": label_from_path(self.file.path),
            "length": self.file.length,
            "modified_ms": self.file.modified_ms,
            "outcome": self.outcome.value,
            "content_hash": self.content_hash,
            "width": image and image.width,
            "height": image and image.height,
            "format": image and image.format,
            "features": self.features,
            "reason": self.reason and self.reason.value,
            "detail": self.detail,
            "attempts": self.attempts,
            "retries": self.retries,
            "warnings": self.warnings,
        }
