"""Prepared inputs of the benchmarks: images, the exported model, lakes without rows."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from benchmarks.inputs.images import TEST_DATA, Images, find_images, generate_photographs
from benchmarks.inputs.sizes import Size
from benchmarks.measuring.competitors import run_pomona
from streaming.model.weights import IMAGENET_FILE


@dataclass
class Workspace:
    """A scratch folder and the inputs that are prepared in it once.

    Parameters
    ----------
    work : Path
        Scratch folder; it may be deleted between runs.
    size : Size
    images_option, weights_option : str, optional
        `--images` and `--weights` of the command line.
    reuse : bool
        Reuse the lake that an earlier run prepared.
    """

    work: Path
    size: Size
    images_option: str | None = None
    weights_option: str | None = None
    reuse: bool = False
    _models: dict[tuple[str, ...], Path | str] = field(default_factory=dict)

    @cached_property
    def images(self) -> Images:
        """The images to repeat."""
        return find_images(self.images_option, self.work)

    @cached_property
    def weights(self) -> str:
        """The value for `--weights`: a keyword or a file."""
        shared = os.environ.get(TEST_DATA)
        file = Path(shared, "weights", IMAGENET_FILE) if shared else None
        return self.weights_option or (str(file) if file and file.is_file() else "random")

    @property
    def weights_description(self) -> str:
        """The weights as the report names them, without a path."""
        return Path(self.weights).name

    def images_folder(self, count: int) -> Path:
        """Return a folder of `count` images."""
        return self.images.repeat(count, self.work / f"images-{count}")

    def photographs_folder(self) -> Path:
        """Return a folder of photographs of 12 megapixels."""
        count = self.size.photographs
        return generate_photographs(self.work).repeat(count, self.work / f"photographs-{count}")

    def models(self, options: Sequence[str] = ()) -> Path:
        """Return the folder `models/` that a small first ingest with these options exports.

        Raises
        ------
        RuntimeError
            If the ingest fails; with its error message.
        """
        key = tuple(options)
        if key not in self._models:
            self._models[key] = self._export_model(key)
        folder_or_error = self._models[key]
        if isinstance(folder_or_error, str):
            raise RuntimeError(folder_or_error)
        return folder_or_error

    def model(self, options: Sequence[str] = ()) -> Path:
        """Return the folder of `model.onnx`, `model.weights.h5` and `model.json`; raise RuntimeError like `models`."""
        return next(file.parent for file in self.models(options).rglob("model.json"))

    def new_lake(self, folder: Path, options: Sequence[str] = ()) -> Path:
        """Create a lake that contains a model and nothing else."""
        lake = folder / "lake"
        shutil.copytree(self.models(options), lake / "models")
        return lake

    def scratch(self, name: str) -> Path:
        """Create an empty folder, deleting an older one of the same name."""
        folder = self.work / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def _export_model(self, options: Sequence[str]) -> Path | str:
        """Ingest a few images; return the folder `models/`, or the error message."""
        name = "-".join(("model", *(option.strip("-") for option in options)))
        if self.reuse and (self.work / name / "lake" / "features").is_dir():
            return self.work / name / "lake" / "models"
        lake = self.scratch(name) / "lake"
        source = str(self.images_folder(8))
        try:
            run_pomona("ingest", source, str(lake), "--once", "--weights", self.weights, *options)
        except RuntimeError as error:
            return str(error)
        return lake / "models"
