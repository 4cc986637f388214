"""The pages of docs/, their commands with the expected exit codes, and their Python code."""

from __future__ import annotations

import importlib.util
import re
import shlex
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parents[3] / "docs"
INDEX = DOCS / "README.md"
DECISIONS = DOCS / "decisions"
#: Comment below a command that runs until it is stopped.
RUNS_ON = "# runs until stopped"
#: Comment below a command that is expected to fail.
_EXIT_CODE = re.compile(r"# exit code (\d)")
_LINK = re.compile(r"\]\(([\w./-]+\.md)\)")


@dataclass(frozen=True)
class PageCommand:
    """A command of a page: its arguments, beginning with the program, and how it ends."""

    arguments: list[str]
    exit_code: int = 0
    runs_on: bool = False


def pages(folder: str = "**") -> list[Path]:
    """Return the pages in a folder of docs/, or all but the index."""
    return sorted(page for page in DOCS.glob(f"{folder}/*.md") if page != INDEX)


def decision_records() -> list[Path]:
    """Return the records of design decisions, which have an index of their own."""
    return sorted(DECISIONS.glob("[0-9]*.md"))


def listed_pages(index: Path = INDEX) -> list[Path]:
    """Return the pages that an index links to."""
    return [index.parent / name for name in _LINK.findall(index.read_text())]


def page_commands(page: Path) -> list[PageCommand]:
    """Return the commands in the ``console`` and ``cron`` blocks of a page, in order."""
    found: list[PageCommand] = []
    for kind, block in re.findall(r"^```(console|cron)\n(.*?)^```$", page.read_text(), re.M | re.S):
        for line in block.splitlines():
            if kind == "cron":
                command = re.sub(r"^(\S+ +){5}/srv/pomona/.venv/bin/", "", line)
                found.append(PageCommand(shlex.split(command.replace(" /srv/lake ", " ./lake "))))
            elif line.startswith("$ "):
                found.append(PageCommand(shlex.split(line[2:])))
            elif line == RUNS_ON:
                found[-1] = PageCommand(found[-1].arguments, runs_on=True)
            elif exit_code := _EXIT_CODE.fullmatch(line):
                found[-1] = PageCommand(found[-1].arguments, int(exit_code[1]))
            else:
                pytest.fail(f"{page.name}: {line!r} is neither a command nor an exit code")
    return found


def python_blocks(page: Path) -> list[str]:
    """Return the Python code of a page, one string per block."""
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.M | re.S)


@cache
def load_generator() -> ModuleType:
    """Return docs/generate.py as a module."""
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec
    assert spec.loader
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    return generator
