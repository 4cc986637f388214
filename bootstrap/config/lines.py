"""Find the line of a key in a TOML file, for error messages."""

from __future__ import annotations

import re
from collections.abc import Iterator


class LineNumbers:
    """Line numbers of the keys of a configuration file, which `tomllib` does not report."""

    def __init__(self, path: str, text: str) -> None:
        self._path, self._lines = path, dict(reversed([*_key_lines(text)]))

    def __call__(self, *dotted: str) -> str:
        """Return the line of the first of these keys that is present, or else of its table."""
        for key in (*dotted, *_parents(dotted[0])):
            if key in self._lines:
                return f"{self._path}, line {self._lines[key]}"
        return self._path


def _key_lines(text: str) -> Iterator[tuple[str, int]]:
    """Yield the dotted name and line number of each key and table."""
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        if heading := re.match(r"\s*\[+\s*([^\]]+?)\s*\]", line):
            table = _strip_quotes(heading[1]) + "."
            key = table[:-1]
        elif match := re.match(r"\s*([\w.\"'-]+(?:\s*\.\s*[\w\"'-]+)*)\s*=", line):
            key = table + _strip_quotes(match[1])
        else:
            continue
        yield key, number
        yield from ((parent, number) for parent in _parents(key))  # a.b.c also defines a and a.b


def _parents(dotted: str) -> list[str]:
    """Return the tables that contain a key, the innermost first."""
    parts = dotted.split(".")
    return [".".join(parts[:end]) for end in range(len(parts) - 1, 0, -1)]


def _strip_quotes(dotted: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in dotted.split("."))
