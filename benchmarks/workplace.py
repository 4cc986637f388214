"""Where and on what the benchmarks run: images, the exported model, lakes that are ready to be filled."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from benchmarks.contestants import prepare
from benchmarks.images import TEST_DATA, Images, find_images
from benchmarks.sizes import Size
from streaming.model.weights import IMAGENET_FILE


@dataclass
class Workplace:
    """A scratch folder, and what is prepared in it once.

    Parameters
    ----------
    work : Path
        The folder; it may be deleted at any time.
    size : Size
    asked_images, asked_weights : str, optional
        As given on the command line.
    reuse : bool
        Whether a lake that an earlier run has prepared will do.
    """

    work: Path
    size: Size
    asked_images: str | None = None
    asked_weights: str | None = None
    reuse: bool = False
    _lakes: dict[tuple[str, ...], Path | str] = field(default_factory=dict)

    @cached_property
    def images(self) -> Images:
        """The images to repeat."""
        return find_images(self.asked_images, self.work)

    @cached_property
    def weights(self) -> str:
        """What `--weights` is given: the word or the file."""
        shared = os.environ.get(TEST_DATA)
        file = Path(shared, "weights", IMAGENET_FILE) if shared else None
        return self.asked_weights or (str(file) if file and file.is_file() else "random")

    @property
    def weights_told(self) -> str:
        """What the report says of the weights; no path of this machine is in it."""
        return Path(self.weights).name

    def folder_of(self, count: int) -> Path:
        """A folder of so many images."""
        return self.images.repeat(count, self.work / f"images-{count}")

    def models(self, engine: Sequence[str] = ()) -> Path:
        """The folder `models/` that a first small ingest with these words exports.

        Raises
        ------
        RuntimeError
            Where Pomona refuses, with its line.
        """
        key = tuple(engine)
        if key not in self._lakes:
            self._lakes[key] = self._first_ingest(key)
        found = self._lakes[key]
        if isinstance(found, str):
            raise RuntimeError(found)
        return found

    def model(self, engine: Sequence[str] = ()) -> Path:
        """The folder that holds `model.onnx`, `model.weights.h5` and `model.json`; RuntimeError as of `models`."""
        return next(file.parent for file in self.models(engine).rglob("model.json"))

    def new_lake(self, folder: Path, engine: Sequence[str] = ()) -> Path:
        """A lake that holds a model and nothing else."""
        lake = folder / "lake"
        shutil.copytree(self.models(engine), lake / "models")
        return lake

    def scratch(self, name: str) -> Path:
        """A new, empty folder of this name."""
        folder = self.work / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def _first_ingest(self, engine: Sequence[str]) -> Path | str:
        name = "-".join(("model", *(word.strip("-") for word in engine)))
        if self.reuse and (self.work / name / "lake" / "features").is_dir():
            return self.work / name / "lake" / "models"
        lake = self.scratch(name)
        words = [str(self.folder_of(8)), str(lake / "lake"), "--once", "--weights", self.weights]
        try:
            prepare("ingest", *words, *engine)
        except RuntimeError as error:
            return str(error)
        return lake / "lake" / "models"
