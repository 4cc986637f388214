"""Settings and summary of an ingestion."""

from __future__ import annotations

import math
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from streaming.arguments import check_fields
from streaming.delta.throughput import images_per_second
from streaming.errors import UsageError
from streaming.featurize.failure_rate import MAX_FAILURE_RATE
from streaming.featurize.results import BatchResult
from streaming.images.decode import DecodeSettings
from streaming.images.decoder_warnings import WarningCounts
from streaming.images.fetch import MAX_PREFETCH_BYTES
from streaming.images.resource_limits import MAX_CPU_SECONDS
from streaming.maintenance.missing_images import DEFAULT_REMOVE_LIMIT
from streaming.model.backends import DEVICES, ENGINES, PRECISIONS, TOLERANCES, supported_backends
from streaming.outcomes import Outcome
from streaming.sources.listing import ListingCounts
from streaming.sources.selection import Selection
from streaming.storage.interface import is_s3, normalize
from streaming.storage.retry import RETRY_TIMEOUT

#: Images computed and committed together, per core: twenty seconds of work, long compared with a commit, and short
#: enough to wait for on a stop and to repeat after a crash.
IMAGES_PER_PART_PER_CORE = 2000
#: Images in one micro-batch of the stream, per core; Spark's own work per micro-batch is not pipelined.
IMAGES_PER_TRIGGER_PER_CORE = 5 * IMAGES_PER_PART_PER_CORE
#: Default seconds between two triggers, for folders and on S3, which bills a listing of all images at each trigger.
TRIGGER, TRIGGER_ON_S3 = 5.0, 60.0
_NAMESPACE = re.compile(r"(?!AWS/)[\w./#-]{1,255}", re.ASCII)

#: Names of the file sources of the stream.
BINARY_FILE, MANIFESTS = "binaryFile", "manifests"


