"""The Spark session: local and self-contained on a laptop, the cluster's own under ``spark-submit``."""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from pyspark.sql import SparkSession

import streaming
from streaming.cache_dir import cache_folder
from streaming.errors import PlatformError
from streaming.signals import defer_signals
from streaming.spark.class_data_sharing import archive_file, dumping_options, sharing_options
from streaming.spark.jars import FENCED_LOG_STORE, jar_files
from streaming.spark.java import java_home

log = logging.getLogger(__name__)

#: Delta's log store for S3, see `streaming.lease.fencing`; a cluster's session has it where it was submitted with it.
LOG_STORE_SETTING, LOG_STORE = "spark.delta.logStore.s3a.impl", "pomona.delta.FencedLogStore"
MEMORY_VARIABLE = "SPARK_DRIVER_MEMORY"


@dataclass(frozen=True)
class SessionSettings:
    """Size of a local session; a session on a cluster uses the cluster's settings.

    Parameters
    ----------
    cores : str
        Threads of the local master: a number, or ``*`` for all.
    driver_memory : str, optional
        Java heap of the driver, which in local mode is also the executor; default: `driver_memory()`.
    shuffle_partitions : int
        Partitions after a join or an aggregation.
    dump_classes : Path, optional
        Path to which Java writes its class archive at exit; by default an existing archive is used.
    """

    cores: str = "*"
    driver_memory: str | None = None
    shuffle_partitions: int = 4
    dump_classes: Path | None = None


# Each has a reason that a default of Spark or Delta does not know: many small files, small tables, one writer.
_COMMON = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    # A commit's small jobs go between the long tasks of what is computed meanwhile, not after them.
    "spark.scheduler.mode": "FAIR",
    "spark.hadoop.parquet.enable.dictionary#features.list.element": "false",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",
    # A micro-batch's files are listed on the driver, not by one task a file.
    "spark.sql.sources.parallelPartitionDiscovery.threshold": "1000000",
    "spark.sql.sources.parallelPartitionDiscovery.parallelism": "4",
    # Small files are dealt out by their sizes; by default each counts as 4 MB, and 1,000 images are 38 tasks.
    "spark.sql.files.openCostInBytes": "0",
    # The default of 50 partitions costs seconds a commit on logs of this size.
    "spark.databricks.delta.snapshotPartitions": "1",
    # Arrow batches carry file names on the way in and 1280 floats a row on the way out.
    "spark.sql.execution.arrow.maxRecordsPerBatch": "2048",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
}
# Each new file costs requests there, and waits for their answers: all cores ask, not the driver alone.
_REMOTE = {
    "spark.sql.sources.parallelPartitionDiscovery.threshold": "32",
    "spark.sql.sources.parallelPartitionDiscovery.parallelism": "64",
    # Each of S3A's own tries consists of so many, with growing waits; what only they repeat is to get through as well.
    "spark.hadoop.fs.s3a.attempts.maximum": "8",
    # From Hadoop 3.5 on another stream is the default, which gives up where a connection is lost within an answer.
    "spark.hadoop.fs.s3a.input.stream.type": "classic",
    # On by default from Parquet 1.16 on; S3A does not repeat what fails of such a read.
    "spark.hadoop.parquet.hadoop.vectored.io.enabled": "false",
}
# The cores belong to the network; Java's second compiler takes seconds of them, and little here runs long enough
# to give them back.
# The cache of compiled code is small then, and Spark fills it, unless it is told not to be.
# A Java without memory is ended: what is left of it would wait for threads that are gone. It says so, and must not
# say it among our results.
_QUICK_JAVA = (
    "-XX:+UseParallelGC -XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m "
    "-XX:+ExitOnOutOfMemoryError -XX:+DisplayVMOutputToStderr"
)
_LOCAL = {
    # It cuts each query into jobs that wait for cores one by one; tables of one machine have nothing to adapt.
    "spark.sql.adaptive.enabled": "false",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    # Spark remembers a thousand of each for its pages, plans included: tens of MB in a stream.
    "spark.ui.retainedJobs": "20",
    "spark.ui.retainedStages": "20",
    "spark.ui.retainedTasks": "200",
    "spark.sql.ui.retainedExecutions": "20",
    "spark.python.daemon.module": "streaming.spark.worker_daemon",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
}


