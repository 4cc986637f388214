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
    """Images dealt out to a stage's tasks: number i of its rows stands for the i-th share.

    The names travel with the function. Rows of them would have to be dealt out by a shuffle, for a second of the
    cores' time in each micro-batch.
    """

    featurizer: Featurizer | IsolatedFeaturizer
    shares: Sequence[Sequence[Task]]

    @classmethod
    def round_robin(
        cls, featurizer: Featurizer | IsolatedFeaturizer, tasks: Sequence[Task], count: int
    ) -> Partitions:
        """Deal images out to `count` shares, like cards: a folder's images cost alike."""
        return cls(featurizer, [tasks[i::count] for i in range(count)])

    def to_dataframe(self, spark: SparkSession) -> DataFrame:
        """The images' rows (`OUTPUT_DDL`), one partition a share, not computed yet."""
        count = len(self.shares)
        return spark.range(0, count, 1, count).mapInArrow(self, OUTPUT_DDL)

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Featurize the shares whose numbers come."""
        raise_oom_score()
        for batch in batches:
            for number in batch.column(0).to_pylist():
                yield from self.featurizer(self.shares[number])


def start_workers(spark: SparkSession, featurizer: Featurizer) -> None:
    """Start the Python workers with their engines, so that the first images do not wait for that."""
    tasks = max_concurrent_tasks(spark, featurizer)
    spark.range(0, tasks, 1, tasks).mapInArrow(featurizer.load, "id long").collect()


def max_concurrent_tasks(spark: SparkSession, featurizer: Featurizer) -> int:
    """Tasks that may run the network at the same time: one a core, or one a GPU.

    On a cluster Spark itself holds tasks back until a GPU is free, if it was told that they need one.

    Raises
    ------
    PlatformError
        Where a cluster was not told.
    """
    context = spark.sparkContext
    cores = context.defaultParallelism
    if featurizer.device != "cuda":
        return cores
    if str(context.master).startswith("local"):
        return min(cores, max(1, gpu.count()))
    if not context.getConf().get("spark.task.resource.gpu.amount"):
        raise PlatformError(
            "device cuda: this cluster gives its tasks no GPU; submit with spark.executor.resource.gpu.amount=1 "
            "and spark.task.resource.gpu.amount=1, or use --device cpu"
        )
    return cores
