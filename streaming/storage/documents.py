"""Read small JSON documents: each is checked against a schema before a value of it is used.

Others may be able to write into a lake. A document of an unexpected shape is one clear error, never a traceback.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn

from streaming.errors import LakeError
from streaming.storage.open import open_storage

#: A Python type (`datetime`: a string with a time in ISO 8601); a list with the schema of its items; a dict with the
#: schemas of its values by key; `Optional`; `Values`. Other keys of an object are permitted, because later versions of
#: Pomona may write them.
Schema = Any

_MAX_BYTES = 64 * 2**20
_MAX_INTEGER = 2**63
_SURROGATE = re.compile("[\ud800-\udfff]")
_TYPE_NAMES = {
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    datetime: "a time in ISO 8601",
    dict: "an object",
    list: "a list",
}


@dataclass(frozen=True)
class Optional:
    """The key may be missing, or its value null."""

    schema: Schema


@dataclass(frozen=True)
class Values:
    """An object with any keys, whose values have this schema."""

    schema: Schema


class InvalidDocumentError(ValueError):
    """A text is not JSON, or not of the expected shape; the message quotes no value of it."""


def read_document(path: str, within: str, schema: Schema, remedy: str) -> Any:
    """Read a JSON document.

    Parameters
    ----------
    path : str
        Normalized URI of the file.
    within : str
        Normalized URI of the lake: a link that leads out of it is not followed.
    schema : Schema
    remedy : str
        What to do if it is broken, for the message.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    LakeError
        If it is broken, or a link out of the lake.
    """
    try:
        return parse_document(open_storage(path).read(path, within), schema)
    except InvalidDocumentError as error:
        raise LakeError(f"{path}: broken ({error}): {remedy}") from error


def parse_document(content: bytes | str, schema: Schema) -> Any:
    """Parse a JSON document, and check it against a schema.

    Duplicate keys, numbers that are not finite, integers of more than 64 bits and invalid UTF-8 are rejected, because
    readers disagree about them.

    Raises
    ------
    InvalidDocumentError
        If the content is not JSON, or has another shape.
    """
    if len(content) > _MAX_BYTES:
        raise InvalidDocumentError(f"it has more than {_MAX_BYTES:,} bytes")
    try:
        text = content if isinstance(content, str) else content.decode("utf-8-sig")
        document = json.loads(
            text, parse_constant=_reject_constant, object_pairs_hook=_object_without_duplicates
        )
        check_document(document, schema)
    except InvalidDocumentError:
        raise
    except UnicodeDecodeError as error:
        raise InvalidDocumentError("it is not UTF-8") from error
    except json.JSONDecodeError as error:
        raise InvalidDocumentError(f"it is not JSON: {error.msg} in line {error.lineno}") from error
    except ValueError as error:  # an integer of thousands of digits
        raise InvalidDocumentError("it is not JSON: a number is too long") from error
    except RecursionError as error:
        raise InvalidDocumentError("it is nested too deeply") from error
    return document


def check_document(value: Any, schema: Schema, name: str = "it") -> None:
    """Raise InvalidDocumentError if a value of JSON does not match a schema."""
    if isinstance(schema, Optional):
        if value is not None:
            check_document(value, schema.schema, name)
    elif isinstance(schema, Values):
        _check_type(value, dict, name)
        for item in value.values():
            check_document(item, schema.schema, f"a value of {name}")
    elif isinstance(schema, Mapping):
        _check_type(value, dict, name)
        for key, item in schema.items():
            if key not in value and not isinstance(item, Optional):
                raise InvalidDocumentError(f"{key} is missing")
            check_document(value.get(key), item, key)
    elif isinstance(schema, list):
        _check_type(value, list, name)
        for item in value:
            check_document(item, schema[0], f"an item of {name}")
    else:
        _check_type(value, schema, name)


def _check_type(value: Any, expected: type, name: str) -> None:
    valid = isinstance(value, expected) or (expected is float and isinstance(value, int))
    if expected is datetime:
        valid = isinstance(value, str) and _is_time(value)
    if isinstance(value, bool) and expected is not bool:
        valid = False
    if isinstance(value, int) and abs(value) >= _MAX_INTEGER:
        valid = False
    if isinstance(value, float) and not math.isfinite(value):  # 1e999
        valid = False
    if isinstance(value, str) and _SURROGATE.search(value):
        valid = False
    if not valid:
        raise InvalidDocumentError(f"{name} is not {_TYPE_NAMES[expected]}")


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        return False
    return True


def _object_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise InvalidDocumentError("a key is duplicated")
    return found


def _reject_constant(name: str) -> NoReturn:
    raise InvalidDocumentError(f"{name} is not JSON")
