"""Distribute images over Spark tasks, and limit how many tasks run the network at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from streaming.engines import gpu
from streaming.errors import PlatformError
from streaming.featurize.isolation import IsolatedFeaturizer
from streaming.featurize.worker import OUTPUT_DDL, Featurizer, Task
from streaming.images.resource_limits import raise_oom_score


@dataclass(frozen=True)
class Partitions:
    """Images distributed over the tasks of a stage: the row with number i stands for the i-th partition.

    The file names are pickled with the function. As rows they would need a shuffle, which costs a second of all
    cores in each micro-batch.
    """

    featurizer: Featurizer | IsolatedFeaturizer
    partitions: Sequence[Sequence[Task]]

    @classmethod
    def round_robin(
        cls, featurizer: Featurizer | IsolatedFeaturizer, tasks: Sequence[Task], count: int
    ) -> Partitions:
        """Distribute images over `count` partitions in turn: images of one folder take similar time."""
        return cls(featurizer, [tasks[i::count] for i in range(count)])

    def to_dataframe(self, spark: SparkSession) -> DataFrame:
        """Return the rows of the images (`OUTPUT_DDL`), not computed yet."""
        count = len(self.partitions)
        return spark.range(0, count, 1, count).mapInArrow(self, OUTPUT_DDL)

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Featurize the partitions whose numbers are in the batches."""
        raise_oom_score()
        for batch in batches:
            for number in batch.column(0).to_pylist():
                yield from self.featurizer(self.partitions[number])


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
        If the configuration of a cluster does not.
    """
    context = spark.sparkContext
    cores = context.defaultParallelism
    if featurizer.device != "cuda":
        return cores
    if str(context.master).startswith("local"):
        return min(cores, max(1, gpu.device_count()))
    if not context.getConf().get("spark.task.resource.gpu.amount"):
        raise PlatformError(
            "device cuda: this cluster gives its tasks no GPU; submit with spark.executor.resource.gpu.amount=1 "
            "and spark.task.resource.gpu.amount=1, or use --device cpu"
        )
    return cores
