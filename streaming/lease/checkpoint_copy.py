"""Copy the streaming checkpoint when a lake on S3 changes its owner.

Spark's checkpoint cannot be fenced: a paused former owner that resumes keeps writing to its own. The copy gets a
new query ID, as every new checkpoint does, so Delta does not mistake commits of one for repetitions of the other's.
"""

from __future__ import annotations

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from streaming.storage.s3 import s3_storage

# The reverse of the order in which Spark writes them, so that the copy has all files that a copied file needs.
_PARTS = ("commits", "offsets", "sources")
_THREADS = 16


def copy_checkpoint(before: str, after: str) -> None:
    """Copy a checkpoint on S3 whose writer may still be active; do nothing if there is none."""
    storage = s3_storage()

    def copy(path: str) -> None:
        with suppress(FileNotFoundError):  # Spark deletes files that a newer one replaces
            storage.copy(path, after + path.removeprefix(before))

    try:
        storage.read(f"{before}/metadata", before)
    except FileNotFoundError:
        return
    with ThreadPoolExecutor(_THREADS) as threads:
        for part in _PARTS:
            list(threads.map(copy, [file.path for file in storage.list(f"{before}/{part}")]))
    storage.write(f"{after}/metadata", json.dumps({"id": str(uuid.uuid4())}).encode())