@dataclass(frozen=True)
class IngestSettings:
    """Options of an ingestion and their defaults.

    Parameters
    ----------
    once : bool
        Process the existing images and stop, instead of waiting for more.
    trigger : float, optional
        Seconds between two triggers of the stream; None means `TRIGGER`, or `TRIGGER_ON_S3` for images on S3.
    file_source : str, optional
        ``manifests``, which lists only the folders that changed, for a source and a lake that are folders;
        ``binaryFile``, Spark's source, which lists all files at each trigger. None means ``manifests`` if possible.
    max_files_per_trigger : int, optional
        Images in one micro-batch; None means `IMAGES_PER_TRIGGER_PER_CORE` per core.
    weights : str or os.PathLike, optional
        ``imagenet``, ``random``, or a Keras ``.h5``; None keeps the lake's model; a new lake gets ``imagenet``.
    engine : str, optional
        One of `streaming.model.backends.ENGINES`; None means the first that supports the precision.
    precision : str, optional
        ``float32``, ``bfloat16`` or ``int8``; None keeps the lake's precision; a new lake gets ``float32``.
    device : str
        ``cpu``, or ``cuda`` for the GPUs of the workers.
    settle : float
        Seconds for which a local file must be unmodified before it is quarantined; S3 objects appear complete.
    sweep_every : float
        Seconds between two comparisons of the listing with the tables.
    mirror : bool
        Delete the rows of images that were deleted from the source.
    remove_limit : float
        Share of the source's rows that `mirror` may delete at once; if it would be more, none is deleted.
    retry_timeout : float
        Seconds for which failed reads are retried; then the micro-batch fails.
    max_pixels : int
        Maximum width x height to decode; larger images are quarantined.
    max_prefetch_bytes : int
        Maximum bytes of files that a worker keeps in memory. A longer file is read alone, without prefetching others.
    max_cpu_seconds : float
        CPU time for decoding one image; more kills the worker, and the image is quarantined.
    max_failure_rate : float
        Share of the latest images, at least 200, that may be quarantined, 0 to 1; more stops the run before their rows
        are written.
    include : sequence of str
        Glob patterns of the files to select, see `streaming.sources.selection.Selection`; all if empty.
    exclude : sequence of str
        Glob patterns of files to leave out, even if they are included.
    default_excludes : bool
        Also leave out thumbnails, recycle bins and snapshots, such as ``@eaDir``.
    follow_links : bool
        Follow symbolic links that lead out of the source.
    cloudwatch : str, optional
        CloudWatch namespace for the metrics of the run, see `streaming.ingest.cloudwatch`; None publishes none.

    Raises
    ------
    UsageError
        If a value has another type or is out of range.

    Examples
    --------
    >>> import pomona
    >>> settings = pomona.IngestSettings(once=True, max_failure_rate=1)
    >>> settings.sweep_every
    600.0
    """

    once: bool = False
    trigger: float | None = None
    file_source: str | None = None
    max_files_per_trigger: int | None = None
    weights: str | os.PathLike[str] | None = None
    engine: str | None = None
    precision: str | None = None
    device: str = DEVICES[0]
    settle: float = 2.0
    sweep_every: float = 600.0
    mirror: bool = False
    remove_limit: float = DEFAULT_REMOVE_LIMIT
    retry_timeout: float = RETRY_TIMEOUT
    max_pixels: int = DecodeSettings.max_pixels
    max_prefetch_bytes: int = MAX_PREFETCH_BYTES
    max_cpu_seconds: float = MAX_CPU_SECONDS
    max_failure_rate: float = MAX_FAILURE_RATE
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    default_excludes: bool = True
    follow_links: bool = False
    cloudwatch: str | None = None

    @property
    def selection(self) -> Selection:
        """The selection of files by their names and links."""
        return Selection(self.include, self.exclude, self.default_excludes, self.follow_links)

    def trigger_seconds(self, source: str | os.PathLike[str]) -> float:
        """Return the seconds between two triggers for the images of a source.

        Examples
        --------
        >>> import pomona
        >>> settings = pomona.IngestSettings()
        >>> settings.trigger_seconds("./fruits"), settings.trigger_seconds("s3://bucket/fruits")
        (5.0, 60.0)
        """
        if self.trigger is not None:
            return self.trigger
        return TRIGGER_ON_S3 if is_s3(normalize(source)) else TRIGGER

    def __post_init__(self) -> None:
        check_fields(self)
        self._check_backend()
        if self.file_source not in (None, BINARY_FILE, MANIFESTS):
            raise UsageError(
                f"--file-source {self.file_source}: choose {BINARY_FILE} or {MANIFESTS}"
            )
        _ = self.selection  # check the patterns
        for name, minimum in (
            ("max_files_per_trigger", 1),
            ("max_pixels", 1),
            ("max_prefetch_bytes", 1),
            ("sweep_every", 1),
            ("trigger", 0),
            ("settle", 0),
            ("max_cpu_seconds", 0.1),
            ("retry_timeout", 0),
            ("remove_limit", 0),
        ):
            value = getattr(self, name)
            if value is not None and not minimum <= value < math.inf:
                option = "--" + name.replace("_", "-")
                raise UsageError(f"{option} {value:g}: give {minimum} or more")
        if self.cloudwatch is not None and not _NAMESPACE.fullmatch(self.cloudwatch):
            raise UsageError(
                f"--cloudwatch {self.cloudwatch!r}: a namespace has 1 to 255 letters, digits and ./_#-, "
                "and does not start with AWS/"
            )
        if not 0 <= self.max_failure_rate <= 1:
            raise UsageError(
                f"--max-failure-rate {self.max_failure_rate:g}: give a fraction, 0 to 1"
            )
        if self.remove_limit > 1:
            raise UsageError(f"--remove-limit {self.remove_limit:g}: give a fraction, 0 to 1")

    def _check_backend(self) -> None:
        for name, known in (("engine", ENGINES), ("precision", PRECISIONS), ("device", DEVICES)):
            value = getattr(self, name)
            if value is not None and value not in known:
                choices = " or ".join((", ".join(known[:-1]), known[-1]))
                raise UsageError(f"--{name} {value}: choose {choices}")
        if not supported_backends(self.engine, self.device, self.precision):
            given = {"engine": self.engine, "device": self.device, "precision": self.precision}
            options = " ".join(f"--{name} {value}" for name, value in given.items() if value)
            supported = "; ".join(" ".join(backend) for backend in TOLERANCES)
            raise UsageError(f"{options}: unsupported combination; supported are: {supported}")


