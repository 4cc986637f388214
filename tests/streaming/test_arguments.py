"""Tests for the types of arguments of the Python interface."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from streaming.arguments import check_argument, check_fields
from streaming.errors import UsageError


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        (3, int, 3),
        (np.int64(3), int, 3),
        (np.uint8(3), int | None, 3),
        (None, int | None, None),
        (3, float, 3),
        (np.int32(3), float, 3.0),
        (np.float32(0.5), float, 0.5),
        (np.float64(0.5), float, 0.5),
        (True, bool, True),
        (np.True_, bool, True),
        ("x", str, "x"),
        (["a", "b"], Sequence[str], ("a", "b")),
        (np.array(["a", "b"]), Sequence[str] | None, ("a", "b")),
        (pd.Index(["a"]), Sequence[str], ("a",)),
        ((), Sequence[str], ()),
        (Path("x"), str | os.PathLike[str], Path("x")),
        (datetime(2026, 12, 1, tzinfo=UTC), str | int | date, datetime(2026, 12, 1, tzinfo=UTC)),
        (len, Callable, len),
    ],
)
def test_values_of_accepted_types_are_converted(value: Any, hint: Any, expected: Any) -> None:
    found = check_argument("name", value, hint)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("value", "hint", "message"),
    [
        ("3", int, "name='3': give an integer"),
        (True, int, "name=True: give an integer"),
        (np.True_, int, "name=np.True_: give an integer"),
        (3.0, int | None, "name=3.0: give an integer or None"),
        (np.float64(3), int, "give an integer"),
        (np.array([1, 2]), int, r"name=array\(\[1, 2\]\): give an integer"),
        (True, float, "name=True: give a number"),
        (1j, float, "name=1j: give a number"),
        (None, float, "name=None: give a number"),
        (1, bool, "name=1: give True or False"),
        (np.array([True, False]), bool, "give True or False"),
        (None, bool, "give True or False"),
        (b"x", str, "name=b'x': give a string"),
        (1, str | os.PathLike[str], "name=1: give a string or a path"),
        ("abc", Sequence[str], "name='abc': give a list of strings"),
        ([1], Sequence[str], r"name=\[1\]: give a list of strings"),
        (None, Sequence[str], "name=None: give a list of strings"),
        ({"a": 1}, Sequence[str], "give a list of strings"),
        (iter(["a"]), Sequence[str] | None, "give a list of strings or None"),
        (np.array("a"), Sequence[str], "give a list of strings"),
        (1, Callable, "name=1: give a function"),
        (1, Path | None, "name=1: give an instance of Path or None"),
        (1.5, str | int | date, "give a string or an integer or a date or a datetime"),
        ("x" * 500, int, f"name='{'x' * 79}…: give an integer$"),
        (pd.DataFrame({"a": [1, 2]}), int, "name=a 0 1 1 2: give an integer"),
    ],
)
def test_other_types_are_one_line(value: Any, hint: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        check_argument("name", value, hint)
    assert "\n" not in str(error.value)


def test_fields_are_checked_and_converted() -> None:
    @dataclass(frozen=True)
    class Options:
        count: int = 1
        names: Sequence[str] = ()

        def __post_init__(self) -> None:
            check_fields(self)

    assert Options(np.int64(2), ["a"]) == Options(2, ("a",))
    options: Any = Options
    with pytest.raises(UsageError, match="names=1: give a list of strings"):
        options(names=1)