def start_session(settings: SessionSettings | None = None, *, s3: bool = False) -> SparkSession:
    """Start Spark, or return the active session.

    Parameters
    ----------
    settings : SessionSettings, optional
        Size of a local session.
    s3 : bool
        Whether anything is on S3; a session of local folders then needs no AWS settings.

    Returns
    -------
    SparkSession
        With Delta Lake, in UTC, ANSI SQL.

    Raises
    ------
    PlatformError
        When Java or the jars are missing, or another package named `streaming` was imported.
    """
    check_package()
    settings = settings or SessionSettings()
    conf = dict(_COMMON)
    builder = SparkSession.builder.appName("pomona")
    if "PYSPARK_GATEWAY_PORT" not in os.environ:  # not under spark-submit
        java, jars = java_home(), jar_files()
        os.environ["JAVA_HOME"] = str(java)
        os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
        # The loopback is enough for a local master, and saves a look-up of the host's name.
        os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
        builder = builder.master(f"local[{settings.cores}]")
        dump = settings.dump_classes
        classes = dumping_options(dump) if dump else sharing_options(archive_file(java, jars))
        log_settings = Path(__file__).with_name("log4j2.properties").as_uri()
        conf |= _LOCAL | {
            "spark.driver.memory": settings.driver_memory or driver_memory(),
            "spark.driver.extraClassPath": os.pathsep.join(map(str, jars)),
            "spark.driver.extraJavaOptions": f"{_QUICK_JAVA} {classes} -Dlog4j2.configurationFile={log_settings}",
            "spark.sql.shuffle.partitions": str(settings.shuffle_partitions),
            # Spark makes an empty folder of it: not where the command is typed.
            "spark.sql.warehouse.dir": (cache_folder() / "spark-warehouse").as_uri(),
        }
        if s3:  # not among the jars above, which the archive of classes knows
            conf |= {"spark.jars": str(FENCED_LOG_STORE), LOG_STORE_SETTING: LOG_STORE}
    if s3:
        from streaming.spark.s3a_settings import s3a_settings

        conf |= _REMOTE
        conf |= {f"spark.hadoop.{key}": value for key, value in s3a_settings().items()}
    for key, value in conf.items():
        builder = builder.config(key, value)
    _quiet_query_loggers()
    try:
        with defer_signals():
            return builder.getOrCreate()
    except (RuntimeError, OSError) as error:
        raise PlatformError(
            f"Spark did not start ({error}): check JAVA_HOME and free memory"
        ) from error


def driver_memory() -> str:
    """Return the default Java heap: Spark's own environment variable SPARK_DRIVER_MEMORY, or 2g."""
    return os.environ.get(MEMORY_VARIABLE) or "2g"


def _quiet_query_loggers() -> None:
    """Silence the loggers with which PySpark 4 logs each failed query in addition to raising its exception."""
    try:
        from pyspark.logger import PySparkLogger
    except ImportError:  # Spark 3.5 has none
        return
    for name in ("SQLQueryContextLogger", "DataFrameQueryContextLogger"):
        PySparkLogger.getLogger(name).setLevel(logging.CRITICAL)


def check_package() -> None:
    """Check that the imported package `streaming` is Pomona's: mosaicml-streaming installs one of that name.

    Raises
    ------
    PlatformError
        When another package of that name precedes it on the path.
    """
    found = Path(streaming.__file__ or "").parent
    if found != Path(__file__).parents[1]:
        raise PlatformError(
            f"the package `streaming` of {found} hides Pomona's: uninstall mosaicml-streaming"
        )
