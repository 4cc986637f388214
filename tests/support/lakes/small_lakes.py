"""Create small images and source folders; read with delta-rs what Spark wrote."""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import deltalake
import numpy as np
from PIL import Image

from streaming.ingest.settings import IngestSettings
from streaming.lake.layout import Lake
from streaming.storage.interface import StoredFile
from streaming.storage.local import LocalStorage

#: Ingest all existing images, without waiting for recently written files.
ONCE = IngestSettings(once=True, settle=0)
GARBAGE = b"\xff\xd8\xff\xe0 a JPEG in name alone"


@cache
def jpeg(seed: int = 0) -> bytes:
    """Return a JPEG of 48 x 32 pixels, different for each seed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), np.uint8)
    image = Image.fromarray(pixels).resize((48, 32))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG")
    return buffer.getvalue()


def put(file: Path, content: bytes, written: float | None = None) -> StoredFile:
    """Write a file atomically; its modification time is `written` (seconds since 1970) or a minute ago."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}")
    temporary.write_bytes(content)
    at = time.time() - 60 if written is None else written
    os.utime(temporary, (at, at))
    temporary.replace(file)
    return LocalStorage().stat(f"file:{file}")


def put_all(root: Path, contents: Mapping[str, bytes]) -> list[StoredFile]:
    """Write files, given by their names below a folder."""
    return [put(root / name, content) for name, content in contents.items()]


def upload_tree(folder: Path, bucket: str, prefix: str) -> None:
    """Upload all files below a folder to a bucket of the moto server."""
    client = boto3.client("s3")
    for file in (file for file in folder.rglob("*") if file.is_file()):
        key = f"{prefix}/{file.relative_to(folder)}"
        client.put_object(Bucket=bucket, Key=key, Body=file.read_bytes())


def photos(label: str, numbers: Iterable[int]) -> dict[str, bytes]:
    """Return valid images of one label, by name."""
    return {f"{label}/{number}.jpg": jpeg(number) for number in numbers}


def rows(location: str) -> list[dict[str, Any]]:
    """Return the rows of a table, ordered by path, read with delta-rs."""
    table = deltalake.DeltaTable(location.removeprefix("file:")).to_pyarrow_table()
    return sorted(table.to_pylist(), key=lambda row: str(row["path"]))


def below(root: Path, location: str) -> list[str]:
    """Return the paths of the rows of a table relative to the source, including duplicates."""
    return [row["path"].removeprefix(f"file:{root}/") for row in rows(location)]


def version(location: str) -> int:
    """Return the latest version of a table."""
    return deltalake.DeltaTable(location.removeprefix("file:")).version()


def versions(lake: Lake) -> tuple[int, int]:
    """Return the latest versions of features and quarantine."""
    return version(lake.features), version(lake.quarantine)


def commit_metadata(location: str) -> list[dict[str, Any]]:
    """Return the metadata of each commit of a table, latest first."""
    history = deltalake.DeltaTable(location.removeprefix("file:")).history()
    return [json.loads(commit["userMetadata"]) for commit in history if "userMetadata" in commit]


def actions(location: str, number: int) -> list[dict[str, Any]]:
    """Return the actions of one commit in the log of a table."""
    log = Path(location.removeprefix("file:"), "_delta_log", f"{number:020}.json")
    return [json.loads(line) for line in log.read_text().splitlines()]
