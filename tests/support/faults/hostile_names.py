"""Names of folders and objects that attempt an injection: formulas, markup, terminal control, shell commands."""

from __future__ import annotations

from pathlib import Path

from support.lakes.small_lakes import GARBAGE, jpeg, put_all

FORMULAS = (
    "=cmd|' -C calc'!A0",
    "+1+1",
    "-2+3",
    "@SUM(A1)",
    "a;=1+1",
    "\t=1",
    " =1",
    "\uff1d1",
    "two\n\n=lines",
)
MARKUP = (
    "<script>alert(1)<",
    "<img src=x onerror=alert(1)>",
    '"onload="x',
    "&lt;b&gt;",
    "[bold]x[",
    ":apple:",
)
TERMINAL = ("\x1b[2J\x1b[31mred", "bell\x07\x08", "\x9b31m", "pomona: all is well\r\npomona: done")
DIRECTIONS = ("\u202egpj.exe", "\u2066x\u2069", "line\u2028break", "\ufeffmark")
SHELL = (
    "`id`",
    "$(touch gotcha)",
    "'; DROP TABLE features; --",
    "a\\..\\b",
    "%2e%2e%2fetc",
    "C:",
    "{a,b}[c]*?",
)
NAMES = (*FORMULAS, *MARKUP, *TERMINAL, *DIRECTIONS, *SHELL)

#: Characters that must be escaped before output to a terminal.
CONTROL_CHARACTERS = "\x1b\x07\x08\x9b\r\t\u202e\u2066\u2069\u2028\ufeff"


def put_hostile_images(root: Path) -> dict[str, str]:
    """Write a valid image to a folder of each name, and invalid ones to some; return labels by relative path."""
    valid = {f"{name}/{number}.jpg": jpeg(number) for number, name in enumerate(NAMES)}
    invalid = {f"{name}/{name}.jpg": GARBAGE for name in (*NAMES[::3], ":apple:", "[bold]x[")}
    put_all(root, valid | invalid)
    return {path: path.rsplit("/", 2)[-2] for path in valid | invalid}
