"""Load `cluster.toml` into a `ClusterConfig`; errors name the line."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_type_hints

from bootstrap.config.schema import REQUIRED, ClusterConfig
from bootstrap.errors import DescriptionError


def read_description(path: str) -> ClusterConfig:
    """Read and check a description.

    Parameters
    ----------
    path : str
        File of TOML, see `cluster.example.toml`.

    Raises
    ------
    DescriptionError
        For the first thing that is wrong: its line, its value, and what is allowed.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise DescriptionError(
            f"{path}: {(error.strerror or 'cannot be read').lower()}; "
            "-f names the description, and `pomona cloud example` prints one"
        ) from error
    return parse_description(content, path)


def parse_description(content: bytes, path: str = "cluster.toml") -> ClusterConfig:
    """The same from the file's bytes; `path` is what errors call it."""
    try:
        words = content.decode("utf-8-sig")  # editors of Windows put a mark before the first word
        values = tomllib.loads(words)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DescriptionError(f"{path}: no TOML: {error}") from error
    where = _Lines(path, words)
    for name in REQUIRED:
        if name not in values:
            raise DescriptionError(
                f"{path}: {name} is missing; it must be {_allowed(ClusterConfig, name)}"
            )
    description: ClusterConfig = _table(ClusterConfig, values, "", where)
    _check_together(description, where)
    return description


def checked(settings: Mapping[str, str], allowed: Sequence[str]) -> dict[str, Any]:
    """The values of single keys, as `--set instances.core=4` gives them.

    Parameters
    ----------
    settings : dict of str
        From dotted keys to values as TOML or, where that is none, as plain text.
    allowed : list of str
        Keys that may be set.

    Raises
    ------
    DescriptionError
        For another key, or a value that the schema does not allow.
    """
    made: dict[str, Any] = {}
    for dotted, told in settings.items():
        if dotted not in allowed:
            raise DescriptionError(f"{dotted}: cannot be set here; allowed: {', '.join(allowed)}")
        try:
            value = tomllib.loads(f"value = {told}")["value"]
        except tomllib.TOMLDecodeError:
            value = told
        table, _, name = dotted.rpartition(".")
        kind = get_type_hints(ClusterConfig)[table] if table else ClusterConfig
        field = {field.name: field for field in dataclasses.fields(kind)}[name]
        if not field.metadata["check"](value):
            raise DescriptionError(f"{dotted} is {value!r}; it must be {field.metadata['allowed']}")
        made[dotted] = value
    return made


class _Lines:
    """Where each key stands: `tomllib` does not tell."""

    def __init__(self, path: str, words: str) -> None:
        self._path, self._at = path, dict(reversed([*_keys(words)]))

    def __call__(self, *dotted: str) -> str:
        """The line of the first of these keys that stands there, or else of the table around it."""
        for key in (*dotted, *_around(dotted[0])):
            if key in self._at:
                return f"{self._path}, line {self._at[key]}"
        return self._path


def _keys(words: str) -> Iterator[tuple[str, int]]:
    table = ""
    for number, line in enumerate(words.splitlines(), 1):
        if heading := re.match(r"\s*\[+\s*([^\]]+?)\s*\]", line):
            table = _unquoted(heading[1]) + "."
            named = table[:-1]
        elif found := re.match(r"\s*([\w.\"'-]+(?:\s*\.\s*[\w\"'-]+)*)\s*=", line):
            named = table + _unquoted(found[1])
        else:
            continue
        yield named, number
        yield from ((outer, number) for outer in _around(named))  # a.b.c makes a and a.b too


def _around(dotted: str) -> list[str]:
    """Tables in which a key stands, the nearest first."""
    parts = dotted.split(".")
    return [".".join(parts[:end]) for end in range(len(parts) - 1, 0, -1)]


def _unquoted(dotted: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in dotted.split("."))


def _table(kind: Any, values: dict[str, Any], prefix: str, where: _Lines) -> Any:
    fields = {field.name: field for field in dataclasses.fields(kind)}
    types = get_type_hints(kind)
    made: dict[str, Any] = {}
    for name, value in values.items():
        dotted = prefix + name
        if name not in fields:
            told = f"[{prefix[:-1]}] " if prefix else ""
            raise DescriptionError(
                f"{where(dotted)}: {dotted or repr(dotted)} is no key; {told}allowed: {', '.join(fields)}"
            )
        if dataclasses.is_dataclass(types[name]):
            if not isinstance(value, dict):
                raise DescriptionError(f"{where(dotted)}: {dotted} must be a table, [{dotted}]")
            made[name] = _table(types[name], value, f"{dotted}.", where)
            continue
        if not fields[name].metadata["check"](value):
            raise DescriptionError(
                f"{where(dotted)}: {dotted} is {value!r}; it must be {_allowed(kind, name)}"
            )
        made[name] = tuple(value) if isinstance(value, list) else value
    return kind(**made)


def _allowed(kind: Any, name: str) -> str:
    field = next(field for field in dataclasses.fields(kind) if field.name == name)
    return str(field.metadata["allowed"])


#: Keys by which one of another table, which may be left out, comes to be wrong.
_BESIDE = {
    "limits.nodes": ("instances.core", "instances.task"),
    "limits.core": ("instances.core", "limits.nodes"),
    "storage.images": ("storage.lake",),
    "network.ssh_key": ("network.ssh_from",),
}


def _check_together(description: ClusterConfig, where: _Lines) -> None:
    instances, limits, storage = description.instances, description.limits, description.storage
    nodes, images = instances.core + instances.task, storage.images
    data = storage.data_bucket
    for key, wrong, told in (
        (
            "limits.nodes",
            limits.nodes < nodes,
            f"limits.nodes is {limits.nodes}; it must be {nodes} or more, the nodes to start with",
        ),
        (
            "limits.core",
            not instances.core <= limits.core <= limits.nodes,
            f"limits.core is {limits.core}; it must be {instances.core} to {limits.nodes}, "
            "from instances.core to limits.nodes",
        ),
        (
            "storage.images",
            images.startswith(storage.lake) or storage.lake.startswith(images),
            f"storage.images is {images!r}; it must not lie in the lake, {storage.lake!r}, or around it",
        ),
        (
            "storage.log_bucket",
            data is not None and storage.log_bucket == data,
            f"storage.log_bucket is {data!r}; it must be another than storage.data_bucket",
        ),
        (
            "network.ssh_key",
            bool(description.network.ssh_from) and description.network.ssh_key is None,
            "network.ssh_from opens SSH; it must come with network.ssh_key, the name of an EC2 key pair",
        ),
    ):
        if wrong:
            raise DescriptionError(f"{where(key, *_BESIDE.get(key, ()))}: {told}")
