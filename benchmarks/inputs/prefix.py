"""Prepare a prefix with existing files and a lake with their rows, without featurizing any of them."""

from __future__ import annotations

from pathlib import Path

from benchmarks.inputs.images import image_files, link
from benchmarks.inputs.synthetic import append_rows, describe_files, empty_lake
from benchmarks.inputs.workspace import Workspace
from benchmarks.measuring.competitors import run_pomona

#: Files per folder. A few large folders would be a different measurement.
_FILES_PER_FOLDER = 1000


def ingested_prefix(workspace: Workspace, folder: Path, count: int) -> tuple[Path, Path]:
    """Prepare a prefix of `count` files and a lake with a row for each.

    The files are links to a few images. One run of the stream lists them all, computes none of them, and leaves a
    checkpoint that contains them.

    Returns
    -------
    tuple of Path
        Source and lake.
    """
    source = folder / "source"
    images = image_files(workspace.images.folder)
    for number in range(count):
        # Spread the links over all images: some file systems allow at most 65,000 links to a file.
        file = images[number % len(images)]
        link(file, source / f"fruit-{number // _FILES_PER_FOLDER}" / f"{number}{file.suffix}")
    lake = empty_lake(workspace.models().parent, folder / "lake")
    append_rows(lake, describe_files(image_files(source)))
    run_pomona("ingest", str(source), str(lake), "--once")
    return source, lake