@dataclass
class IngestSummary:
    """Totals over all micro-batches of one run.

    Attributes
    ----------
    outcomes, reasons : Counter
        Images by outcome, and quarantined images by reason.
    replaced : int
        Images whose earlier row was replaced.
    removed, skipped_deletions : int
        Rows of deleted images: deleted, and kept for safety.
    batches : int
        Commits that wrote rows: micro-batches, and parts of long ones.
    retries : Counter
        Retried operations: ``reads`` of images, ``listings`` and other requests of the driver, ``tables`` (Spark's
        requests to S3).
    warnings : WarningCounts
        Images with warnings of the decoders: their number, and by message.
    missing_extras : Counter
        Quarantined images whose format needs an extra that is not installed, by extra.
    waiting : int
        The backlog of the source (`streaming.lake.image_index.ImageIndex.backlog`) as of the latest listing of this
        run, less the images that were written or found deleted since.
    listing : ListingCounts
        Entries of the source that are not images: hidden, excluded, without an image suffix, or impossible to list.
    seconds : float
        From the first trigger to the end.
    busy : float
        Sum of the durations of the batches that wrote images, see `streaming.delta.throughput`.
    first_trigger_at, last_row_at : float
        Start of the stream and time of the last commit, in seconds since 1970.

    Examples
    --------
    >>> import pomona
    >>> summary = pomona.ingest("./fruits", "./lake", pomona.IngestSettings(once=True))
    >>> summary.waiting, summary.outcomes.total(), summary.reasons.total()
    (0, 0, 0)
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    replaced: int = 0
    removed: int = 0
    skipped_deletions: int = 0
    batches: int = 0
    retries: Counter[str] = field(default_factory=Counter)
    warnings: WarningCounts = field(default_factory=WarningCounts)
    missing_extras: Counter[str] = field(default_factory=Counter)
    waiting: int = 0
    listing: ListingCounts = field(default_factory=ListingCounts)
    seconds: float = 0.0
    busy: float = 0.0
    first_trigger_at: float = 0.0
    last_row_at: float = 0.0

    @property
    def images(self) -> int:
        """Number of images written to either table."""
        return self.outcomes[Outcome.FEATURES] + self.outcomes[Outcome.QUARANTINE]

    @property
    def images_per_second(self) -> float | None:
        """Images written per second of `busy`; None if none was written."""
        return images_per_second(self.images, self.busy)

    @property
    def ignored(self) -> int:
        """Number of files that are hidden, excluded, or have no image suffix."""
        return self.listing.ignored

    def add(self, result: BatchResult) -> None:
        """Add the result of one micro-batch."""
        self.outcomes += result.outcomes
        self.reasons += result.reasons
        self.replaced += result.replaced
        self.retries["reads"] += result.retries
        self.warnings.update(result.warnings)
        self.missing_extras += result.missing_extras
        self.batches += result.written > 0
        if result.written:
            self.last_row_at = time.time()
            self.busy += result.seconds


#: Called after each micro-batch with its result and the summary so far.
BatchCallback = Callable[[BatchResult, IngestSummary], None]


class Stage(StrEnum):
    """What an ingestion is doing.

    Attributes
    ----------
    EXPORT, SPARK, PREPARE : Stage
        Exporting the model, starting Spark, preparing the tables and the workers.
    LIST, PROCESS, WATCH : Stage
        Listing the source, processing images, waiting for more of them.
    STOP : Stage
        Stopping after the commit in progress.
    """

    EXPORT = "exporting the model"
    SPARK = "starting Spark"
    PREPARE = "preparing the tables and the workers"
    LIST = "listing the source"
    PROCESS = "processing images"
    WATCH = "watching"
    STOP = "stopping after the commit in progress"


#: Called at each change of the stage with the number of images of the source that are in the lake.
StageCallback = Callable[[Stage, int], None]


def ignore_stage(_stage: Stage, _images: int) -> None:
    """Do nothing; the default `StageCallback`."""
