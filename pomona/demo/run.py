"""Run the demo: generate images, ingest them in two steps, refit after each, and print the results."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import threading
from pathlib import Path

from batch_pca.pca.fit import FitOptions
from batch_pca.refit import RefitOptions, RefitResult, refit
from pomona.commands.history import history
from pomona.commands.ingest import summary_lines
from pomona.commands.quarantine import quarantine
from pomona.commands.refit import refit_lines
from pomona.demo.images import SAMPLE_LABELS, write_broken, write_samples
from pomona.output.console import Console
from pomona.queries.status import status
from streaming.errors import PomonaError
from streaming.featurize.results import BatchResult
from streaming.ingest.pipeline import ingest
from streaming.ingest.settings import IngestSettings, IngestSummary
from streaming.lake.layout import Lake
from streaming.model.store import ensure_model
from streaming.model.weights import RANDOM, WeightsUnavailable
from streaming.outcomes import Outcome
from streaming.spark.errors import translate_exception

PER_LABEL = 20  # in each of the two deliveries
REFIT = RefitOptions(FitOptions(variance=0.95))


def run(folder: str, weights: str | None = None) -> None:
    """Draw images, ingest them as a stream while more arrive, refit twice, and show what came of it.

    Parameters
    ----------
    folder : str
        For images and lake; where it is taken, a number is added.
    weights : str, optional
        As of `ingest`; without any, ImageNet's, or random ones where those cannot be fetched.
    """
    console = Console()
    place = _free(Path(folder))
    show = Demo(console, place / "images", place / "lake")
    try:
        show.draw()
        show.export(weights)
        summary = show.stream()
    except OSError as error:  # the folder cannot be written to, or the disk is full
        raise translate_exception(error) from error
    if summary:
        _tell(console, show, summary)


class Demo:
    """The steps, in order; each says what it does."""

    def __init__(self, console: Console, source: Path, lake: Path) -> None:
        self.source, self.lake = str(source), str(lake)
        self.first_refit: RefitResult | None = None
        self.last_refit: RefitResult | None = None
        self._console = console
        self._expected = 0
        self._first_delivery_is_in = threading.Event()
        self._stop = threading.Event()
        self._fault: PomonaError | None = None

    def draw(self) -> None:
        """Deliver the first images, some of them broken."""
        good = write_samples(Path(self.source), PER_LABEL)
        broken = write_broken(Path(self.source))
        self._expected = good + broken
        self._console.line(
            f"1. Generated {good} images of {len(SAMPLE_LABELS)} fruits, and {broken} broken ones, into {self.source}"
        )

    def export(self, weights: str | None) -> None:
        """Export the network into the lake, with the weights there are."""
        self._console.line(
            "2. Exporting MobileNetV2 to ONNX, once for this lake (about 15 seconds)"
        )
        models = Lake.at(self.lake).models
        try:
            with self._console.working("exporting"):
                model = ensure_model(models, weights)
        except WeightsUnavailable:
            if weights is not None:
                raise
            self._console.line(
                "   !! NO IMAGENET WEIGHTS: the network is unavailable. The demo continues with RANDOM"
            )
            self._console.line(
                "   !! weights: everything works, but the features are those of an untrained network."
            )
            model = ensure_model(models, RANDOM)
        self._console.line(f"   model {model.model_id}")

    def stream(self) -> IngestSummary | None:
        """Ingest, refit and deliver more, all at the same time; None where somebody stopped it."""
        self._console.line("3. Starting the stream: each image in the folder becomes a row")
        helper = threading.Thread(target=self._refit_and_deliver, daemon=True)
        helper.start()
        with self._console.working("starting Spark"):
            summary = ingest(
                self.source, self.lake, IngestSettings(trigger=1.0), self._watch, self._stop
            )
        if _done(summary) < self._expected and not self._fault:
            self._console.line("stopped")
            return None
        helper.join()
        if self._fault:
            raise self._fault
        self._console.line("5. Refitting on all rows, aligned with the first refit")
        with self._console.working("refitting"):
            self.last_refit = refit(self.lake, REFIT)
        return summary

    def _watch(self, result: BatchResult, summary: IngestSummary) -> None:
        self._console.batch(result, summary)
        if _done(summary) < self._expected:
            return
        if self._first_delivery_is_in.is_set():
            self._stop.set()
        self._first_delivery_is_in.set()

    def _refit_and_deliver(self) -> None:
        while not self._first_delivery_is_in.wait(0.2):
            if self._stop.is_set():
                return
        self._console.line("4. Refitting while the stream runs; then more images arrive")
        try:
            self.first_refit = made = refit(self.lake, REFIT)
            self._console.line(f"   {refit_lines(made)[0]}")
            self._expected += PER_LABEL * len(SAMPLE_LABELS)
            write_samples(Path(self.source), PER_LABEL, start=PER_LABEL)
        except (PomonaError, OSError) as error:
            self._fault = translate_exception(error)
            self._stop.set()


def _done(summary: IngestSummary) -> int:
    return summary.outcomes[Outcome.FEATURES] + summary.outcomes[Outcome.QUARANTINE]


def _tell(console: Console, show: Demo, summary: IngestSummary) -> None:
    assert show.first_refit
    assert show.last_refit
    lake = shlex.quote(show.lake)
    command = _command()
    console.line()
    console.line("Summary")
    rows = status(show.lake)["rows"]
    console.line(f"{rows} rows in {show.lake}/features")
    for line in (*summary_lines(summary), *refit_lines(show.last_refit)):
        console.line(line)
    console.line()
    quarantine(show.lake)
    console.line()
    history(show.lake)
    console.line()
    console.line(
        "Next, with your own images (a folder or s3://bucket/prefix, in folders named after their label):"
    )
    console.line(f"  {command} ingest YOUR_IMAGES ./lake --once")
    console.line(f"  {command} refit ./lake --components 50")
    console.line("or look at this lake:")
    console.line(f"  {command} status {lake}")
    console.line(
        f"  {command} refit {lake} --as-of {show.first_refit.row.features_version} --components 2"
    )


def _command() -> str:
    """How to call Pomona from here: by its name where that is on PATH, else by its path."""
    called = Path(sys.argv[0])
    if called.name != "pomona" or shutil.which("pomona"):
        return "pomona"
    return os.path.relpath(called)


def _free(folder: Path) -> Path:
    number, free = 1, folder
    while free.exists():
        number += 1
        free = folder.with_name(f"{folder.name}-{number}")
    return free
