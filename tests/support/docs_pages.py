"""The pages of docs/: which there are, the commands of each in their order, how those end, and its Python."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
RUNS_ON = "# runs until it is stopped"
_LINK = re.compile(r"\]\((\S+)\)")


@dataclass(frozen=True)
class Line:
    """A command of a page: its words, and how it is to end."""

    words: list[str]
    status: int = 0
    runs_on: bool = False


def listed() -> tuple[list[Path], list[Path]]:
    """The pages that are listed, of tasks and of what is looked up."""
    tasks, _, others = (DOCS / "README.md").read_text().partition("\n## Reference")
    return [DOCS / name for name in _LINK.findall(tasks)], [
        DOCS / name for name in _LINK.findall(others)
    ]


def lines(page: Path) -> list[Line]:
    """The commands of the blocks of a page, in their order."""
    found = []
    for kind, block in re.findall(r"^```(console|cron)\n(.*?)^```$", page.read_text(), re.M | re.S):
        for line in block.splitlines():
            if kind == "cron":
                found.append(Line(shlex.split(re.sub(r"^(\S+ +){5}", "", line))))
            elif line.startswith("$ "):
                found.append(Line(shlex.split(line[2:])))
            elif line == RUNS_ON:
                found[-1] = Line(found[-1].words, runs_on=True)
            elif status := re.fullmatch(r"# exit status (\d)", line):
                found[-1] = Line(found[-1].words, int(status[1]))
            else:
                pytest.fail(f"{page.name}: {line!r} is neither a command nor how it ends")
    return found


def programs(page: Path) -> list[str]:
    """The blocks of Python of a page."""
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.M | re.S)
