"""`pomona ingest`: stream images into a lake."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pomona.options import (
    DefaultExcludes,
    Exclude,
    FollowLinks,
    GlueDatabase,
    Include,
    Json,
    LakeArgument,
    RemoveLimit,
    SourceArgument,
    seconds_option,
)
from streaming.counts import format_count
from streaming.outcomes import Outcome, Reason

if TYPE_CHECKING:
    from pomona.output.console import Console
    from streaming.images.decoder_warnings import WarningCounts
    from streaming.ingest.settings import IngestSummary, StageCallback

_WARNINGS_SHOWN = 5
_RETRIED = {"reads": "read", "listings": "listing", "tables": "table request"}


def ingest(
    source: SourceArgument,
    lake: LakeArgument,
    once: Annotated[
        bool, typer.Option("--once", help="Process existing images, then stop.")
    ] = False,
    trigger: Annotated[
        float | None,
        seconds_option(
            help_text="Trigger interval, such as 30 or 5m: time between two micro-batches "
            "(default: 5 s; 60 s for images on S3, which bills each listing)."
        ),
    ] = None,
    file_source: Annotated[
        str | None,
        typer.Option(
            help="manifests (default for folders) or binaryFile (default on S3, lists all files at each trigger)."
        ),
    ] = None,
    max_files_per_trigger: Annotated[
        int | None,
        typer.Option(help="Maximum number of images per micro-batch (default: 10,000 per core)."),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="imagenet, random, or path or URI of a Keras .h5 file (default: the lake's, imagenet in a new one)."
        ),
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(
            help="onnxruntime, openvino or tensorflow (default: the first that supports the precision)."
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            help="float32, bfloat16 or int8 (default: the lake's; float32 in a new lake)."
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, or cuda to use the workers' GPUs.")] = "cpu",
    settle: Annotated[
        float,
        seconds_option(
            help_text="Quarantine a broken file only after it was unchanged for this time."
        ),
    ] = 2.0,
    sweep_every: Annotated[
        float,
        seconds_option(
            help_text="Time between two sweeps for replaced, empty and old files, such as 10m."
        ),
    ] = 600.0,
    mirror: Annotated[
        bool,
        typer.Option(
            "--mirror", help="Delete the rows of images that were deleted from the source."
        ),
    ] = False,
    remove_limit: RemoveLimit = 0.5,
    retry_timeout: Annotated[
        float, seconds_option(help_text="Retry failed reads for up to this time.")
    ] = 120.0,
    patience: Annotated[float | None, seconds_option("--patience", hidden=True)] = None,
    max_pixels: Annotated[
        int, typer.Option(help="Maximum width x height to decode; larger images are quarantined.")
    ] = (100_000_000),
    max_prefetch_bytes: Annotated[
        int,
        typer.Option(
            help="Maximum bytes of files that a worker prefetches (32 MB); a larger file is read alone."
        ),
    ] = 33_554_432,
    max_cpu_seconds: Annotated[
        float,
        typer.Option(
            help="Maximum CPU seconds to decode one image; slower images are quarantined."
        ),
    ] = 60.0,
    max_failure_rate: Annotated[
        float,
        typer.Option(
            help="Stop if more than this fraction (0 to 1) of the latest images (at least 200) is quarantined."
        ),
    ] = 0.5,
    include: Include = None,
    exclude: Exclude = None,
    default_excludes: DefaultExcludes = True,
    follow_links: FollowLinks = False,
    cloudwatch: Annotated[
        str | None,
        typer.Option(
            metavar="NAMESPACE",
            help="Publish backlog and age of the last commit to this CloudWatch namespace each minute.",
        ),
    ] = None,
    glue_database: GlueDatabase = None,
    as_json: Json = False,
) -> None:
    """Ingest images below SOURCE into LAKE as they arrive.

    Ctrl-C or SIGTERM stops after the commit in progress; the same command resumes with the images that are left.

    Example: pomona ingest ~/Pictures/fruits ./lake --once
    """
    from pomona.output.console import Console
    from streaming.ingest.pipeline import ingest as run
    from streaming.ingest.settings import IngestSettings

    settings = IngestSettings(
        once=once,
        trigger=trigger,
        file_source=file_source,
        max_files_per_trigger=max_files_per_trigger,
        weights=weights,
        engine=engine,
        precision=precision,
        device=device,
        settle=settle,
        sweep_every=sweep_every,
        mirror=mirror,
        remove_limit=remove_limit,
        retry_timeout=retry_timeout if patience is None else patience,
        max_pixels=max_pixels,
        max_prefetch_bytes=max_prefetch_bytes,
        max_cpu_seconds=max_cpu_seconds,
        max_failure_rate=max_failure_rate,
        include=include or (),
        exclude=exclude or (),
        default_excludes=default_excludes,
        follow_links=follow_links,
        cloudwatch=cloudwatch,
    )
    console = Console(as_json=as_json)
    with (
        console.status("starting"),
        registering_tables(stage_reporter(console, source), lake, glue_database) as report,
    ):
        summary = run(source, lake, settings, console.report_batch, on_stage=report)
    if as_json:
        console.print_json(summary_json(summary))
        return
    for line in summary_lines(summary):
        console.print(line)
    if summary.reasons:
        console.print(f"details: pomona quarantine {lake}")
    if summary.missing_extras:
        console.print(f"then: pomona quarantine {lake} --retry --reason {Reason.UNSUPPORTED}")


def stage_reporter(console: Console, source: str) -> StageCallback:
    """Return a function that reports the stages of an ingestion; it prints only stages that can last, and each once."""
    from streaming.ingest.settings import Stage

    def report(stage: Stage, images: int) -> None:
        if stage is Stage.WATCH:
            counted = format_count(images, "image")
            shown = f"watching {source}: {counted}, nothing new; Ctrl-C to stop"
            console.report_stage(f"watching {source}", shown=shown)
        else:
            console.report_stage(stage, plain=stage in (Stage.EXPORT, Stage.SPARK, Stage.STOP))

    return report


@contextmanager
def registering_tables(
    report: StageCallback, lake: str, database: str | None
) -> Iterator[StageCallback]:
    """Register the tables of a lake in a Glue database as soon as they exist, in a thread: no image waits for Glue.

    Yields
    ------
    callable
        Like `report`; it must be called at each change of the stage.
    """
    if database is None:
        yield report
        return
    from batch_pca.refits.glue import check_database, register_tables
    from streaming.ingest.settings import Stage
    from streaming.lake.layout import Lake

    at = Lake.at(lake)
    check_database(at, database)
    latest: Stage | None = None
    registered: Future[list[str]] | None = None

    with ThreadPoolExecutor(1, "glue") as pool:

        def report_and_register(stage: Stage, images: int) -> None:
            nonlocal latest, registered
            report(stage, images)
            if latest is Stage.PREPARE:  # the tables have been created
                registered = pool.submit(register_tables, at, database)
            latest = stage

        yield report_and_register
        if registered:
            registered.result()
        else:  # nothing was new
            register_tables(at, database)


def summary_lines(summary: IngestSummary) -> list[str]:
    """Format the summary of an ingestion as text lines."""
    good, bad = summary.outcomes[Outcome.FEATURES], summary.outcomes[Outcome.QUARANTINE]
    rate = f" ({summary.images_per_second:.1f} per second)" if summary.images_per_second else ""
    featurized = format_count(good, "image")
    first = f"{featurized} featurized, {bad:,} quarantined in {summary.busy:.1f} s{rate}"
    lines = [first + (f", {summary.replaced:,} of them replaced" if summary.replaced else "")]
    if summary.reasons:
        listed = ", ".join(f"{count} {reason}" for reason, count in sorted(summary.reasons.items()))
        lines.append(f"quarantined: {listed}")
    for extra, count in sorted(summary.missing_extras.items()):
        lines.append(f"an extra is needed for {count:,} of them: pip install 'pomona[{extra}]'")
    lines += _warning_lines(summary.warnings)
    if summary.removed:
        lines.append(f"{format_count(summary.removed, 'row')} of deleted images removed")
    if summary.skipped_deletions:
        kept = format_count(summary.skipped_deletions, "row")
        lines.append(f"{kept} of deleted images kept")
    if summary.outcomes[Outcome.DELETED]:
        deleted = format_count(summary.outcomes[Outcome.DELETED], "image")
        lines.append(f"{deleted} deleted before the first read")
    retries = {name: count for name, count in sorted(summary.retries.items()) if count}
    if retries:
        counts = ", ".join(format_count(count, _RETRIED[name]) for name, count in retries.items())
        lines.append(f"retried after transient errors: {counts}")
    lines += summary.listing.describe()
    if summary.waiting:
        lines.append(f"{format_count(summary.waiting, 'image')} left for the next run")
    return lines


def _warning_lines(counts: WarningCounts) -> list[str]:
    """Format the most frequent warnings of the decoders, each with the path of one image."""
    if not counts.images:
        return []
    lines = [f"{format_count(counts.images, 'image')} with decoder warnings"]
    for message, images in counts.messages.most_common(_WARNINGS_SHOWN):
        lines.append(f"  {images:,}: {message} (for example {counts.examples[message]})")
    if (more := len(counts.messages) - _WARNINGS_SHOWN) > 0:
        lines.append(f"  and {format_count(more, 'other message')}: see --json")
    return lines


def summary_json(summary: IngestSummary) -> dict[str, Any]:
    """Convert the summary of an ingestion to a JSON object."""
    return {
        "featurized": summary.outcomes[Outcome.FEATURES],
        "quarantined": summary.outcomes[Outcome.QUARANTINE],
        "reasons": dict(summary.reasons),
        "missing_extras": dict(summary.missing_extras),
        "images_with_warnings": summary.warnings.images,
        "warnings": [
            {"message": message, "images": count, "example": summary.warnings.examples[message]}
            for message, count in summary.warnings.messages.most_common()
        ],
        "replaced": summary.replaced,
        "removed": summary.removed,
        "skipped_deletions": summary.skipped_deletions,
        "deleted_before_read": summary.outcomes[Outcome.DELETED],
        **summary.listing.as_json(),
        "waiting": summary.waiting,
        "retries": {name: summary.retries[name] for name in ("reads", "listings", "tables")},
        "batches": summary.batches,
        "seconds": round(summary.seconds, 3),
        "busy_seconds": round(summary.busy, 3),
        "images_per_second": summary.images_per_second,
        "first_trigger_at": round(summary.first_trigger_at, 3),
        "last_row_at": round(summary.last_row_at, 3),
    }
