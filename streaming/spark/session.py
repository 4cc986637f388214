"""The Spark session: local and self-contained on a laptop, the cluster's own under ``spark-submit``."""

from __future__ import annotations

import logging
import os
import pwd
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from py4j.clientserver import ClientServer
from pyspark import SparkConf, SparkContext
from pyspark.sql import SparkSession

import streaming
from streaming.cache_dir import cache_folder, executable_folder, private_folder, session_folder
from streaming.errors import PlatformError, UsageError
from streaming.signals import defer_signals
from streaming.spark.callbacks import start_callback_server
from streaming.spark.class_data_sharing import archive_file, dumping_options, sharing_options
from streaming.spark.jars import FENCED_LOG_STORE, jar_files
from streaming.spark.java import java_home
from streaming.spark.local_environment import (
    MEMORY_VARIABLE,
    ignore_foreign_settings,
    spark_environment,
    under_spark_submit,
)

log = logging.getLogger(__name__)

#: Delta's log store for S3, see `streaming.lease.fencing`; on a cluster, it must be passed to spark-submit.
LOG_STORE_SETTING, LOG_STORE = "spark.delta.logStore.s3a.impl", "pomona.delta.FencedLogStore"


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
        Path to which Java dumps its class data sharing archive at exit; by default an existing archive is used.
    """

    cores: str = "*"
    driver_memory: str | None = None
    shuffle_partitions: int = 4
    dump_classes: Path | None = None


_DELTA = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
}
# The defaults of Spark and Delta do not suit many small files, small tables and a single writer.
_COMMON = _DELTA | {
    # The small jobs of a commit run between the long tasks of the next part, not after them.
    "spark.scheduler.mode": "FAIR",
    "spark.hadoop.parquet.enable.dictionary#features.list.element": "false",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",
    # List the files of a micro-batch on the driver, not with one task per file.
    "spark.sql.sources.parallelPartitionDiscovery.threshold": "1000000",
    "spark.sql.sources.parallelPartitionDiscovery.parallelism": "4",
    # Pack small files into tasks by size; by default each counts as 4 MB, and 1,000 images need 38 tasks.
    "spark.sql.files.openCostInBytes": "0",
    # The default of 50 partitions costs seconds per commit with logs of this size.
    "spark.databricks.delta.snapshotPartitions": "1",
    # Each row of an Arrow batch has 1280 floats; the default is 10,000 rows.
    "spark.sql.execution.arrow.maxRecordsPerBatch": "2048",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    # By default SQL gives its Python workers an environment variable that those of an RDD lack. A refit uses both, and
    # would start all workers twice.
    "spark.sql.execution.pyspark.udf.simplifiedTraceback.enabled": "false",
    # PySpark broadcasts larger functions, such as those with the file names of a large part, and keeps a file for each
    # until the session ends. Smaller ones are in the tasks' binary, which Spark removes after use, but each task has a
    # copy: 16 MB are enough for the parts of 100 cores.
    "spark.broadcast.UDFCompressionThreshold": "16m",
}
# Listing on S3 waits for a request per file: use all cores, not only the driver.
_S3 = {
    "spark.sql.sources.parallelPartitionDiscovery.threshold": "32",
    "spark.sql.sources.parallelPartitionDiscovery.parallelism": "64",
    # Attempts of the AWS SDK, with exponential backoff, within each attempt of S3A: some errors only the SDK retries.
    "spark.hadoop.fs.s3a.attempts.maximum": "8",
    # The default since Hadoop 3.5 is another stream, which fails if a connection is lost within a response.
    "spark.hadoop.fs.s3a.input.stream.type": "classic",
    # On by default since Parquet 1.16; S3A does not retry failed vectored reads.
    "spark.hadoop.parquet.hadoop.vectored.io.enabled": "false",
}
# TieredStopAtLevel=1: the C2 compiler takes seconds of CPU time, and little code here runs long enough to gain from it.
# ReservedCodeCacheSize: without C2 the default code cache is small, and Spark fills it.
# ExitOnOutOfMemoryError: otherwise the JVM would wait forever for threads that died.
# DisplayVMOutputToStderr: keeps messages of the JVM out of the results on stdout.
# ErrorFile, ReplayDataFile: by default the JVM writes hs_err_pid*.log, with paths and memory contents, and, if the
# compiler crashed, replay_pid*.log to the current directory.
# UsePerfData: a full temporary folder makes the JVM print a warning at start.
# Xrs: without it, Java prints the stacks of all threads on Ctrl-\, although the signal is ignored at its start.
_JAVA_OPTIONS = (
    "-XX:+UseParallelGC -XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m "
    "-XX:+ExitOnOutOfMemoryError -XX:+DisplayVMOutputToStderr -XX:-UsePerfData -Xrs "
    "-Dfile.encoding=UTF-8"
)
_LOCAL = {
    # Adaptive execution splits each query into jobs that wait for cores one by one, and local tables gain nothing.
    "spark.sql.adaptive.enabled": "false",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    # By default Spark keeps a thousand of each for its UI, with their plans: tens of MB in a stream.
    "spark.ui.retainedJobs": "20",
    "spark.ui.retainedStages": "20",
    "spark.ui.retainedTasks": "200",
    "spark.sql.ui.retainedExecutions": "20",
    "spark.python.daemon.module": "streaming.spark.worker_daemon",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    # Other users of the machine reach the ports of Spark. Spark creates a secret per session, and keeps it in memory.
    "spark.authenticate": "true",
}


# The Spark context that `start_session` has started in this process.
_own_context: SparkContext | None = None


def find_foreign_session() -> SparkSession | None:
    """Return the active session if the caller of Pomona has started it, for example in a notebook.

    Raises
    ------
    PlatformError
        If it lacks Delta Lake.
    """
    context = SparkContext._active_spark_context
    if context is None or context is _own_context:
        return None
    session = SparkSession.builder.getOrCreate()
    for name, value in _DELTA.items():
        if value not in (session.conf.get(name, None) or ""):
            raise PlatformError(
                f"the active Spark session has no Delta Lake ({name} lacks {value}): "
                "call spark.stop() first, or create the session with the settings of Delta Lake"
            )
    return session


def _separate_session(foreign: SparkSession) -> SparkSession:
    """Return a session with settings of its own in the same Spark context; the foreign session stays as it is."""
    session = foreign.newSession()
    for name, value in _COMMON.items():
        if name not in _DELTA and session.conf.isModifiable(name):
            session.conf.set(name, value)
    return session


def start_session(settings: SessionSettings | None = None, *, s3: bool = False) -> SparkSession:
    """Start Spark, or return the session that an earlier call has started.

    If the caller of Pomona has started Spark, return a new session of its Spark context. The caller's own session, its
    settings and the environment stay as they are, and `settings` and `s3` do not apply.

    Parameters
    ----------
    settings : SessionSettings, optional
        Size of a local session.
    s3 : bool
        Configure S3A and the log store for S3; a session for local folders needs no AWS settings.

    Returns
    -------
    SparkSession
        With Delta Lake, in UTC, ANSI SQL.

    Raises
    ------
    PlatformError
        If Java or the jars are missing, another package named `streaming` was imported, or the caller's session lacks
        Delta Lake.
    """
    global _own_context
    check_package()
    if foreign := find_foreign_session():
        return _separate_session(foreign)
    settings = settings or SessionSettings()
    conf = _COMMON | {"spark.app.name": "pomona"}
    environment: AbstractContextManager[None] = nullcontext()
    if not under_spark_submit():
        ignore_foreign_settings()
        _check_folders()
        java, jars = java_home(), jar_files()
        environment = spark_environment(java)
        dump = settings.dump_classes
        classes = dumping_options(dump) if dump else sharing_options(archive_file(java, jars))
        log_settings = Path(__file__).with_name("log4j2.properties").as_uri()
        conf |= _LOCAL | {
            "spark.master": f"local[{settings.cores}]",
            "spark.driver.memory": settings.driver_memory or driver_memory(),
            "spark.driver.extraClassPath": os.pathsep.join(map(str, jars)),
            "spark.driver.extraJavaOptions": f"{_JAVA_OPTIONS} {classes} {_folder_options()} "
            f"-Dlog4j2.configurationFile={log_settings}",
            "spark.local.dir": str(session_folder(private_folder())),
            # S3A writes the files that it uploads there, by default to the folder /tmp/hadoop-USER.
            "spark.hadoop.hadoop.tmp.dir": str(session_folder(private_folder()) / "hadoop"),
            "spark.sql.shuffle.partitions": str(settings.shuffle_partitions),
            # Spark creates this empty folder, by default in the working directory. It would not decode a URI.
            "spark.sql.warehouse.dir": str(cache_folder() / "spark-warehouse"),
        }
        if _has_user_name():
            # Not on the class path, which must match the class data sharing archive.
            conf["spark.jars"] = str(FENCED_LOG_STORE)
        else:
            # The launcher resolves spark.jars through Hadoop, before `_log_in_by_number`.
            conf["spark.driver.extraClassPath"] += f"{os.pathsep}{FENCED_LOG_STORE}"
        if s3:
            conf[LOG_STORE_SETTING] = LOG_STORE
    if s3:
        from streaming.spark.s3a_settings import s3a_settings

        conf |= _S3
        conf |= {f"spark.hadoop.{key}": value for key, value in s3a_settings().items()}
    builder = SparkSession.builder
    for key, value in conf.items():
        builder = builder.config(key, value)
    _quiet_query_loggers()
    try:
        with defer_signals(), environment:
            if not under_spark_submit() and not _has_user_name():
                _log_in_by_number(conf)
            spark = builder.getOrCreate()
            _own_context = spark.sparkContext
            gateway = spark.sparkContext._gateway
            if not under_spark_submit() and isinstance(gateway, ClientServer):
                start_callback_server(gateway)
            return spark
    except (RuntimeError, OSError) as error:
        raise PlatformError(
            f"Spark did not start ({error}): check JAVA_HOME and free memory"
        ) from error


def _check_folders() -> None:
    """Check that Java and Spark can use the paths of the folders for the cache and for temporary files.

    The class path separates entries by colons, and Spark the folders for temporary files by commas; Java's options are
    in quotes. Java does not find classes below a path with characters beyond U+FFFF, such as emoji.
    """
    for folder, variable, special in (
        (cache_folder(), "XDG_CACHE_HOME", ":"),
        (private_folder(), "TMPDIR", '",\\'),
    ):
        found = [letter for letter in str(folder) if letter in special or ord(letter) > 0xFFFF]
        if found:
            raise PlatformError(
                f"{folder}: Spark cannot use a folder with {found[0]} in its path: set {variable} to another folder"
            )


def _folder_options() -> str:
    """Return the Java options for the folders that Java would take from the system and its user database.

    Libraries unpack native code into the folder for temporary files, so that programs must be allowed there. Without
    an entry for the user, Java's home is the relative folder ``?``.
    """
    temporary = session_folder(executable_folder(private_folder(), cache_folder()))
    home = os.path.expanduser("~")
    home = home if os.path.isabs(home) else str(private_folder())
    dumps = private_folder()
    return (
        f'"-Djava.io.tmpdir={temporary}" "-Duser.home={home}" '
        f'"-XX:ErrorFile={dumps}/hs_err_pid%p.log" "-XX:ReplayDataFile={dumps}/replay_pid%p.log"'
    )


def _has_user_name() -> bool:
    """Return whether the user database has an entry for this user, from which Hadoop takes the name."""
    try:
        return bool(pwd.getpwuid(os.geteuid()))
    except KeyError:
        return False


def _log_in_by_number(conf: Mapping[str, str]) -> None:
    """Start Java, and set the number of the user as the user name; Hadoop's own login would fail."""
    SparkContext._ensure_initialized(conf=SparkConf().setAll(list(conf.items())))
    user = SparkContext._jvm.org.apache.hadoop.security.UserGroupInformation  # type: ignore[union-attr]
    user.setLoginUser(user.createRemoteUser(str(os.geteuid())))


