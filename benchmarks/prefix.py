"""A prefix that holds files already, and a lake that holds their rows: made without featurizing any of them."""

from __future__ import annotations

from pathlib import Path

from benchmarks.contestants import prepare
from benchmarks.drawn import add_rows, empty_lake, known
from benchmarks.images import image_files, link
from benchmarks.workplace import Workplace

#: Files of a folder; a few large folders would be another measurement.
_A_FOLDER = 1000


def lake_that_knows(place: Workplace, folder: Path, count: int) -> tuple[Path, Path]:
    """A prefix of so many files, and a lake with a row for each.

    The files are links to a few images. A first run of the stream meets them all, computes none of them, and leaves
    a checkpoint that knows them.

    Returns
    -------
    tuple of Path
        Source and lake.
    """
    source = folder / "source"
    images = image_files(place.images.folder)
    for number in range(count):
        file = images[number % len(images)]
        # A link to each of few images many times: some disks allow 65,000 links to a file.
        link(file, source / f"fruit-{number // _A_FOLDER}" / f"{number}{file.suffix}")
    lake = empty_lake(place.models().parent, folder / "lake")
    add_rows(lake, known(image_files(source)))
    prepare("ingest", str(source), str(lake), "--once")
    return source, lake
