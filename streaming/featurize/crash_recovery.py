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

# Spark's words for a Python worker or, on a cluster, a whole executor that is gone; and a worker without memory.
_ENDED = re.compile(
    r"Python worker exited unexpectedly|ExecutorLostFailure|^MemoryError|HostOutOfMemory",
    re.MULTILINE,
)
_one_at_a_time = Lock()  # parts are computed beside each other


def featurize_with_crash_recovery(
    computed: ComputedPart,
    spark: SparkSession,
    featurizer: Featurizer,
    tasks: Sequence[Task],
    shares: int,
) -> None:
    """Featurize images into `computed`, and find those that end a worker.

    Parameters
    ----------
    computed : Computed
        Gets the rows, and their verdicts.
    spark : SparkSession
    featurizer : Featurizer
    tasks : sequence of Task
    shares : int
        In how many tasks, where nothing happens.

    Raises
    ------
    PySparkException, Py4JError
        For any other fault; nothing is left cached then.
    """
    try:
        try:
            _take(computed, spark, Partitions.round_robin(featurizer, tasks, shares))
        except (PySparkException, Py4JError) as error:
            if not _ENDED.search(str(error)):
                raise
            log.warning(
                "a worker ended over one of %s images: they are taken again one by one",
                f"{len(tasks):,}",
            )
            _take_apart(computed, spark, featurizer, tasks)
    except BaseException:
        computed.release()
        raise


def _take_apart(
    computed: ComputedPart, spark: SparkSession, featurizer: Featurizer, tasks: Sequence[Task]
) -> None:
    computed.release()
    with _one_at_a_time:
        count = min(len(tasks), max_concurrent_tasks(spark, featurizer))
        _take(computed, spark, Partitions.round_robin(IsolatedFeaturizer(featurizer), tasks, count))
        crashed = {row.path for row in computed.verdicts if row.outcome == Outcome.CRASHED}
        if crashed:
            computed.verdicts = [row for row in computed.verdicts if row.path not in crashed]
            suspects = [task for task in tasks if task[0].path in crashed]
            _take(
                computed,
                spark,
                Partitions.round_robin(
                    IsolatedFeaturizer(featurizer, one_process_per_image=True), suspects, 1
                ),
            )


def _take(computed: ComputedPart, spark: SparkSession, shares: Partitions) -> None:
    frame = shares.to_dataframe(spark).persist()
    computed.cached.append(frame)
    computed.verdicts += frame.select(*VERDICT).collect()
    computed.frame = computed.frame.unionAll(frame) if computed.frame else frame
