"""Tests for the whole stream: it holds no more memory than after ten micro-batches; `make chaos` takes a hundred."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from support.stream_memory import micro_batches_hold_no_more_than_ten

pytestmark = [pytest.mark.spark, pytest.mark.slow]


def test_forty_micro_batches_hold_no_more_than_ten(
    spark: SparkSession, new_lake: Callable[[], Path], tmp_path: Path
) -> None:
    micro_batches_hold_no_more_than_ten(spark, new_lake(), tmp_path, 40)
