"""Tests for memory growth of a stream over twenty micro-batches; `make chaos` runs a hundred."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from support.processes.stream_memory import assert_memory_is_bounded

pytestmark = [pytest.mark.spark, pytest.mark.slow]


@pytest.mark.long
def test_memory_after_twenty_micro_batches_equals_ten(
    spark: SparkSession, new_lake: Callable[[], Path], tmp_path: Path
) -> None:
    assert_memory_is_bounded(spark, new_lake(), tmp_path, 20)
