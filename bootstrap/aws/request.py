"""A request to AWS as data: parameters, purpose, and a function that checks whether it is needed.

A parameter may contain ``${name.Field}``: a field of the response to the request of that name.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

Parameters = dict[str, Any]


class ReadApi(Protocol):
    """Signature of `Account.read`."""

    def __call__(
        self,
        service: str,
        operation: str,
        parameters: Parameters,
        absent_codes: tuple[str, ...] = (),
    ) -> Parameters | None:
        """Send a read-only request; return None on an error code of `absent_codes`."""


@dataclass(frozen=True)
class CurrentState:
    """The current state of the resource that a request creates.

    Parameters
    ----------
    current : Any
        Compared with the request's `desired`.
    values : dict of str
        Values that later requests refer to.
    """

    current: Any
    values: Mapping[str, str] = field(default_factory=dict)


Lookup = Callable[[ReadApi], CurrentState | None]
UpdateBuilder = Callable[[Parameters, CurrentState], tuple[str, Parameters] | None]


@dataclass(frozen=True)
class Request:
    """One request to AWS.

    Parameters
    ----------
    name : str
        Name of the resource that the request creates, unique in a plan.
    service, operation : str
        boto3 names, such as ``s3`` and ``create_bucket``.
    parameters : dict
    purpose : str
        Purpose, in one line.
    find_current : callable
        Looks up the existing resource.
    desired : Any
        The request is not needed if `CurrentState.current` contains this.
    build_update : callable or None
        Returns the operation and parameters that update the existing resource. None, or a result of None: the
        resource cannot be changed in place.
    outputs : callable
        Extracts from the response the values that later requests refer to.
    retry_on : tuple of (str, str)
        Error codes, each with a part of the message, on which the request is retried: a new role takes seconds to
        propagate.
    """

    name: str
    service: str
    operation: str
    parameters: Parameters
    purpose: str
    find_current: Lookup
    desired: Any = True
    build_update: UpdateBuilder | None = None
    outputs: Callable[[Parameters], Mapping[str, str]] = lambda _response: {}
    retry_on: tuple[tuple[str, str], ...] = ()

    @property
    def read_only(self) -> bool:
        """Whether the request is read-only."""
        return is_read_only(self.operation)


def is_read_only(operation: str) -> bool:
    """Return whether an operation is read-only, judged by its name."""
    return operation.partition("_")[0] in ("get", "list", "describe", "head", "simulate")


@dataclass(frozen=True)
class LocalFile:
    """A local file to upload.

    Parameters
    ----------
    path : pathlib.Path
    size : int or None
        Bytes; None: the file does not exist yet.
    sha256 : str
    """

    path: Path
    size: int | None
    sha256: str

    @classmethod
    def from_path(cls, path: Path) -> LocalFile:
        """Return size and hash of a file that may not exist yet."""
        if not path.is_file():
            return cls(path, None, "")
        with path.open("rb") as content:
            return cls(
                path, path.stat().st_size, hashlib.file_digest(content, "sha256").hexdigest()
            )

    def summary(self) -> Parameters:
        """Return what a plan shows in place of the content."""
        if self.size is None:
            return {"file": str(self.path), "bytes": "not built yet"}
        return {"file": str(self.path), "bytes": self.size, "sha256": self.sha256}


def overwrite_with(operation: str) -> UpdateBuilder:
    """Return an `UpdateBuilder` for an operation that overwrites the resource, with the same parameters."""
    return lambda parameters, _current: (operation, parameters)


def resolve_references(value: Any, values: Mapping[str, str]) -> Any:
    """Return a value with the known ``${…}`` references replaced."""
    if isinstance(value, str):
        return re.sub(r"\$\{([^}]+)\}", lambda match: values.get(match[1], match[0]), value)
    if isinstance(value, dict):
        return {key: resolve_references(item, values) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [resolve_references(item, values) for item in value]
    return value


def has_references(value: Any) -> bool:
    """Return whether a value contains ``${…}`` references."""
    if isinstance(value, dict):
        return any(has_references(item) for item in value.values())
    if isinstance(value, list | tuple):
        return any(has_references(item) for item in value)
    return isinstance(value, str) and "${" in value


def differences(current: Any, desired: Any, path: str = "") -> list[str]:
    """Return a line for each difference from `desired`; extra keys in `current` are ignored."""
    if isinstance(desired, dict) and isinstance(current, dict):
        lines = []
        for key, value in desired.items():
            lines += differences(current.get(key), value, f"{path}.{key}" if path else str(key))
        return lines
    if isinstance(desired, list) and isinstance(current, list) and len(desired) == len(current):
        lines = []
        for number, (item, value) in enumerate(zip(current, desired, strict=True)):
            lines += differences(item, value, f"{path}[{number}]")
        return lines
    if current == desired:
        return []
    prefix = f"{path}: " if path else ""
    return [f"{prefix}{_format(current)} -> {_format(desired)}"]


def _format(value: Any) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
