"""Circuit breaker: stop the run before a micro-batch is written if most of its images cannot be decoded."""

from __future__ import annotations

from collections import Counter, deque

from streaming.errors import FailureRateExceeded
from streaming.featurize.results import ComputedPart
from streaming.outcomes import Outcome

#: Share of the latest images; `--max-failure-rate`.
MAX_FAILURE_RATE = 0.5
#: Images needed before the limit applies, so that a few broken images do not stop the run.
MIN_IMAGES = 200


class FailureRate:
    """Checks the share of failed images in each part before it is written.

    Parameters
    ----------
    limit : float
        Share of the images that may fail, 0 to 1.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._accepted: deque[tuple[int, int]] = deque()  # (images, failures) of each part
        self._error: FailureRateExceeded | None = None

    def check(self, computed: ComputedPart) -> None:
        """Accept one part, or reject it and all later ones.

        The rate covers this part and as many parts before it as make `MIN_IMAGES` images. A part that is within the
        limit by itself passes. Images that were in quarantine before do not count: they are being retried.

        Raises
        ------
        FailureRateExceeded
            If too many of the images failed.
        """
        if self._error:
            raise self._error
        first_attempts = [
            row
            for row in computed.verdicts
            if row.outcome in (Outcome.FEATURES, Outcome.QUARANTINE)
            and row.path not in computed.existing["quarantine"]
        ]
        bad = [row for row in first_attempts if row.outcome == Outcome.QUARANTINE]
        images = len(first_attempts) + sum(count for count, _ in self._accepted)
        failed = len(bad) + sum(count for _, count in self._accepted)
        over = len(bad) > self._limit * len(first_attempts) and failed > self._limit * images
        if over and images >= MIN_IMAGES:
            reasons = Counter(row.reason for row in bad).most_common(3)
            listed = ", ".join(f"{count} {reason}" for reason, count in reasons)
            self._error = FailureRateExceeded(
                f"{failed:,} of the last {images:,} images could not be featurized, more than "
                f"--max-failure-rate {self._limit:g} allows: check the source ({listed}, for example "
                f"{bad[-1].path}); none of the last {len(first_attempts):,} images was written, and no data was lost; "
                "to write them to quarantine, rerun with --max-failure-rate 1"
            )
            raise self._error
        self._accepted.append((len(first_attempts), len(bad)))
        while images - self._accepted[0][0] >= MIN_IMAGES:
            images -= self._accepted.popleft()[0]