def driver_memory() -> str:
    """Return the default Java heap: Spark's own environment variable SPARK_DRIVER_MEMORY, or 2g.

    Raises
    ------
    UsageError
        If the variable is not a size.
    """
    memory = os.environ.get(MEMORY_VARIABLE) or "2g"
    if not re.fullmatch(r"[1-9]\d*[kmgt]", memory, re.IGNORECASE):
        raise UsageError(
            f"{MEMORY_VARIABLE}={memory}: give a number and a unit, such as 900m or 4g"
        )
    return memory


def _quiet_query_loggers() -> None:
    """Silence the loggers with which PySpark 4 logs each failed query in addition to raising its exception."""
    try:
        from pyspark.logger import PySparkLogger
    except ImportError:  # not in Spark 3.5
        return
    for name in ("SQLQueryContextLogger", "DataFrameQueryContextLogger"):
        PySparkLogger.getLogger(name).setLevel(logging.CRITICAL)


def check_package() -> None:
    """Check that the imported package `streaming` is Pomona's; mosaicml-streaming installs one of the same name.

    Raises
    ------
    PlatformError
        If another package of that name precedes it on the path.
    """
    found = Path(streaming.__file__ or "").parent
    if found != Path(__file__).parents[1]:
        raise PlatformError(
            f"the package `streaming` in {found} hides that of Pomona: uninstall mosaicml-streaming"
        )
