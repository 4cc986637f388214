"""Set the commit times of a local table, as another writer at that time would have."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path


def set_commit_time(location: str | Path, number: int, seconds: float) -> None:
    """Set the commit time of a version: in its commit information, and of its file, which Spark uses."""
    log = Path(str(location).removeprefix("file:"), "_delta_log")
    file = log / f"{number:020}.json"
    milliseconds = round(seconds * 1000)
    actions = [json.loads(line) for line in file.read_text().splitlines()]
    for action in actions:
        if "commitInfo" in action:
            action["commitInfo"]["timestamp"] = milliseconds
    file.write_text("".join(json.dumps(action) + "\n" for action in actions))
    (log / f".{file.name}.crc").unlink(missing_ok=True)  # Hadoop's checksum
    os.utime(file, ns=(milliseconds * 1_000_000,) * 2)


def copy_with_new_times(source: Path, target: Path) -> Path:
    """Copy a folder as `aws s3 sync` does: all files have new modification times, in another order."""
    shutil.copytree(source, target, copy_function=shutil.copyfile)
    for age, file in enumerate(sorted(target.rglob("*"))):
        if file.is_file():
            os.utime(file, (file.stat().st_mtime - 10 * age,) * 2)
    return target
