"""Tests for the documentation site: the generated pages are current, and MkDocs builds without warnings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from support.pages.docs_pages import DOCS, load_generator

REFERENCE = DOCS / "reference"


@pytest.mark.parametrize("name", load_generator().PAGES)
def test_generated_page_is_current(name: str) -> None:
    assert load_generator().PAGES[name]() == (REFERENCE / name).read_text(), (
        "run `python docs/generate.py`"
    )


def test_command_line_reference_shows_which_options_take_a_value() -> None:
    page = (REFERENCE / "cli.md").read_text()
    assert "| `--once` |" in page
    assert "| `--trigger SECONDS` |" in page
    assert "| `--variance <float>` |" in page


def test_command_line_reference_has_subcommands_and_no_hidden_options() -> None:
    page = (REFERENCE / "cli.md").read_text()
    assert "## pomona cloud resize" in page
    assert "--patience" not in page


@pytest.mark.slow
def test_site_builds_without_warnings(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=DOCS.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for page in ("cli", "python-api", "tables", "iam-permissions", "cluster-toml"):
        assert (tmp_path / "reference" / page / "index.html").is_file()
