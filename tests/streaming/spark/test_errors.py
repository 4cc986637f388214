"""Tests for `streaming.spark.errors`: an exception that ended a run becomes one line with its cause."""

from __future__ import annotations

import re

import pyarrow as pa
import pytest
from deltalake.exceptions import DeltaError
from py4j.protocol import Py4JError
from pyspark.errors import PySparkException

from streaming.errors import ExternalError, ModelError, SnapshotError
from streaming.spark.errors import translate_errors, translate_exception, unlistable_keys
from streaming.storage.interface import TransientError

# Messages of Spark 4.2 for an exception in a Python worker and for a full disk.
FROM_A_WORKER = """An exception was thrown from the Python worker. Please see the stack trace below.
Traceback (most recent call last):
  File "/app/streaming/storage/retry.py", line 85, in retry_transient
    return read()
           ^^^^^^
  File "/app/streaming/storage/s3_errors.py", line 85, in translate_s3_errors
    raise TransientError(f"{uri}: {error}") from error
streaming.storage.interface.TransientError: s3a://fruits/Fig/a.jpg: Read timeout on endpoint URL

JVM stacktrace:
org.apache.spark.api.python.PythonException: Traceback (most recent call last):
\tat org.apache.spark.api.python.BasePythonRunner$ReaderIterator.handlePythonException(PythonRunner.scala:1)
\tat java.base/java.lang.Thread.run(Thread.java:840)
"""
FROM_PYTHON = """An exception was thrown from the Python worker. Please see the stack trace below.
Traceback (most recent call last):
  File "/app/streaming/engines/onnxruntime.py", line 80, in run
    vectors = self._session.run(None, {self._name: images})
MemoryError: Unable to allocate 1.50 GiB for an array with shape (2048, 1280)
"""
FROM_JAVA = """An error occurred while calling o412.save.
: org.apache.spark.SparkException: Job aborted due to stage failure: Task 0 in stage 3.0 failed
\tat org.apache.spark.scheduler.DAGScheduler.abortStage(DAGScheduler.scala:1)
Caused by: org.apache.hadoop.fs.FSError: java.io.IOException: No space left on device
\tat org.apache.hadoop.fs.RawLocalFileSystem.write(RawLocalFileSystem.java:1)
Caused by: java.io.IOException: No space left on device
\tat java.base/java.io.FileOutputStream.writeBytes(Native Method)
"""

RERUN = "; rerun the same command to resume"
WRITABLE = "; mount the file system for writing, or choose a path on another one"
ACCESS = "; give this user access, or rerun the command as a user who has it"


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (FROM_A_WORKER, "s3a://fruits/Fig/a.jpg: Read timeout on endpoint URL"),
        (FROM_PYTHON, "MemoryError: Unable to allocate 1.50 GiB"),
        (FROM_JAVA, "No space left on device: the disk of /"),
        ("[DELTA_PATH_DOES_NOT_EXIST] file:/lake doesn't exist\nmore", "file:/lake doesn't exist"),
    ],
)
def test_cause_is_extracted_from_stack_traces(text: str, cause: str) -> None:
    found = translate_exception(RuntimeError(text))
    assert isinstance(found, ExternalError)
    assert str(found).startswith(cause) or cause in str(found)
    assert "\n" not in str(found)
    assert "\tat " not in str(found)


