"""Circuit breaker: stop the run before a micro-batch is written if most of its images cannot be decoded."""

from __future__ import annotations

from collections import Counter, deque

from streaming.errors import FailureRateExceeded
from streaming.featurize.results import ComputedPart
from streaming.outcomes import Outcome

#: Of all images that were looked at last; `--max-failure-rate`.
MAX_FAILURE_RATE = 0.5
#: Images that must have been looked at before there is a judgement: a few broken ones are no delivery.
MIN_IMAGES = 200


class FailureRate:
    """Judges what has been featurized before it is written.

    Parameters
    ----------
    limit : float
        Share of the images that may fail, 0 to 1.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._before: deque[tuple[int, int]] = deque()  # images and failures of what was written
        self._error: FailureRateExceeded | None = None

    def judge(self, computed: ComputedPart) -> None:
        """Count one part in, or refuse it, and from then on all others.

        Judged are this part and as many of those before it as make `MIN_IMAGES` images. A part that keeps to the limit
        by itself passes. Images that were in quarantine before do not count: they are being tried again.

        Raises
        ------
        FailureRateExceeded
            Too many of the images failed.
        """
        if self._error:
            raise self._error
        first = [
            row
            for row in computed.verdicts
            if row.outcome in (Outcome.FEATURES, Outcome.QUARANTINE)
            and row.path not in computed.held["quarantine"]
        ]
        bad = [row for row in first if row.outcome == Outcome.QUARANTINE]
        images = len(first) + sum(count for count, _ in self._before)
        failed = len(bad) + sum(count for _, count in self._before)
        over = len(bad) > self._limit * len(first) and failed > self._limit * images
        if over and images >= MIN_IMAGES:
            reasons = Counter(row.reason for row in bad).most_common(3)
            told = ", ".join(f"{count} {reason}" for reason, count in reasons)
            self._error = FailureRateExceeded(
                f"{failed:,} of the last {images:,} images could not be featurized, more than "
                f"--max-failure-rate {self._limit:g} allows: look at what is delivered ({told}, such as "
                f"{bad[-1].path}); none of these {len(first):,} was written and nothing is lost; to have them "
                "in quarantine, run again with --max-failure-rate 1"
            )
            raise self._error
        self._before.append((len(first), len(bad)))
        while images - self._before[0][0] >= MIN_IMAGES:
            images -= self._before.popleft()[0]
