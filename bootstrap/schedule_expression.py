"""Check rate and cron expressions as EventBridge Scheduler does, which otherwise rejects them while a stack is created.

Source: https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html, and for the units of a rate
https://docs.aws.amazon.com/scheduler/latest/APIReference/API_CreateSchedule.html. What these pages leave open is
accepted.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_MAX_LENGTH = 256
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")


class _Field(NamedTuple):
    """A field of a cron expression: its values, and a pattern for those with the letters L, W and #."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    special: str = "(?!)"
    letters: str = ""

    @property
    def allowed(self) -> str:
        """Describe the values."""
        names = f" or {self.names[0]}-{self.names[-1]}" if self.names else ""
        return f"{self.low}-{self.high}{names}, *, a range or a step{self.letters}"


_FIELDS = (
    _Field("minutes", 0, 59),
    _Field("hours", 0, 23),
    _Field(
        "day-of-month",
        1,
        31,
        special=r"L|LW|L-([1-9]|[12]\d|30)|([1-9]|[12]\d|3[01])W",
        letters=", or L, LW, L-3 or 15W",
    ),
    _Field("month", 1, 12, _MONTHS),
    _Field(
        "day-of-week",
        1,
        7,
        _DAYS,
        special=rf"L|([1-7]|{'|'.join(_DAYS)})(L|#[1-5])",
        letters=", or L, 6L or 2#1",
    ),
    _Field("year", 1970, 2199),
)


def expression_problem(expression: str) -> str:
    """Return what is wrong with a rate or cron expression, and the remedy; empty if it is valid."""
    kind, _, content = expression.partition("(")
    if kind == "rate":
        if re.fullmatch(r"rate\([1-9][0-9]* (minute|hour|day)s?\)", expression):
            return ""
        return "a rate is a whole number of 1 or more and a unit, as in rate(1 hour) or rate(30 minutes)"
    if kind != "cron" or not content.endswith(")"):
        return "write rate(1 hour), rate(6 hours), cron(0 2 * * ? *) or similar"
    if len(expression) > _MAX_LENGTH:
        return f"it has {len(expression)} characters; up to {_MAX_LENGTH} are allowed: write ranges or steps"
    texts = content[:-1].split()
    if len(texts) != len(_FIELDS):
        names = ", ".join(field.name for field in _FIELDS)
        return f"a cron expression has 6 fields, not {len(texts)}: {names}"
    if [texts[2], texts[4]].count("?") != 1:
        return (
            f"day-of-month is {texts[2]} and day-of-week is {texts[4]}; exactly one of them must be ?, "
            "as in cron(0 2 * * ? *) or cron(0 2 ? * MON *)"
        )
    return next(filter(None, map(_field_problem, _FIELDS, texts)), "")


def _field_problem(field: _Field, text: str) -> str:
    """Return what is wrong with a field of a cron expression; empty if it is valid."""
    if text == "?" and field.name.startswith("day"):
        return ""
    if "#" in text and "," in text:
        return f"{field.name} is {text}; with #, it must be one value, such as 2#1"
    for item in text.split(","):
        if not (item.isascii() and _is_item(field, item.upper())):
            return f"{field.name} has {item or 'an empty value'}; it must be {field.allowed}"
    return ""


def _is_item(field: _Field, item: str) -> bool:
    """Return whether an item is a value, a range or `*`, with or without a step, or has the letters of the field."""
    if re.fullmatch(field.special, item):
        return True
    base, slash, step = item.partition("/")
    if slash and not (step.isdecimal() and 1 <= int(step) <= field.high):
        return False
    if base == "*" or (slash and not base):
        return True
    ends = base.split("-")
    return len(ends) <= 2 and all(_is_value(field, end) for end in ends)


def _is_value(field: _Field, text: str) -> bool:
    number = re.fullmatch("[0-9]{1,4}", text)
    return text in field.names or bool(number and field.low <= int(text) <= field.high)
