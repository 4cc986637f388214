"""Run a small stream with generated features once per machine, to create Java's class data sharing archive."""

from __future__ import annotations

import logging
import os
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyspark.sql import SparkSession

from streaming.featurize.microbatch import MicroBatch
from streaming.featurize.worker import OUTPUT, Featurizer, Task, start_workers
from streaming.images.decode import DecodeSettings
from streaming.ingest.run import StreamingRun
from streaming.ingest.settings import IngestSettings
from streaming.lake.image_index import ImageIndex
from streaming.lake.layout import Lake, create_tables
from streaming.model.metadata import ModelInfo
from streaming.outcomes import Outcome
from streaming.sources.listing import Source
from streaming.spark.class_data_sharing import archive_file, delete_outdated_archives
from streaming.spark.jars import jar_files
from streaming.spark.java import java_home
from streaming.spark.session import SessionSettings, start_session

log = logging.getLogger(__name__)

_MIN_ARCHIVE_BYTES = 50 * 2**20  # a failed dump leaves less
_VALUES: dict[str, Any] = {"model_id": "none", "width": 2, "versions": {}, "quantization": {}}


class StubFeaturizer(Featurizer):
    """Returns constant features without reading images: only Java's part of the pipeline matters here."""

    def __call__(self, tasks: Sequence[Task]) -> Iterator[pa.RecordBatch]:
        """Yield one batch with a row for each image."""
        rows = [
            {
                "path": file.path,
                "length": file.length,
                "modified_ms": file.modified_ms,
                "label": "",
                "outcome": Outcome.FEATURES.value,
                "content_hash": "",
                "format": "",
                "width": 1,
                "height": 1,
                "features": [0.0, 1.0],
                "attempts": attempts,
                "retries": 0,
            }
            for file, attempts in tasks
        ]
        yield pa.RecordBatch.from_pylist(rows, schema=OUTPUT)

    def load(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Load nothing: there is no engine."""
        yield from batches


def create_archive() -> None:
    """Create the class data sharing archive for this Java and these jars unless there is one; takes about 30 s."""
    java = java_home()
    archive = archive_file(java, jar_files())
    if archive.exists():
        return
    log.info(
        "creating the class data sharing archive, once (200 MB, about 30 s), so that Spark starts faster"
    )
    dump = archive.with_suffix(f".{os.getpid()}")
    spark = start_session(SessionSettings(dump_classes=dump))
    process = spark.sparkContext._gateway.proc  # type: ignore[union-attr]
    with tempfile.TemporaryDirectory() as folder:
        run_warmup_stream(spark, Path(folder))
    spark.stop()
    process.stdin.close()  # makes the JVM exit
    process.wait()
    if dump.exists() and dump.stat().st_size > _MIN_ARCHIVE_BYTES:
        dump.replace(archive)
        delete_outdated_archives(archive, java)
    else:
        dump.unlink(missing_ok=True)
        log.info("this Java wrote no class data sharing archive: Spark starts without one")


def run_warmup_stream(spark: SparkSession, folder: Path) -> None:
    """Stream one file into a new lake, then a second one with the first replaced."""
    lake, source = Lake.at(str(folder / "lake")), Source.at(str(folder / "images"))
    model_info = ModelInfo(
        **{field.name: _VALUES.get(field.name, "") for field in fields(ModelInfo)}
    )
    create_tables(spark, lake, model_info.width)
    featurizer = StubFeaturizer(
        model_info, "none", spark.sparkContext.broadcast(b""), DecodeSettings()
    )
    start_workers(spark, featurizer)
    image = folder / "images" / "label" / "0.jpg"
    image.parent.mkdir(parents=True)
    for content in (b"1", b"22"):
        image.write_bytes(content)
        image.with_name(f"{len(content)}.jpg").write_bytes(content)
        batch = MicroBatch(spark, lake, featurizer, ImageIndex.load(lake), {})
        settings = IngestSettings(once=True, settle=0)
        StreamingRun(source, batch, settings, lambda result, summary: None).run(threading.Event())


if __name__ == "__main__":
    logging.basicConfig(format="%(message)s")
    logging.getLogger("streaming").setLevel(logging.INFO)
    # Not from __main__, which the workers cannot import.
    from streaming.ingest import warmup

    warmup.create_archive()
