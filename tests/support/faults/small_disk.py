"""Mount a disk of a few megabytes in memory, which a test can fill and empty."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class SmallDisk:
    """A folder with its own small file system."""

    folder: Path

    def fill(self, free_bytes: int) -> None:
        """Fill the disk up to `free_bytes`."""
        with self._filler.open("wb", buffering=0) as filler:
            try:
                while filler.write(bytes(2**16)):
                    pass
            except OSError:
                pass
            filler.truncate(max(0, filler.tell() - free_bytes))

    def empty(self) -> None:
        """Free the space again."""
        self._filler.unlink(missing_ok=True)

    @property
    def _filler(self) -> Path:
        return self.folder / ".filler"


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[SmallDisk]:
    """Mount a small disk at a folder and copy its content there; skip the test if this user may not mount."""
    folder.mkdir(parents=True, exist_ok=True)
    before = folder.rename(folder.with_name(f"{folder.name}.before"))
    folder.mkdir()
    size = f"size={megabytes}m"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a tmpfs: {mounted.stderr.strip()}")
    try:
        subprocess.run(["cp", "-a", f"{before}/.", str(folder)], check=True)
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
