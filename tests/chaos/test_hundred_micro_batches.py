"""Tests for memory growth of a stream over a hundred micro-batches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pyspark.sql import SparkSession

from support.processes.stream_memory import assert_memory_is_bounded


def test_memory_after_a_hundred_micro_batches_equals_ten(
    spark: SparkSession, new_lake: Callable[[], Path], tmp_path: Path
) -> None:
    assert_memory_is_bounded(spark, new_lake(), tmp_path, 100)
