"""Recover when a Python worker dies, and find the image that caused it.

Spark loses the rows of all tasks of a worker that dies and does not report the cause. The images are therefore
processed again in isolated processes (`streaming.featurize.isolation`), one per core, so that the worker survives
their death. The images of a process that died are then processed one per process.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from threading import Lock

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from streaming.featurize.isolation import IsolatedFeaturizer
from streaming.featurize.partitions import Partitions, max_concurrent_tasks
from streaming.featurize.results import VERDICT, ComputedPart
from streaming.featurize.worker import Featurizer, Task
from streaming.outcomes import Outcome

log = logging.getLogger(__name__)

# Spark's messages for a Python worker or (on a cluster) an executor that died, and for a worker out of memory.
_WORKER_DIED = re.compile(
    r"Python worker exited unexpectedly|ExecutorLostFailure|^MemoryError|HostOutOfMemory",
    re.MULTILINE,
)
_isolation_lock = Lock()  # parts are computed concurrently


def featurize_with_crash_recovery(
    computed: ComputedPart,
    spark: SparkSession,
    featurizer: Featurizer,
    tasks: Sequence[Task],
    partitions: int,
) -> None:
    """Featurize images into `computed`, and find those that kill a worker.

    Parameters
    ----------
    computed : Computed
        Receives the rows and verdicts.
    spark : SparkSession
    featurizer : Featurizer
    tasks : sequence of Task
    partitions : int
        Number of Spark tasks, unless a worker dies.

    Raises
    ------
    PySparkException, Py4JError
        For any other error. The cached rows are released.
    """
    try:
        try:
            _collect(computed, spark, Partitions.round_robin(featurizer, tasks, partitions))
        except (PySparkException, Py4JError) as error:
            if not _WORKER_DIED.search(str(error)):
                raise
            log.warning(
                "a worker died while processing %s images: they are retried one by one",
                f"{len(tasks):,}",
            )
            _featurize_isolated(computed, spark, featurizer, tasks)
    except BaseException:
        computed.release()
        raise


def _featurize_isolated(
    computed: ComputedPart, spark: SparkSession, featurizer: Featurizer, tasks: Sequence[Task]
) -> None:
    computed.release()
    with _isolation_lock:
        count = min(len(tasks), max_concurrent_tasks(spark, featurizer))
        _collect(
            computed, spark, Partitions.round_robin(IsolatedFeaturizer(featurizer), tasks, count)
        )
        crashed = {row.path for row in computed.verdicts if row.outcome == Outcome.CRASHED}
        if crashed:
            computed.verdicts = [row for row in computed.verdicts if row.path not in crashed]
            suspects = [task for task in tasks if task[0].path in crashed]
            _collect(
                computed,
                spark,
                Partitions.round_robin(
                    IsolatedFeaturizer(featurizer, one_process_per_image=True), suspects, 1
                ),
            )


def _collect(computed: ComputedPart, spark: SparkSession, partitions: Partitions) -> None:
    frame = partitions.to_dataframe(spark).persist()
    computed.cached.append(frame)
    computed.verdicts += frame.select(*VERDICT).collect()
    computed.frame = computed.frame.unionAll(frame) if computed.frame else frame
