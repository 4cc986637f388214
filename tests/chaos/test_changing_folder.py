"""Tests for a stream over a folder that changes 25 times a second: it never fails, and its tables match the folder."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import deltalake

from support.lakes.small_lakes import GARBAGE, jpeg
from support.processes.background_process import kill_process_group, wait_for
from support.processes.cli import PROGRAM, environment

SECONDS = float(os.environ.get("POMONA_CHANGING_SECONDS", "150"))
CHANGES_PER_SECOND = 25
WAIT_TIMEOUT = 240.0
CONTENTS = 400  # different images
FOLDERS = ("Fig", "Kiwi", "Crème brûlée", "Fig/inner", "deep/a/b/c")


class Image(NamedTuple):
    """Path, length in bytes, and modification time in milliseconds since 1970."""

    path: str
    length: int
    modified_ms: int


class ChangingFolder:
    """A drop folder that several programs change at the same time, with a reproducible sequence of changes."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root, self.aside = root, root.with_name("aside")
        self.counts: dict[str, int] = {}
        self._random, self._number = random.Random(seed), 0
        self.root.mkdir()
        self.aside.mkdir()

    def run(self, seconds: float) -> None:
        """Change the folder `CHANGES_PER_SECOND` times a second."""
        actions: list[Callable[[], object]] = (
            [self.write] * 9
            + [self.move_in] * 6
            + [self.rename_folder] * 4
            + [self.move_out] * 3
            + [self.remove_file] * 2
            + [self.replace_file] * 2
            + [self.remove_folder, self.move_folder_out, self.move_folder_in, self.swap_for_file]
        )
        started, done = time.monotonic(), 0
        while time.monotonic() < started + seconds:
            action = self._random.choice(actions)
            try:
                action()
                name = getattr(action, "__name__", "")
                self.counts[name] = self.counts.get(name, 0) + 1
            except (OSError, IndexError):
                continue  # an earlier change has removed or replaced it
            done += 1
            time.sleep(max(0.0, started + done / CHANGES_PER_SECOND - time.monotonic()))

    def _content(self) -> bytes:
        kind = self._random.random()
        if kind < 0.8:
            return jpeg(self._random.randrange(CONTENTS))
        return b"" if kind < 0.87 else GARBAGE + str(self._random.random()).encode()

    def _new_name(self) -> str:
        self._number += 1
        return f"{self._number}.jpg"

    def _folder(self) -> Path:
        folder = self.root / self._random.choice(FOLDERS)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _file(self) -> Path:
        return self._random.choice(sorted(self.root.rglob("*.jpg")))

    def _existing_folder(self) -> Path:
        return self._random.choice([path for path in self.root.rglob("*") if path.is_dir()])

    def write(self) -> None:
        """Write a file in two steps under its final name."""
        content = self._content()
        with (self._folder() / self._new_name()).open("wb") as file:
            file.write(content[: len(content) // 2])
            file.flush()
            file.write(content[len(content) // 2 :])

    def move_in(self) -> None:
        """Rename a complete file into the folder."""
        name = self._new_name()
        (self.aside / name).write_bytes(self._content())
        (self.aside / name).rename(self._folder() / name)

    def move_out(self) -> None:
        """Rename a file out of the folder."""
        file = self._file()
        file.rename(self.aside / file.name)

    def remove_file(self) -> None:
        """Delete a file."""
        self._file().unlink()

    def replace_file(self) -> None:
        """Replace a file by another one under the same name."""
        file = self._file()
        (self.aside / "replacement").write_bytes(self._content())
        (self.aside / "replacement").rename(file)

    def rename_folder(self) -> None:
        """Rename a folder, and mostly back again at once."""
        folder = self._existing_folder()
        moved = folder.with_name(f"moved {self._new_name()[:-4]}")
        folder.rename(moved)
        if self._random.random() < 0.7:
            moved.rename(folder)

    def remove_folder(self) -> None:
        """Delete a folder with all that is in it, as `rm -r` does."""
        shutil.rmtree(self._existing_folder())

    def move_folder_out(self) -> None:
        """Rename a folder out of the source."""
        folder = self._existing_folder()
        folder.rename(self.aside / f"folder {self._new_name()[:-4]}")

    def move_folder_in(self) -> None:
        """Rename a folder with images into the source, where they have old modification times."""
        folder = self._random.choice(sorted(self.aside.glob("folder *")))
        folder.rename(self.root / f"back {self._new_name()[:-4]}")

    def swap_for_file(self) -> None:
        """Replace a folder by a file of the same name for a moment."""
        folder = self._existing_folder()
        shutil.rmtree(folder)
        folder.write_bytes(jpeg(1))
        time.sleep(0.05)
        folder.unlink()

    def images(self) -> list[Image]:
        """Return the images on disk."""
        return [
            Image(f"file:{file}", file.stat().st_size, file.stat().st_mtime_ns // 1_000_000)
            for file in self.root.rglob("*.jpg")
        ]


def rows(lake: Path) -> list[Image]:
    """Return the images in the two tables, read with delta-rs."""
    return [
        Image(row["path"], row["length"], round(row["modification_time"].timestamp() * 1000))
        for table in ("features", "quarantine")
        for row in deltalake.DeltaTable(lake / table)
        .to_pyarrow_table(columns=["path", "length", "modification_time"])
        .to_pylist()
    ]


@contextmanager
def streaming(
    source: Path, lake: Path, output: Path, *options: str
) -> Iterator[subprocess.Popen[str]]:
    """Run `pomona ingest` until it is stopped."""
    args = [PROGRAM, "ingest", source, lake, "--weights", "random", "--trigger", "1"]
    with output.open("w") as out:
        running = subprocess.Popen(
            [*map(str, args), *options],
            env=environment(),
            stdout=out,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            yield running
        finally:
            kill_process_group(running)


def test_stream_survives_changing_folder_and_tables_match_it(
    random_model: Path, tmp_path: Path
) -> None:
    folder, lake, output = (
        ChangingFolder(tmp_path / "drop", 17),
        tmp_path / "lake",
        tmp_path / "out",
    )
    shutil.copytree(random_model, lake / "models")
    folder.move_in()
    options = ("--settle", "2", "--sweep-every", "5", "--max-failure-rate", "1")
    with streaming(
        folder.root, lake, output, *options, "--mirror", "--remove-limit", "1"
    ) as running:
        wait_for(lambda: " done, " in output.read_text(), WAIT_TIMEOUT, running)
        folder.run(SECONDS)
        assert running.poll() is None, output.read_text()[-3000:]
        images = folder.images()
        try:
            wait_for(lambda: sorted(rows(lake)) == sorted(images), WAIT_TIMEOUT, running)
        except AssertionError as error:
            found = set(rows(lake))
            raise AssertionError(set(images) - found, found - set(images)) from error
        os.killpg(running.pid, signal.SIGTERM)
        assert running.wait(WAIT_TIMEOUT) == 0, output.read_text()[-3000:]
    text = output.read_text()
    assert "Traceback" not in text
    assert sum(folder.counts.values()) > SECONDS * CHANGES_PER_SECOND / 3
    print(f"{sum(folder.counts.values())} changes, {len(images)} images at the end", text)
