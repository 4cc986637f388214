"""Settings and summary of an ingestion, as two dataclasses."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from streaming.errors import UsageError
from streaming.featurize.failure_rate import MAX_FAILURE_RATE
from streaming.featurize.results import BatchResult
from streaming.images.decode import DecodeSettings
from streaming.images.fetch import ONE_BY_ONE_ABOVE
from streaming.images.resource_limits import MAX_CPU_SECONDS
from streaming.maintenance.missing_images import REMOVED_AT_MOST
from streaming.model.backends import DEVICES, ENGINES, PRECISIONS, TOLERANCES, supported_backends
from streaming.storage.retry import RETRY_TIMEOUT

#: Images that are computed and committed together, for each core: twenty seconds of work. Long beside what a commit
#: costs by itself, short to wait for and to do again.
IMAGES_PER_PART_PER_CORE = 2000
#: Images in one micro-batch of the stream, for each core; what Spark does for a micro-batch is not overlapped.
IMAGES_PER_TRIGGER_PER_CORE = 5 * IMAGES_PER_PART_PER_CORE


@dataclass(frozen=True)
class IngestSettings:
    """Everything that can be set about an ingestion, and its defaults.

    Parameters
    ----------
    once : bool
        Take what is there and stop, instead of waiting for more.
    trigger : float
        Seconds between two listings by the stream.
    max_files_per_trigger : int, optional
        Images in one micro-batch; None is `IMAGES_PER_TRIGGER_PER_CORE` for each core.
    weights : str, optional
        ``imagenet``, ``random``, or a Keras ``.h5``; None keeps the lake's model, or is ``imagenet`` in a new lake.
    engine : str, optional
        What runs the model, one of `streaming.model.backends.ENGINES`; None is the first that has the precision.
    precision : str, optional
        ``float32`` or ``bfloat16``; None keeps the lake's, or is ``float32`` in a new lake.
    device : str
        ``cpu``, or ``cuda`` for the GPUs of the workers.
    settle : float
        Seconds for which a file in a folder must not have changed before it is said to be broken; objects of S3
        appear whole.
    sweep_every : float
        Seconds between two comparisons of the listing with the tables.
    mirror : bool
        Remove the rows of images that the source has no longer.
    remove_limit : float
        Share of the source's rows that this may remove at once; where it would be more, it removes none.
    retry_timeout : float
        Seconds for which a read that fails is tried again; then the micro-batch fails.
    max_pixels : int
        Greatest width times height that is decoded.
    one_by_one_above : int
        Length in bytes above which a worker holds a file alone, without reading others ahead.
    max_cpu_seconds : float
        Of the processor's time for the decoding of one image; more ends the worker, and the image is quarantined.
    max_failure_rate : float
        Share of the last 200 images or more that may fail, 0 to 1; more ends the run before they are written.

    Raises
    ------
    UsageError
        For a value out of its range.
    """

    once: bool = False
    trigger: float = 5.0
    max_files_per_trigger: int | None = None
    weights: str | None = None
    engine: str | None = None
    precision: str | None = None
    device: str = DEVICES[0]
    settle: float = 2.0
    sweep_every: float = 600.0
    mirror: bool = False
    remove_limit: float = REMOVED_AT_MOST
    retry_timeout: float = RETRY_TIMEOUT
    max_pixels: int = DecodeSettings.max_pixels
    one_by_one_above: int = ONE_BY_ONE_ABOVE
    max_cpu_seconds: float = MAX_CPU_SECONDS
    max_failure_rate: float = MAX_FAILURE_RATE

    def __post_init__(self) -> None:
        self._check_way()
        for name, least in (
            ("max_files_per_trigger", 1),
            ("max_pixels", 1),
            ("one_by_one_above", 1),
            ("sweep_every", 1),
            ("trigger", 0),
            ("settle", 0),
            ("max_cpu_seconds", 0.1),
            ("retry_timeout", 0),
            ("remove_limit", 0),
        ):
            value = getattr(self, name)
            if value is not None and not least <= value < math.inf:
                option = "--" + name.replace("_", "-")
                raise UsageError(f"{option} is {value}: it must be {least} or more")
        if not 0 <= self.max_failure_rate <= 1:
            raise UsageError(f"--max-failure-rate is {self.max_failure_rate}: it must be 0 to 1")
        if self.remove_limit > 1:
            raise UsageError(f"--remove-limit is {self.remove_limit}: it must be 0 to 1")

    def _check_way(self) -> None:
        for name, known in (("engine", ENGINES), ("precision", PRECISIONS), ("device", DEVICES)):
            value = getattr(self, name)
            if value is not None and value not in known:
                choices = " or ".join((", ".join(known[:-1]), known[-1]))
                raise UsageError(f"{name} {value!r} is not known: choose {choices}")
        if not supported_backends(self.engine, self.device, self.precision):
            asked = {"engine": self.engine, "device": self.device, "precision": self.precision}
            words = " ".join(f"--{name} {word}" for name, word in asked.items() if word)
            there = "; ".join(" ".join(way) for way in TOLERANCES)
            raise UsageError(f"{words}: these do not go together; what there is: {there}")


@dataclass
class IngestSummary:
    """What one run did, all its micro-batches together.

    Attributes
    ----------
    outcomes, reasons : Counter
        Images by outcome, and those in quarantine by reason.
    replaced : int
        Images whose earlier row was replaced.
    removed, skipped_deletions : int
        Rows that were removed because their images are gone, and such as were kept for safety.
    batches : int
        Micro-batches that wrote something.
    retries : Counter
        What had failed and was tried again: ``reads`` of images, ``listings`` and other requests of the driver,
        ``tables`` (Spark's requests to S3).
    waiting : int
        Images that were listed and are in no table yet.
    ignored : int
        Files that are no images by their name.
    seconds : float
        From the first trigger to the end.
    busy : float
        Seconds of that in which micro-batches were under way.
    first_trigger_at, last_row_at : float
        When the stream began, and when the last rows were committed; seconds since 1970.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    replaced: int = 0
    removed: int = 0
    skipped_deletions: int = 0
    batches: int = 0
    retries: Counter[str] = field(default_factory=Counter)
    waiting: int = 0
    ignored: int = 0
    seconds: float = 0.0
    busy: float = 0.0
    first_trigger_at: float = 0.0
    last_row_at: float = 0.0

    def add(self, result: BatchResult) -> None:
        """Count one micro-batch in."""
        self.outcomes += result.outcomes
        self.reasons += result.reasons
        self.replaced += result.replaced
        self.retries["reads"] += result.retries
        self.batches += result.written > 0
        if result.written:
            self.last_row_at = time.time()
        self.busy += result.seconds
        self.waiting = max(0, self.waiting - result.written)


#: Called after each micro-batch with its result and the sum so far.
BatchCallback = Callable[[BatchResult, IngestSummary], None]
