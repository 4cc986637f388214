"""Benchmark sizes: a quick run, the full figures, and a smoke test of the benchmark itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Size:
    """Numbers of images, rows and repetitions.

    Attributes
    ----------
    name : str
    images : int
        Images for Pomona and the two limits. A run of Pomona has a fixed cost, some twenty seconds of CPU time.
    photographs : int
        Photographs of 12 megapixels.
    peer_images : int
        Images for each peer; enough for their rate.
    notebook_images : tuple of int
        Images for the notebook, which is slowest: two numbers separate its fixed cost from its rate.
    rounds : int
        Each competitor runs once per round.
    secondary_rounds : int
        Rounds in which secondary competitors run.
    rows : int
        Rows of features for a refit.
    samples : int
        Measurements of a latency.
    warm_batches : int
        Micro-batches before the first of these measurements.
    prefixes : tuple of int
        Numbers of files in a prefix before a micro-batch of `arrivals` is timed.
    arrivals : int
        Images that arrive at once.
    refit_rows : tuple of int
        Numbers of rows at which a refit is timed for the scaling curve.
    idle_images : int
        Images in the source of a stream that waits.
    idle_seconds : float
        Seconds for which its CPU time is measured.
    """

    name: str
    images: int
    photographs: int
    peer_images: int
    notebook_images: tuple[int, ...]
    rounds: int
    secondary_rounds: int
    rows: int
    samples: int
    warm_batches: int
    prefixes: tuple[int, ...]
    arrivals: int
    refit_rows: tuple[int, ...]
    idle_images: int
    idle_seconds: float


_SMOKE = Size(
    name="smoke",
    images=40,
    photographs=4,
    peer_images=40,
    notebook_images=(10,),
    rounds=1,
    secondary_rounds=1,
    rows=500,
    samples=2,
    warm_batches=2,
    prefixes=(50, 100),
    arrivals=10,
    refit_rows=(200, 500),
    idle_images=200,
    idle_seconds=2,
)
_QUICK = Size(
    name="quick",
    images=600,
    photographs=48,
    peer_images=300,
    notebook_images=(60,),
    rounds=2,
    secondary_rounds=1,
    rows=10_000,
    samples=10,
    warm_batches=10,
    prefixes=(200, 2_000),
    arrivals=50,
    refit_rows=(2_000, 10_000),
    idle_images=10_000,
    idle_seconds=60,
)
_FULL = Size(
    name="full",
    images=24_000,
    photographs=480,
    peer_images=6_000,
    notebook_images=(400, 1_200),
    rounds=3,
    secondary_rounds=1,
    rows=100_000,
    samples=20,
    warm_batches=20,
    prefixes=(1_000, 10_000, 100_000),
    arrivals=100,
    refit_rows=(10_000, 100_000, 1_000_000),
    idle_images=100_000,
    idle_seconds=120,
)
SIZES = {size.name: size for size in (_SMOKE, _QUICK, _FULL)}
