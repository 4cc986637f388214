"""Render what a program wrote to a terminal: the lines, the column of the cursor, and whether it is shown."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_SEQUENCES = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|([\r\n\b])|([^\x1b\r\n\b]+)")


@dataclass
class Screen:
    """A terminal of unlimited height that truncates no line: it wraps at `columns`.

    Only what Pomona, Rich and readline-less prompts write is interpreted; any other sequence raises ValueError.
    """

    columns: int
    lines: list[str] = field(default_factory=lambda: [""])
    row: int = 0
    column: int = 0
    cursor_shown: bool = True

    def write(self, output: bytes) -> Screen:
        """Interpret more output."""
        for match in _SEQUENCES.finditer(output.decode(errors="replace")):
            numbers, command, control, text = match.groups()
            if command:
                self._run(numbers, command)
            elif control:
                self._move(control)
            else:
                for character in text:
                    self._put(character)
        return self

    def _move(self, control: str) -> None:
        if control == "\n":
            self.row += 1
            if self.row == len(self.lines):
                self.lines.append("")
        elif control == "\r":
            self.column = 0
        else:
            self.column = max(0, self.column - 1)

    def _put(self, character: str) -> None:
        if self.column >= self.columns:
            self._move("\r")
            self._move("\n")
        line = self.lines[self.row].ljust(self.column)
        self.lines[self.row] = line[: self.column] + character + line[self.column + 1 :]
        self.column += 1

    def _run(self, numbers: str, command: str) -> None:
        if command == "K":
            kept = "" if numbers == "2" else self.lines[self.row][: self.column]
            self.lines[self.row] = kept
        elif command == "A":
            self.row = max(0, self.row - int(numbers or 1))
        elif command in "hl":
            if numbers == "?25":
                self.cursor_shown = command == "h"
        elif command != "m":
            raise ValueError(f"unexpected sequence ESC[{numbers}{command}")

    @property
    def text(self) -> str:
        """The lines that are shown, without trailing spaces."""
        return "\n".join(line.rstrip() for line in self.lines).rstrip("\n")
