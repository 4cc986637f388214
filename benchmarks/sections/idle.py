"""Measure the CPU time of a stream that waits for images, with many images in its source and in its lake.

The time is that of the command and all its processes, as the kernel counts it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.inputs.images import image_files
from benchmarks.inputs.synthetic import append_rows, clone_lake, describe_files, empty_lake
from benchmarks.inputs.workspace import Workspace
from benchmarks.measuring.competitors import process_environment
from benchmarks.sections.results import Section, header

#: Folders of the source, over which the images are distributed evenly.
FOLDERS = 112
#: Of the table in the report.
HEADING = ("source and lake", "stream", "measured for", "share of one core")
_SOURCES = ("manifests", "binaryFile")
_TIMEOUT = 600.0
# Seconds until a stream has compared the source with the lake, and runs no work of its start.
_SETTLE = 60.0
_TICKS = os.sysconf("SC_CLK_TCK")


def measure(workspace: Workspace) -> Section:
    """Let a stream with each of the two file sources wait for images that do not arrive."""
    size = workspace.size
    folder = workspace.scratch("idle")
    source, lake = folder / "source", empty_lake(workspace.models().parent, folder / "lake")
    write_copies(workspace, source, size.idle_images)
    append_rows(lake, describe_files(image_files(source)))
    shares = {
        name: idle_share(source, clone_lake(lake, folder / name), name, size.idle_seconds)
        for name in _SOURCES
    }
    workspace.scratch("idle")
    return header(workspace) | {
        "images": size.idle_images,
        "folders": FOLDERS,
        "idle_seconds": size.idle_seconds,
        "shares": shares,
    }


def rows(section: Section) -> list[tuple[str, ...]]:
    """Return the rows of the table in the report."""
    images = f"{section['images']:,} images in {section['folders']} folders"
    seconds = f"{section['idle_seconds']:g} s"
    return [
        (images, f"`--file-source {name}`", seconds, f"{share:.1%}")
        for name, share in section["shares"].items()
    ]


def write_copies(workspace: Workspace, source: Path, count: int) -> None:
    """Write copies of the smallest image, each a file of its own."""
    smallest = min(image_files(workspace.images.folder), key=lambda file: file.stat().st_size)
    content = smallest.read_bytes()
    for number in range(count):
        file = source / f"fruit-{number % FOLDERS}" / f"{number}{smallest.suffix}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


def idle_share(source: Path, lake: Path, file_source: str, seconds: float) -> float:
    """Return the share of one core that a stream uses while it waits for images."""
    arguments = ["ingest", str(source), str(lake), "--file-source", file_source]
    with subprocess.Popen(
        [sys.executable, "-m", "pomona.cli", *arguments],
        env=process_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            assert process.stdout
            if not any(line.startswith("watching") for line in process.stdout):
                raise RuntimeError(f"the stream with {file_source} ended")
            time.sleep(min(_SETTLE, seconds))
            before, started = cpu_seconds(process.pid), time.monotonic()
            time.sleep(seconds)
            used, passed = cpu_seconds(process.pid) - before, time.monotonic() - started
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(_TIMEOUT)
    return used / passed


def cpu_seconds(root: int) -> float:
    """Return the CPU time of a process and of all processes that descend from it and still run."""
    parents, ticks = dict[int, int](), dict[int, int]()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # ended
            continue
        parents[int(folder.name)] = int(fields[1])
        ticks[int(folder.name)] = int(fields[11]) + int(fields[12])
    tree, found = {root}, {root}
    while found:
        found = {process for process, parent in parents.items() if parent in found}
        tree |= found
    return sum(ticks.get(process, 0) for process in tree) / _TICKS
