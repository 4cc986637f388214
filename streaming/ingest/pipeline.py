"""`ingest()`: prepare the model, Spark and the tables, then run the stream until it ends or is stopped."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

from streaming.arguments import check_argument
from streaming.delta.reader import open_table, query_rows
from streaming.delta.tables import is_table
from streaming.delta.writer import prepare_commit
from streaming.engines.registry import choose_engine
from streaming.errors import LakeError
from streaming.featurize.microbatch import MicroBatch
from streaming.featurize.worker import Featurizer, start_workers
from streaming.images.decode import DECODER_REVISION
from streaming.images.resource_limits import MEMORY_HEADROOM
from streaming.ingest.discovery import check_file_source
from streaming.ingest.run import StreamingRun
from streaming.ingest.settings import (
    BatchCallback,
    IngestSettings,
    IngestSummary,
    Stage,
    StageCallback,
    ignore_stage,
)
from streaming.ingest.up_to_date import is_up_to_date
from streaming.lake.image_index import ImageIndex
from streaming.lake.layout import Lake, create_tables
from streaming.lease.acquire import acquire_lease
from streaming.lease.holder import Lease
from streaming.maintenance.finish_moves import finish_interrupted_moves
from streaming.model.metadata import ModelInfo, revision_and_precision
from streaming.model.store import ensure_model, find_model, read_model, resolve_precision
from streaming.signals import stop_on_signals
from streaming.sources.listing import Source
from streaming.sources.selection import Selection, write_selection
from streaming.spark.errors import translate_errors
from streaming.spark.session import start_session
from streaming.storage.interface import is_below, is_s3, local_path, location_text
from streaming.storage.local import lies_inside


def ingest(
    source: str | os.PathLike[str],
    lake: str | os.PathLike[str],
    settings: IngestSettings | None = None,
    on_batch: BatchCallback = lambda result, summary: None,
    stop_event: threading.Event | None = None,
    on_stage: StageCallback = ignore_stage,
) -> IngestSummary:
    """Ingest the images below a prefix into a lake, once or until a stop is requested.

    Parameters
    ----------
    source, lake : str or os.PathLike
        Folders or ``s3://`` URIs, in any combination.
    settings : IngestSettings, optional
        None means `IngestSettings()`, which runs until a stop is requested.
    on_batch : callable, optional
        Called after each commit, of a micro-batch or of a part of a long one, with its result and the summary so far.
    stop_event : threading.Event, optional
        Set it to stop after the commit in progress, as SIGINT and SIGTERM do.
    on_stage : callable, optional
        Called at each change of the `Stage`, also from other threads, with the number of images of the source that
        are in the lake.

    Returns
    -------
    IngestSummary

    Raises
    ------
    PomonaError
        With a one-line message and the remedy. The lake stays consistent; rerun the same command to resume.

    Examples
    --------
    >>> import pomona
    >>> summary = pomona.ingest("./fruits", "./new-lake", pomona.IngestSettings(once=True))
    >>> summary.outcomes["features"], summary.outcomes["quarantine"]
    (8, 0)
    """
    settings = check_argument("settings", settings, IngestSettings | None) or IngestSettings()
    check_argument("on_batch", on_batch, Callable)
    check_argument("stop_event", stop_event, threading.Event | None)
    check_argument("on_stage", on_stage, Callable)
    images, target = Source.at(source, settings.selection), Lake.at(lake)
    check_disjoint(images, target)
    check_file_source(images, target, settings)
    with translate_errors(target.root):
        images.validate(require_images=settings.once)
        images.check_readable()
        target.ensure_writable_location()
        target.check_format()
        with acquire_lease(target) as lease:
            started = time.time()
            batch = _open_unless_up_to_date(images, settings, lease, on_stage)
            write_selection(target.sources, images.root, images.selection)
            if batch is None:
                return IngestSummary(
                    listing=images.counts, first_trigger_at=started, seconds=time.time() - started
                )
            with stop_on_signals(stop_event) as event:
                return StreamingRun(images, batch, settings, on_batch, lease, on_stage).run(event)


def _open_unless_up_to_date(
    source: Source, settings: IngestSettings, lease: Lease, on_stage: StageCallback
) -> MicroBatch | None:
    """Prepare a run; with `once`, return None before Spark starts if there is nothing to do."""
    model = load_model(lease.lake, settings, on_stage)
    with ThreadPoolExecutor(1) as background:
        index_loaded = background.submit(ImageIndex.load, lease.lake)
        if settings.once and not settings.mirror:
            on_stage(Stage.LIST, 0)
            if is_up_to_date(source, lease.lake, index_loaded):
                return None
        return open_microbatch(
            source, settings, lease, on_stage=on_stage, model=model, index_loaded=index_loaded
        )


class LoadedModel(NamedTuple):
    """The model of a lake and the engine that runs it."""

    info: ModelInfo
    engine: str
    content: bytes


def load_model(
    lake: Lake, settings: IngestSettings, on_stage: StageCallback = ignore_stage
) -> LoadedModel:
    """Choose the engine, and read the model of the lake, which is exported first if there is none.

    Raises
    ------
    PomonaError
        With a one-line message.
    """
    with translate_errors(lake.root):
        revision, of_rows = model_of_rows(lake)
        precision = resolve_precision(lake.models, settings.precision, of_rows)
        engine = choose_engine(settings.engine, precision, settings.device)
        # If TensorFlow is needed, it is imported before Spark starts.
        if find_model(lake.models) is None:
            on_stage(Stage.EXPORT, 0)
        weights = None if settings.weights is None else location_text(settings.weights)
        info = ensure_model(lake.models, weights, precision, revision)
        return LoadedModel(info, engine, read_model(lake.models, info, engine))


def open_microbatch(
    source: Source,
    settings: IngestSettings,
    lease: Lease,
    other_sources: Sequence[str] = (),
    on_stage: StageCallback = ignore_stage,
    *,
    model: LoadedModel | None = None,
    index_loaded: Future[ImageIndex] | None = None,
) -> MicroBatch:
    """Prepare Spark, the tables, and what is not given: the model and the image index; begin to start the workers.

    `MicroBatch.workers_started` has the error of a worker that cannot start.

    Links are not followed out of `source`, unless its selection says so, nor out of `other_sources`.

    Raises
    ------
    PomonaError
        With a one-line message.
    """
    lake = lease.lake
    with translate_errors(lake.root):
        model = model or load_model(lake, settings, on_stage)
        background = ThreadPoolExecutor(1)
        try:
            index_loaded = index_loaded or background.submit(ImageIndex.load, lake)
            on_stage(Stage.SPARK, 0)
            spark = start_session(s3=is_s3(source.root) or is_s3(lake.root))
            on_stage(Stage.PREPARE, 0)
            lease.guard(spark)
            featurizer = Featurizer(
                model_info=model.info,
                engine=model.engine,
                model=spark.sparkContext.broadcast(model.content),
                decode_settings=model.info.decode_settings(
                    max_pixels=settings.max_pixels,
                    memory_headroom=MEMORY_HEADROOM + settings.max_prefetch_bytes,
                ),
                max_prefetch_bytes=settings.max_prefetch_bytes,
                device=settings.device,
                settle=settings.settle,
                max_cpu_seconds=settings.max_cpu_seconds,
                retry_timeout=settings.retry_timeout,
                boundaries=[*other_sources, *([source.boundary] if source.boundary else [])],
            )
            workers_started = background.submit(start_workers, spark, featurizer)
            create_tables(spark, lake, model.info.width)
            image_index = index_loaded.result()
            if image_index.has_duplicates:
                finish_interrupted_moves(spark, lake)
                image_index = ImageIndex.load(lake)
            prepare_commit(spark, lake.features)
        finally:
            background.shutdown(wait=False)  # the query starts while the workers do
        commit_metadata: dict[str, Any] = {
            "source": source.root,
            "engine": model.engine,
            "device": settings.device,
        }
        if source.selection != Selection():
            commit_metadata["selection"] = source.selection.as_json()
        return MicroBatch(spark, lake, featurizer, image_index, commit_metadata, workers_started)


def model_of_rows(lake: Lake) -> tuple[int, str | None]:
    """Return the decoder revision and the precision for a new model: those of the rows if the model was deleted.

    Without rows, it is the current revision, and no precision.
    """
    if find_model(lake.models) is None and is_table(lake.features):
        (row,) = query_rows(open_table(lake.features), "max(model_id) AS model_id")
        return revision_and_precision(row["model_id"] or "") or (DECODER_REVISION, None)
    return DECODER_REVISION, None


def check_disjoint(source: Source, lake: Lake) -> None:
    """Raise LakeError if one is inside the other: the files of the lake would be ingested as new images."""
    for inner, inner_kind, outer, outer_kind in (
        (lake.root, "lake", source.root, "source"),
        (source.root, "source", lake.root, "lake"),
    ):
        if _lies_inside(inner, outer):
            raise LakeError(
                f"the {inner_kind} {inner} lies inside the {outer_kind} {outer}: choose a folder outside of it"
            )


def _lies_inside(inner: str, outer: str) -> bool:
    """Return whether a location is another one or below it, also under another name of the same folder."""
    if is_s3(inner) or is_s3(outer):
        return is_below(f"{inner}/", outer)
    return lies_inside(os.path.realpath(local_path(inner)), os.path.realpath(local_path(outer)))
