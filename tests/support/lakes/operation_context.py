"""Create the context of an operation without a running stream."""

from __future__ import annotations

from pathlib import Path

from pyspark.sql import SparkSession

from streaming.featurize.microbatch import MicroBatch
from streaming.featurize.worker import Featurizer
from streaming.lake.image_index import ImageIndex
from streaming.lake.layout import Lake
from streaming.maintenance.context import OperationContext
from streaming.model.store import find_model, read_model
from streaming.sources.listing import Source
from support.lakes.microbatch import process


def open_context(
    spark: SparkSession, lake: Path, source: str, retry_timeout: float = 1
) -> OperationContext:
    """Return a context that processes files as one micro-batch."""
    at = Lake.at(str(lake))
    model_info = find_model(at.models)
    assert model_info
    model = spark.sparkContext.broadcast(read_model(at.models, model_info, "onnxruntime"))
    decoding = model_info.decode_settings()
    featurizer = Featurizer(model_info, "onnxruntime", model, decoding, retry_timeout=retry_timeout)
    image_index = ImageIndex.load(at)
    batch = MicroBatch(
        spark,
        at,
        featurizer,
        image_index,
        {"source": Source.at(source).root, "engine": "onnxruntime"},
    )
    return OperationContext(
        at,
        spark,
        Source.at(source),
        open_microbatch=lambda: batch,
        process_files=lambda batch, files: [process(batch, files)],
        image_index=image_index,
    )


def ingest_all(context: OperationContext) -> None:
    """Ingest all images of the source."""
    assert context.source
    files = list(context.batch.image_index.new_or_changed(context.source.images()))
    process(context.batch, files)
