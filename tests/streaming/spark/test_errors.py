"""Tests for `streaming.spark.errors`: whatever ended a run, one line that names its cause."""

from __future__ import annotations

import re

import pyarrow as pa
import pytest
from deltalake.exceptions import DeltaError
from py4j.protocol import Py4JError
from pyspark.errors import PySparkException

from streaming.errors import ExternalError, ModelError, SnapshotError
from streaming.spark.errors import translate_errors, translate_exception
from streaming.storage.interface import TransientError

# What Spark 4.2 hands on when a Python worker raises, when the disk is full, when Delta refuses.
FROM_A_WORKER = """An exception was thrown from the Python worker. Please see the stack trace below.
Traceback (most recent call last):
  File "/app/streaming/fetch.py", line 85, in retry_transient
    return read()
           ^^^^^^
  File "/app/streaming/s3.py", line 153, in translated
    raise TransientError(f"{uri}: {error}") from error
streaming.storage.interface.TransientError: s3a://fruits/Fig/a.jpg: Read timeout on endpoint URL

JVM stacktrace:
org.apache.spark.api.python.PythonException: Traceback (most recent call last):
\tat org.apache.spark.api.python.BasePythonRunner$ReaderIterator.handlePythonException(PythonRunner.scala:1)
\tat java.base/java.lang.Thread.run(Thread.java:840)
"""
FROM_PYTHON = """An exception was thrown from the Python worker. Please see the stack trace below.
Traceback (most recent call last):
  File "/app/streaming/engines.py", line 80, in run
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


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (FROM_A_WORKER, "s3a://fruits/Fig/a.jpg: Read timeout on endpoint URL"),
        (FROM_PYTHON, "MemoryError: Unable to allocate 1.50 GiB"),
        (FROM_JAVA, "No space left on device: the disk of /"),
        ("[DELTA_PATH_DOES_NOT_EXIST] file:/lake doesn't exist\nmore", "file:/lake doesn't exist"),
    ],
)
def test_the_cause_is_found_below_the_stacks(text: str, cause: str) -> None:
    found = translate_exception(RuntimeError(text))
    assert isinstance(found, ExternalError)
    assert str(found).startswith(cause) or cause in str(found)
    assert "\n" not in str(found)
    assert "\tat " not in str(found)


def test_keys_that_spark_lists_without_an_end_are_told_with_the_remedy() -> None:
    listing = "\tat org.apache.spark.util.HadoopFSUtils$.listLeafFiles(HadoopFSUtils.scala:180)\n"
    stack = "\tat java.base/java.net.URI$Parser.scan(URI.java:3122)\n" + listing * 100
    found = translate_exception(
        RuntimeError(
            f"An error occurred while calling o51.start\n: java.lang.StackOverflowError\n{stack}"
        )
    )
    assert "cannot list a key of S3 with an empty part or one of dots" in str(found)
    assert "\n" not in str(found)


def test_it_says_that_the_same_command_goes_on() -> None:
    assert "rerun the same command to resume" in str(
        translate_exception(OSError(28, "No space left on device"))
    )
    assert "No space left on device" in str(
        translate_exception(OSError(28, "No space left on device"))
    )


def test_an_error_that_a_worker_made_for_users_keeps_its_kind_and_its_words() -> None:
    text = FROM_A_WORKER.replace("storage.interface.TransientError", "errors.SnapshotError")
    found = translate_exception(RuntimeError(text))
    assert type(found) is SnapshotError
    assert str(found) == "s3a://fruits/Fig/a.jpg: Read timeout on endpoint URL"


def test_a_message_that_was_made_for_users_stays_as_it_is() -> None:
    error = ModelError("model.onnx: damaged; restore it")
    assert translate_exception(error) is error


def test_an_exception_without_a_text_is_named() -> None:
    assert "TimeoutError" in str(translate_exception(TimeoutError()))


def test_a_version_that_delta_refuses_for_its_age_is_told_with_the_remedy() -> None:
    code = "DELTA_UNSUPPORTED_TIME_TRAVEL_BEYOND_DELETED_FILE_RETENTION_DURATION"
    found = translate_exception(
        RuntimeError(f"[{code}] Cannot time travel beyond ...\n\tat org.apache.spark")
    )
    assert isinstance(found, SnapshotError)
    assert "delta.deletedFileRetentionDuration and delta.logRetentionDuration, both at once" in str(
        found
    )


@pytest.mark.parametrize(
    "fault",
    [
        TransientError("s3a://x: 503"),
        OSError("no space"),
        DeltaError("no log"),
        pa.ArrowInvalid("no Parquet"),
        Py4JError("the gateway is gone"),
        PySparkException("the session is gone"),
    ],
)
def test_whatever_raises_it_ends_in_one_line(fault: Exception) -> None:
    with pytest.raises(ExternalError, match=re.escape(str(fault))) as told, translate_errors():
        raise fault
    assert told.value.__cause__ is fault


def test_a_mistake_of_the_program_is_not_hidden() -> None:
    with pytest.raises(KeyError), translate_errors():
        raise KeyError
