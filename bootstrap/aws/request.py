"""A request to AWS as data: parameters, purpose, and how to check whether it is still needed.

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
    """Asks the account for something; None where there is no such thing."""

    def __call__(
        self,
        service: str,
        operation: str,
        parameters: Parameters,
        absent_codes: tuple[str, ...] = (),
    ) -> Parameters | None:
        """Send a request that reads; `absent_codes` are the codes of errors that mean "not there"."""


@dataclass(frozen=True)
class CurrentState:
    """What stands in the account where a request would put something.

    Parameters
    ----------
    current : Any
        To be compared with the request's `desired`.
    values : dict of str
        What later requests take from it.
    """

    current: Any
    values: Mapping[str, str] = field(default_factory=dict)


Lookup = Callable[[ReadApi], CurrentState | None]
UpdateBuilder = Callable[[Parameters, CurrentState], tuple[str, Parameters] | None]


@dataclass(frozen=True)
class Request:
    """One request.

    Parameters
    ----------
    name : str
        What it makes, unique in a plan.
    service, operation : str
        As boto3 names them, such as ``s3`` and ``create_bucket``.
    parameters : dict
    why : str
        One line.
    look : callable
        Finds what stands in its place.
    wanted : Any
        What `CurrentState.current` must hold for the request not to be needed.
    change : callable or None
        From the parameters and what was found to the operation that changes it. None, or one that gives None: it
        cannot be changed where it stands.
    made : callable
        From the answer to the values that later requests take.
    patient : tuple of str
        Codes of errors that pass: AWS needs seconds until a new role is known everywhere.
    """

    name: str
    service: str
    operation: str
    parameters: Parameters
    why: str
    find_current: Lookup
    desired: Any = True
    build_update: UpdateBuilder | None = None
    outputs: Callable[[Parameters], Mapping[str, str]] = lambda _answer: {}
    retry_codes: tuple[str, ...] = ()

    @property
    def read_only(self) -> bool:
        """Whether it changes nothing."""
        return is_read_only(self.operation)


def is_read_only(operation: str) -> bool:
    """Whether an operation changes nothing, by its name."""
    return operation.partition("_")[0] in ("get", "list", "describe", "head")


@dataclass(frozen=True)
class LocalFile:
    """A file of this machine that is uploaded.

    Parameters
    ----------
    path : pathlib.Path
    size : int or None
        Bytes; None where the file is still to be made.
    sha256 : str
    """

    path: Path
    size: int | None
    sha256: str

    @classmethod
    def from_path(cls, path: Path) -> LocalFile:
        """Look at a file that may not be there yet."""
        if not path.is_file():
            return cls(path, None, "")
        with path.open("rb") as content:
            return cls(
                path, path.stat().st_size, hashlib.file_digest(content, "sha256").hexdigest()
            )

    def summary(self) -> Parameters:
        """What a plan says in place of the bytes."""
        if self.size is None:
            return {"file": str(self.path), "bytes": "still to be made"}
        return {"file": str(self.path), "bytes": self.size, "sha256": self.sha256}


def overwrite_with(operation: str) -> UpdateBuilder:
    """A change that sends the same parameters to an operation that overwrites."""
    return lambda parameters, _found: (operation, parameters)


def resolve_references(value: Any, values: Mapping[str, str]) -> Any:
    """The same with ``${…}`` filled in, as far as it is known."""
    if isinstance(value, str):
        return re.sub(r"\$\{([^}]+)\}", lambda found: values.get(found[1], found[0]), value)
    if isinstance(value, dict):
        return {key: resolve_references(inner, values) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [resolve_references(inner, values) for inner in value]
    return value


def has_references(value: Any) -> bool:
    """Whether something in it is still to be filled in."""
    if isinstance(value, dict):
        return any(has_references(inner) for inner in value.values())
    if isinstance(value, list | tuple):
        return any(has_references(inner) for inner in value)
    return isinstance(value, str) and "${" in value


def differences(current: Any, desired: Any, place: str = "") -> list[str]:
    """What is wanted and is not so, a line each; what AWS adds of its own does not count."""
    if isinstance(desired, dict) and isinstance(current, dict):
        lines = []
        for key, value in desired.items():
            lines += differences(current.get(key), value, f"{place}.{key}" if place else str(key))
        return lines
    if isinstance(desired, list) and isinstance(current, list) and len(desired) == len(current):
        lines = []
        for number, (is_, value) in enumerate(zip(current, desired, strict=True)):
            lines += differences(is_, value, f"{place}[{number}]")
        return lines
    if current == desired:
        return []
    prefix = f"{place}: " if place else ""
    return [f"{prefix}{_brief(current)} -> {_brief(desired)}"]


def _brief(value: Any) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
