"""Run the demo: generate images, ingest them in two steps, refit after each, and print the results."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import threading
from contextlib import suppress
from pathlib import Path

from batch_pca.pca.fit import FitOptions
from batch_pca.refit import RefitOptions, RefitResult, refit
from pomona.commands.history import history
from pomona.commands.ingest import summary_lines
from pomona.commands.quarantine import quarantine
from pomona.commands.refit import refit_lines
from pomona.demo.images import write_broken, write_samples
from pomona.output.console import Console
from pomona.queries.status import status
from streaming.counts import format_count
from streaming.errors import PomonaError, UsageError
from streaming.featurize.results import BatchResult
from streaming.images.synthetic import SAMPLE_LABELS
from streaming.ingest.pipeline import ingest
from streaming.ingest.settings import IngestSettings, IngestSummary
from streaming.lake.layout import Lake
from streaming.model.store import ensure_model
from streaming.model.weights import RANDOM, WeightsUnavailable
from streaming.sources.listing import Source
from streaming.spark.errors import translate_exception
from streaming.storage.interface import is_s3, local_path, local_uri, normalize

PER_LABEL = 20  # images per label in each of the two deliveries
REFIT = RefitOptions(FitOptions(variance=0.95))


def run(folder: str, weights: str | None = None) -> None:
    """Generate images, ingest them as a stream while more arrive, refit twice, and print the results.

    Parameters
    ----------
    folder : str
        Local folder for images and lake; a number is appended if it exists.
    weights : str, optional
        As for `ingest`. None uses ImageNet weights, or random weights if they cannot be downloaded.

    Raises
    ------
    PomonaError
        If a step failed. If images or lake cannot be in this folder, nothing is written.
    """
    console = Console()
    try:
        demo = Demo(console, *demo_locations(folder))
        demo.generate_images()
        demo.export_model(weights)
        summary = demo.stream()
    except OSError as error:  # the folder is not writable, or the disk is full
        raise translate_exception(error) from error
    if summary:
        _print_summary(console, demo, summary)


class Demo:
    """The steps of the demo in their order; each prints what it does."""

    def __init__(self, console: Console, source: str, lake: str) -> None:
        self.source, self.lake = source, lake
        self.first_refit: RefitResult | None = None
        self.last_refit: RefitResult | None = None
        self._console = console
        self._images = local_path(normalize(source))
        self._expected = 0
        self._first_delivery_done = threading.Event()
        self._stop = threading.Event()
        self._error: PomonaError | None = None

    def generate_images(self) -> None:
        """Write the first delivery of images, some of them broken."""
        good = write_samples(self._images, PER_LABEL)
        broken = write_broken(self._images)
        self._expected = good + broken
        self._console.print(
            f"1. Generated {good} images of {len(SAMPLE_LABELS)} fruits, and {broken} broken ones, into {self.source}"
        )

    def export_model(self, weights: str | None) -> None:
        """Export the network to the lake; use random weights if the ImageNet weights are unavailable."""
        self._console.print(
            "2. Exporting MobileNetV2 to ONNX, once for this lake (about 15 seconds)"
        )
        models = Lake.at(self.lake).models
        try:
            with self._console.status("exporting"):
                model = ensure_model(models, weights)
        except WeightsUnavailable:
            if weights is not None:
                raise
            self._console.print_warning(
                "   !! NO IMAGENET WEIGHTS: they cannot be downloaded. The demo continues with RANDOM"
            )
            self._console.print_warning(
                "   !! weights: all steps work, but the features are those of an untrained network."
            )
            model = ensure_model(models, RANDOM)
        self._console.print(f"   model {model.model_id}")

    def stream(self) -> IngestSummary | None:
        """Ingest images while refitting and writing more of them; return None if the user stopped the demo."""
        self._console.print(
            "3. Starting the stream: each image in the folder becomes a row (about 10 seconds)"
        )
        thread = threading.Thread(target=self._refit_and_deliver, daemon=True)
        thread.start()
        with self._console.status("starting Spark"):
            summary = ingest(
                self.source,
                self.lake,
                IngestSettings(trigger=1.0),
                self._on_batch,
                self._stop,
                lambda stage, _images: self._console.report_stage(stage, plain=False),
            )
        if summary.images < self._expected and not self._error:
            self._console.print("stopped")
            return None
        thread.join()
        if self._error:
            raise self._error
        self._console.print(
            "5. Refitting on all rows, aligned with the first refit (about 5 seconds)"
        )
        with self._console.status("refitting"):
            self.last_refit = refit(self.lake, REFIT)
        return summary

    def _on_batch(self, result: BatchResult, summary: IngestSummary) -> None:
        self._console.report_batch(result, summary)
        if summary.images < self._expected:
            return
        if self._first_delivery_done.is_set():
            self._stop.set()
        self._first_delivery_done.set()

    def _refit_and_deliver(self) -> None:
        while not self._first_delivery_done.wait(0.2):
            if self._stop.is_set():
                return
        self._console.print(
            "4. Refitting while the stream runs; then more images arrive (about 15 seconds)"
        )
        try:
            self.first_refit = result = refit(self.lake, REFIT)
            self._console.print(f"   {refit_lines(result)[0]}")
            self._expected += PER_LABEL * len(SAMPLE_LABELS)
            write_samples(self._images, PER_LABEL, start=PER_LABEL)
        except (PomonaError, OSError) as error:
            self._error = translate_exception(error)
            self._stop.set()


def _print_summary(console: Console, demo: Demo, summary: IngestSummary) -> None:
    assert demo.first_refit
    assert demo.last_refit
    lake = shlex.quote(demo.lake)
    command = _pomona_command()
    console.print()
    console.print("Summary")
    rows = status(demo.lake)["rows"]
    console.print(f"{format_count(rows, 'row')} in {demo.lake}/features")
    for line in (*summary_lines(summary), *refit_lines(demo.last_refit)):
        console.print(line)
    console.print()
    quarantine(demo.lake)
    console.print()
    history(demo.lake)
    console.print()
    console.print(
        "Next, use your own images (a folder or s3://bucket/prefix, in subfolders named after the label):"
    )
    console.print(f"  {command} ingest YOUR_IMAGES ./lake --once")
    console.print(f"  {command} refit ./lake --components 50")
    console.print("or inspect this lake:")
    console.print(f"  {command} status {lake}")
    console.print(
        f"  {command} refit {lake} --as-of {demo.first_refit.row.features_version} --components 2"
    )


def _pomona_command() -> str:
    """Return the command to call Pomona: its name if that is on PATH, else its relative path."""
    program = Path(sys.argv[0])
    if program.name != "pomona" or shutil.which("pomona"):
        return "pomona"
    return os.path.relpath(program)


def demo_locations(folder: str) -> tuple[str, str]:
    """Return the locations of images and lake in an unused folder, as every command accepts them.

    They are relative if `folder` is, unless an argument of a command would be read as an option or a URI.

    Raises
    ------
    PomonaError
        If `folder` is not local, or images or a lake cannot be stored in it.
    """
    uri = normalize(folder)
    if is_s3(uri) or uri == "file:/":
        raise UsageError(f"--folder {folder}: give a local folder, such as ./pomona-demo")
    unused = _unused_folder(local_path(uri))
    root = str(unused)
    if not os.path.isabs(os.path.expanduser(folder)):
        relative = os.path.relpath(unused)
        # `normalize` raises UsageError for a scheme, and expands "~".
        with suppress(UsageError):
            if not relative.startswith("-") and normalize(relative) == local_uri(root):
                root = relative
    source, lake = f"{root}/images", f"{root}/lake"
    Lake.at(lake)
    Source.at(source).check_path()
    return source, lake


def _unused_folder(folder: Path) -> Path:
    number, unused = 1, folder
    while os.path.lexists(unused):
        number += 1
        unused = folder.with_name(f"{folder.name}-{number}")
    return unused
