"""Limit the size of the results that Spark collects: a few small tasks reach it then, as many large ones do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def result_size(spark: Any, size: str) -> Iterator[None]:
    """Set ``spark.driver.maxResultSize`` of a running session; Spark reads it at the start of each stage."""
    name, conf = "spark.driver.maxResultSize", spark.sparkContext._jsc.sc().conf()
    before = conf.get(name, "1g")
    conf.set(name, size)
    try:
        yield
    finally:
        conf.set(name, before)
