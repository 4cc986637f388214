"""The images that all contestants featurize: a folder of real ones, or drawn ones, repeated to the number asked."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from pomona.demo.images import SAMPLE_LABELS, write_samples
from streaming.images.decode import IMAGE_SUFFIXES

TEST_DATA = "POMONA_TEST_DATA"
#: Pictures that are drawn at most; beyond that, they are repeated under new names.
_DRAWN = 600


@dataclass(frozen=True)
class Images:
    """Image files to repeat, in label folders.

    Attributes
    ----------
    folder : Path
    told : str
        What the report says of them.
    """

    folder: Path
    told: str

    def repeat(self, count: int, target: Path) -> Path:
        """A folder of `count` images, each a hard link to one of these, under a name of its own.

        Parameters
        ----------
        count : int
            Fewer than there are: taken at even steps. More: each comes again, and again.
        target : Path
            Made, unless it is there already.

        Returns
        -------
        Path
            `target`.
        """
        if target.is_dir():
            return target
        unfinished = target.with_name(f".{target.name}")
        shutil.rmtree(unfinished, ignore_errors=True)
        files = image_files(self.folder)
        for number in range(count):
            file = files[
                number * len(files) // count if count < len(files) else number % len(files)
            ]
            link(file, unfinished / file.parent.name / f"{number // len(files)}_{file.name}")
        unfinished.rename(target)
        return target


def find_images(asked: str | None, work: Path) -> Images:
    """Real images where there are any, drawn ones otherwise.

    Parameters
    ----------
    asked : str, optional
        A folder with a folder for each label.
    work : Path
        Where they are copied or drawn to.

    Raises
    ------
    FileNotFoundError
        Where the folder asked for holds no image.
    """
    shared = os.environ.get(TEST_DATA)
    found = Path(asked) if asked else Path(shared, "data/fruits/many") if shared else None
    if found and (asked or found.is_dir()):
        files = image_files(found)
        if not files:
            raise FileNotFoundError(f"{found}: no image in it")
        copies = work / "images"
        for file in files:
            target = copies / file.parent.name / file.name
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)
        name = "Fruits-360 subset" if found.match("fruits/many") else "images of a folder"
        return Images(copies, f"{len(files):,} photographs ({name}), repeated under new names")
    drawn = work / "drawn"
    if not drawn.is_dir():
        write_samples(drawn, _DRAWN // len(SAMPLE_LABELS))
    return Images(drawn, f"{_DRAWN} pictures drawn by `pomona demo`, repeated under new names")


def image_files(folder: Path) -> list[Path]:
    """The images below a folder, sorted."""
    suffixes = tuple(f".{suffix}" for suffix in IMAGE_SUFFIXES)
    return sorted(file for file in folder.rglob("*") if file.name.lower().endswith(suffixes))


def link(file: Path, target: Path) -> None:
    """Another name for a file, or a copy where the disk knows no such thing."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(file, target)
    except OSError:
        shutil.copyfile(file, target)