LISTING = "\tat org.apache.spark.util.HadoopFSUtils$.listLeafFiles(HadoopFSUtils.scala:180)\n"


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        (  # Spark 3.5
            "An error occurred while calling o51.start\n: java.lang.StackOverflowError\n"
            f"\tat java.base/java.net.URI$Parser.scan(URI.java:3122)\n{LISTING * 100}",
            "an empty part or a part of dots",
        ),
        (
            "listObjects() on s3a://fruits/f: software.amazon.awssdk.core.exception.SdkClientException: Could not "
            "parse XML response. (SDK Attempt Count: 1)\n=== Streaming Query ===",
            "a control character",
        ),
        (  # Hadoop 3.3
            "listObjects() on s3a://fruits/f: com.amazonaws.SdkClientException: Failed to parse XML document with "
            "handler class com.amazonaws.services.s3.model.transform.XmlResponsesSaxParser$ListBucketHandler",
            "a control character",
        ),
        (
            "listObjects() on s3a://fruits/f/Fig: x.Exception: Could not parse XML response",
            "a control",
        ),
        ("listObjects() on s3a://fruits/f2: x.Exception: Could not parse XML response", None),
        ("getFileStatus on s3a://fruits/f: x.Exception: Could not parse XML response", None),
        (f"java.lang.OutOfMemoryError: Java heap space\n{LISTING}", None),
    ],
)
def test_keys_that_spark_cannot_list_are_found_in_error(text: str, keys: str | None) -> None:
    found = unlistable_keys(RuntimeError(text), "s3a://fruits/f")
    assert found.startswith(keys) if keys else not found


def test_message_says_that_rerun_resumes() -> None:
    assert "rerun the same command to resume" in str(
        translate_exception(OSError(28, "No space left on device"))
    )
    assert "No space left on device" in str(
        translate_exception(OSError(28, "No space left on device"))
    )


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (RuntimeError(FROM_A_WORKER), RERUN),
        (TransientError("s3a://x: 503"), RERUN),
        (TimeoutError(), RERUN),
        (ConnectionResetError(104, "Connection reset by peer"), RERUN),
        (RuntimeError("Caused by: java.net.UnknownHostException: s3.example"), RERUN),
        (RuntimeError("Caused by: java.net.SocketTimeoutException: Read timed out"), RERUN),
        (PermissionError(13, "Permission denied", "/lake/features"), ACCESS),
        (OSError(30, "Read-only file system", "/lake/features"), WRITABLE),
        (TransientError("file:/lake/x: [Errno 1] Operation not permitted"), ACCESS),
        (RuntimeError("Caused by: java.nio.file.AccessDeniedException: /lake"), ACCESS),
        (OSError(36, "File name too long"), "; choose a shorter path"),
        (RuntimeError(FROM_PYTHON), ""),
        (pa.ArrowInvalid("no Parquet"), ""),
    ],
)
def test_only_transient_errors_advise_to_rerun_the_same_command(
    error: Exception, advice: str
) -> None:
    assert str(translate_exception(error)).endswith(f"(no data was lost{advice})")


def test_pomona_error_of_worker_keeps_type_and_message() -> None:
    text = FROM_A_WORKER.replace("storage.interface.TransientError", "errors.SnapshotError")
    found = translate_exception(RuntimeError(text))
    assert type(found) is SnapshotError
    assert str(found) == "s3a://fruits/Fig/a.jpg: Read timeout on endpoint URL"


def test_pomona_error_is_returned_unchanged() -> None:
    error = ModelError("model.onnx: damaged; restore it")
    assert translate_exception(error) is error


def test_exception_without_message_is_reported_by_type() -> None:
    assert "TimeoutError" in str(translate_exception(TimeoutError()))


def test_version_beyond_retention_is_reported_with_remedy() -> None:
    code = "DELTA_UNSUPPORTED_TIME_TRAVEL_BEYOND_DELETED_FILE_RETENTION_DURATION"
    found = translate_exception(
        RuntimeError(f"[{code}] Cannot time travel beyond ...\n\tat org.apache.spark")
    )
    assert isinstance(found, SnapshotError)
    assert "delta.deletedFileRetentionDuration and delta.logRetentionDuration, both at once" in str(
        found
    )


@pytest.mark.parametrize(
    "error",
    [
        TransientError("s3a://x: 503"),
        OSError("no space"),
        DeltaError("no log"),
        pa.ArrowInvalid("no Parquet"),
        Py4JError("gateway closed"),
        PySparkException("session closed"),
    ],
)
def test_external_exceptions_become_external_error(error: Exception) -> None:
    with pytest.raises(ExternalError, match=re.escape(str(error))) as caught, translate_errors():
        raise error
    assert caught.value.__cause__ is error


def test_programming_error_is_not_translated() -> None:
    with pytest.raises(KeyError), translate_errors():
        raise KeyError
