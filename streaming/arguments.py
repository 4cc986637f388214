"""Check the types of arguments of the Python interface, and convert the scalars of NumPy to those of Python."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import date, timedelta
from numbers import Integral, Real
from typing import Any, get_args, get_origin, get_type_hints

from streaming.errors import UsageError

_MAX_SHOWN = 80  # characters of a value in a message
_NAMES: Mapping[Any, str] = {
    bool: "True or False",
    int: "an integer",
    float: "a number",
    str: "a string",
    date: "a date or a datetime",
    timedelta: "a timedelta",
    os.PathLike: "a path",
    Sequence: "a list of strings",
    Callable: "a function",
    type(None): "None",
}


def check_argument(name: str, value: Any, hint: Any) -> Any:
    """Return an argument as a value of the annotated type.

    Parameters
    ----------
    name : str
    value : object
    hint : type or union of types
        ``bool``, ``int``, ``float``, ``str``, ``Sequence[str]``, None, or classes. An integer is also a float, but a
        bool is neither. NumPy's scalars are converted to Python's, and sequences to tuples.

    Raises
    ------
    UsageError
        If the value has none of the types.

    Examples
    --------
    >>> check_argument("top", 3, int), check_argument("columns", ["path"], Sequence[str])
    (3, ('path',))
    >>> check_argument("top", "3", int | None)
    Traceback (most recent call last):
    streaming.errors.UsageError: top='3': give an integer or None
    """
    origin = get_origin(hint)
    # A union has no class of its own among its arguments: `int | None`, but not `Sequence[str]`.
    single = origin is None or (isinstance(origin, type) and origin in _NAMES)
    kinds = [get_origin(kind) or kind for kind in ((hint,) if single else get_args(hint))]
    for kind in kinds:
        if _matches(value, kind):
            return _convert(value, kind)
    expected = " or ".join(_NAMES.get(kind) or f"an instance of {kind.__name__}" for kind in kinds)
    raise UsageError(f"{name}={_show(value)}: give {expected}")


def check_fields(options: Any) -> None:
    """Check, and convert, the fields of a dataclass with `check_argument`; call it in ``__post_init__``."""
    hints = get_type_hints(type(options))
    for field in fields(options):
        value = getattr(options, field.name)
        checked = check_argument(field.name, value, hints[field.name])
        if checked is not value:
            object.__setattr__(options, field.name, checked)


def _matches(value: Any, kind: Any) -> bool:
    if kind is bool:
        # NumPy, which is not imported here, calls the type `bool` or `bool_`.
        is_scalar = getattr(value, "shape", None) == ()
        return isinstance(value, bool) or (is_scalar and value.dtype == "bool")
    if isinstance(value, bool):
        return False
    if kind is int:
        return isinstance(value, Integral)
    if kind is float:
        return isinstance(value, Real)
    if kind is Sequence:
        return (
            isinstance(value, Iterable)
            and not isinstance(value, (str, bytes, Mapping))
            and getattr(value, "shape", None) != ()  # a scalar of NumPy
            and not hasattr(value, "__next__")  # an iterator can be read only once
            and all(isinstance(item, str) for item in value)
        )
    return isinstance(value, kind)


def _convert(value: Any, kind: Any) -> Any:
    if kind in (bool, int):
        return kind(value)
    if kind is float:
        return value if type(value) in (int, float) else float(value)
    return tuple(value) if kind is Sequence else value


def _show(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"
