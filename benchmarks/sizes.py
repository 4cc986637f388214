"""How much is measured: a quick look, the full figures, or a smoke test of the benchmark itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """Numbers of images, rows and repetitions.

    Attributes
    ----------
    name : str
    images : int
        Featurized by Pomona and by the two limits.
    peer_images : int
        Featurized by each peer, whose rates do not depend on the number.
    notebook_images : tuple of int
        Featurized the notebook's way, which takes longest: two numbers tell its fixed cost from its rate.
    rounds : int
        In each, every contestant runs once; those who run aside only in the first `rounds_aside`.
    rounds_aside : int
    rows : int
        Rows of features for a refit.
    samples : int
        Measurements of a latency.
    warm_batches : int
        Micro-batches before the first of them.
    prefixes : tuple of int
        Files that a prefix holds before a micro-batch of `arrivals` is timed.
    arrivals : int
    growing_rows : tuple of int
        Rows for a refit whose seconds are drawn over their number.
    """

    name: str
    images: int
    peer_images: int
    notebook_images: tuple[int, ...]
    rounds: int
    rounds_aside: int
    rows: int
    samples: int
    warm_batches: int
    prefixes: tuple[int, ...]
    arrivals: int
    growing_rows: tuple[int, ...]


SIZES = {
    size.name: size
    for size in (
        Size("smoke", 40, 40, (10,), 1, 1, 500, 2, 2, (50, 100), 10, (200, 500)),
        Size("quick", 600, 300, (60,), 2, 1, 10_000, 10, 10, (200, 2_000), 50, (2_000, 10_000)),
        Size(
            *("full", 12_000, 2_400, (400, 1_200), 3, 1, 100_000, 20, 20),
            (1_000, 10_000, 100_000),
            100,
            (10_000, 100_000, 1_000_000),
        ),
    )
}
