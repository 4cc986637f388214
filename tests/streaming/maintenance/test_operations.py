"""Tests for `streaming.maintenance.operations`: a request that others have planted does nothing but fail."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import deltalake
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from streaming.errors import UsageError
from streaming.featurize.microbatch import MicroBatch
from streaming.featurize.results import BatchResult
from streaming.lake.layout import Lake
from streaming.maintenance.context import OperationContext
from streaming.maintenance.operations import OPERATIONS, execute, execute_and_answer
from streaming.maintenance.requests import Request, pending_requests, poll_result, submit
from streaming.sources.listing import Source
from streaming.storage.interface import StoredFile

SOURCE = "file:/photos"


def open_context(root: Path, source: str = SOURCE) -> OperationContext:
    """Return a context in which no request may get as far as to open a micro-batch or to process files."""

    def open_batch() -> MicroBatch:
        raise AssertionError("a micro-batch was opened")

    def process(batch: MicroBatch, files: Sequence[StoredFile]) -> list[BatchResult]:
        raise AssertionError(f"{files} were processed")

    spark = cast(SparkSession, None)
    return OperationContext(Lake.at(str(root)), spark, Source.at(source), open_batch, process)


INVALID: list[tuple[str, dict[str, Any]]] = [
    ("reconcile", {}),
    ("reconcile", {"source": None}),
    ("reconcile", {"source": "file:/etc"}),
    ("reconcile", {"source": f"{SOURCE}/../etc"}),
    ("reconcile", {"source": f"{SOURCE}/"}),
    ("reconcile", {"source": f"{SOURCE}2"}),
    ("reconcile", {"source": "s3a://bucket/photos"}),
    ("reconcile", {"source": SOURCE, "limit": 1e9}),
    ("reconcile", {"source": SOURCE, "limit": -1}),
    ("reconcile", {"source": SOURCE, "limit": "1"}),
    ("reconcile", {"source": SOURCE, "rewritten": "file:/etc/a.jpg"}),
    ("reconcile", {"source": SOURCE, "rewritten": [None]}),
    ("reconcile", {"source": SOURCE, "selection": []}),
    ("reconcile", {"source": SOURCE, "selection": {"include": ["a"]}}),
    ("reconcile", {"source": SOURCE, "follow_links": True}),
    ("retry", {"reason": ["x"]}),
    ("retry", {"reason": None, "source": "file:/etc"}),
    ("forget", {}),
    ("forget", {"paths": "file:/photos/a.jpg"}),
    ("forget", {"paths": [{"a": 1}]}),
    ("set_retention", {"days": "9 days'); DROP TABLE"}),
    ("set_retention", {"days": 0}),
    ("set_retention", {"days": 2**40}),
    ("set_retention", {"days": True}),
    ("eval", {"code": "1"}),
    ("__class__", {}),
    ("stop", {}),
]


@pytest.mark.parametrize(("kind", "arguments"), INVALID)
def test_request_that_does_not_match_its_schema_or_source_is_rejected(
    tmp_path: Path, kind: str, arguments: dict[str, Any]
) -> None:
    context = open_context(tmp_path)
    with pytest.raises(UsageError) as caught:
        execute(context, Request(kind, arguments))
    assert "\n" not in str(caught.value)
    submit(context.lake, Request(kind, arguments, "1"))
    (request,) = pending_requests(context.lake)
    execute_and_answer(context, request)
    assert pending_requests(context.lake) == []
    with pytest.raises(UsageError):
        poll_result(context.lake, request)


def test_each_operation_has_a_schema_of_its_arguments(tmp_path: Path) -> None:
    for kind in OPERATIONS:
        with pytest.raises(UsageError, match=r"nonsense is not an argument|is missing"):
            execute(open_context(tmp_path), Request(kind, {"nonsense": 1}))


def test_retry_processes_no_file_outside_of_the_source(tmp_path: Path) -> None:
    for name in ("private/a.jpg", "photos 2/b.jpg"):
        file = tmp_path / name
        file.parent.mkdir()
        file.write_bytes(b"1")
    paths = [f"file:{tmp_path}/private/a.jpg", f"file:{tmp_path}/photos 2/b.jpg"]
    paths += [f"file:{tmp_path}/photos/../private/a.jpg"]
    (tmp_path / "photos").mkdir()
    context = open_context(tmp_path / "lake", str(tmp_path / "photos"))
    rows = {
        "path": paths,
        "length": pa.array([1] * 3, pa.int64()),
        "modification_time": [datetime(2026, 1, 1, tzinfo=UTC)] * 3,
        "reason": ["corrupt"] * 3,
    }
    deltalake.write_deltalake(context.lake.quarantine.removeprefix("file:"), pa.table(rows))
    result = execute(context, Request("retry", {"reason": None}))
    assert (result["retried"], result["other_sources"]) == (0, 3)
