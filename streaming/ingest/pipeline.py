"""`ingest()`: prepare the model, Spark and the tables, then run the stream until it ends or is stopped."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

from streaming.delta.writer import prepare_commit
from streaming.engines.registry import choose_engine
from streaming.errors import LakeError
from streaming.featurize.microbatch import MicroBatch
from streaming.featurize.partitions import start_workers
from streaming.featurize.worker import Featurizer
from streaming.images.decode import DecodeSettings
from streaming.images.resource_limits import MEMORY_BESIDE
from streaming.ingest.run import Run
from streaming.ingest.settings import BatchCallback, IngestSettings, IngestSummary
from streaming.lake.image_index import ImageIndex
from streaming.lake.layout import Lake, create_tables
from streaming.lease.acquire import acquire_lease
from streaming.lease.holder import Lease
from streaming.maintenance.finish_moves import finish_interrupted_moves
from streaming.model.store import ensure_model, keep_precision, read_model
from streaming.signals import stop_requested
from streaming.sources.listing import Source
from streaming.spark.errors import translate_errors
from streaming.spark.session import start_session
from streaming.storage.interface import is_s3, local_path


def ingest(
    source: str,
    lake: str,
    settings: IngestSettings | None = None,
    watch: BatchCallback = lambda result, summary: None,
    stop: threading.Event | None = None,
) -> IngestSummary:
    """Turn the images below a prefix into rows of a lake, once or until asked to stop.

    Parameters
    ----------
    source, lake : str
        Folders or ``s3a://`` URIs, in any mix.
    settings : IngestSettings, optional
    watch : callable, optional
        Called after each micro-batch with its result and the sum so far.
    stop : threading.Event, optional
        Set it to stop after the micro-batch under way, as SIGINT and SIGTERM do.

    Returns
    -------
    IngestSummary

    Raises
    ------
    PomonaError
        In one line, with the remedy; the lake is left consistent, and the same command takes up where it ended.
    """
    settings = settings or IngestSettings()
    from_, to = Source.at(source), Lake.at(lake)
    check_disjoint(from_, to)
    with translate_errors(to.root):
        from_.validate(images=settings.once)
        from_.check_readable()
        to.ensure_writable_location()
        to.check_format()
        with acquire_lease(to) as lease:
            batch = open_microbatch(from_, settings, lease)
            with stop_requested(stop) as event:
                return Run(from_, batch, settings, watch, lease).until(event)


def open_microbatch(from_: Source, settings: IngestSettings, lease: Lease) -> MicroBatch:
    """Prepare all that a micro-batch needs: the network, Spark and its workers, the tables, what they hold.

    Raises
    ------
    PomonaError
        In one line.
    """
    to = lease.lake
    with translate_errors(to.root):
        precision = keep_precision(to.models, settings.precision)
        engine = choose_engine(settings.engine, precision, settings.device)
        # TensorFlow, if at all, before Spark
        extractor = ensure_model(to.models, settings.weights, precision)
        model = read_model(to.models, extractor, engine)

        with ThreadPoolExecutor(1) as beside:
            loading = beside.submit(ImageIndex.load, to)
            spark = start_session(s3=is_s3(from_.root) or is_s3(to.root))
            lease.guard(spark)
            decoding = DecodeSettings(
                *(extractor.input_size, extractor.divisor, extractor.offset, settings.max_pixels),
                memory_beside=MEMORY_BESIDE + settings.one_by_one_above,
            )
            shared_model = spark.sparkContext.broadcast(model)
            above = settings.one_by_one_above
            featurizer = Featurizer(
                *(extractor, engine, shared_model, decoding, above),
                *(settings.device, settings.settle, settings.max_cpu_seconds),
                settings.retry_timeout,
            )
            starting = beside.submit(start_workers, spark, featurizer)
            create_tables(spark, to, extractor.width)
            known = loading.result()
            if known.repeats:
                finish_interrupted_moves(spark, to)
                known = ImageIndex.load(to)
            prepare_commit(spark, to.features)
            starting.result()
        remarks = {"source": from_.root, "engine": engine, "device": settings.device}
        return MicroBatch(spark, to, featurizer, known, remarks)


def check_disjoint(source: Source, lake: Lake) -> None:
    """Raise LakeError where one of the two lies in the other: the lake's own files would count as arrivals."""
    for inner, outer, text in (
        (lake.root, source.root, "lake"),
        (source.root, lake.root, "source"),
    ):
        if f"{_behind_links(inner)}/".startswith(f"{_behind_links(outer)}/"):
            other = "source" if text == "lake" else "lake"
            raise LakeError(
                f"the {text} {inner} lies inside the {other} {outer}: name a folder outside of it"
            )


def _behind_links(root: str) -> str:
    return root if is_s3(root) else os.path.realpath(local_path(root))
