"""Tests for tables and status lines on terminals of different widths, and with only one of the streams on one."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console as RichConsole

from pomona.output.tables import TableLayout, build_table, shorten_middle
from support.processes.background_process import Terminal
from support.processes.cli import environment

LAYOUT = TableLayout(shorten=("path",), wrap=("detail",), optional=("attempts", "detail"))
HEADINGS = {key: key for key in ("reason", "path", "detail", "attempts")}
DETAIL = "12 bytes of the image are missing, and its decoder cannot repair that"
PROGRAM = f"""
import logging, time
from pomona.output.console import Console, print_error
from pomona.output.redacting_stream import redact_output
with redact_output():
    console = Console()
    with console.status("reading"):
        time.sleep(0.2)
        logging.getLogger("streaming").warning("a warning")
        console.print_json({{"rows": 12}})
        console.print_table({{"path": "path", "detail": "detail"}}, [{{"path": "p" * 300, "detail": {DETAIL!r}}}])
        time.sleep(0.2)
        console.write("half")
        time.sleep(0.2)
    print_error("an error")
"""


@pytest.mark.parametrize("width", [20, 60, 80, 120, 200])
@pytest.mark.parametrize("folder", ["fruits", "果物の画像" * 30, "a b " * 60, "x" * 5000])
def test_table_fits_terminal_and_breaks_no_word(width: int, folder: str) -> None:
    row = {
        "reason": "truncated",
        "path": f"/data/{folder}/0_1.jpg",
        "detail": DETAIL,
        "attempts": "1",
    }
    table, left_out = build_table(HEADINGS, [row], LAYOUT, width)
    console = RichConsole(width=width, file=open(os.devnull, "w"), soft_wrap=True)  # noqa: SIM115
    with console.capture() as capture:
        console.print(table)
    lines = capture.get().splitlines()
    assert max(map(cell_len, lines)) <= width
    assert "1.jpg" in capture.get() or "1…" in capture.get() or width == 20
    if width >= 60:
        assert "detail" not in left_out
        assert {*DETAIL.split()} <= {*re.split(r"\s+", capture.get())}


def test_table_without_terminal_has_every_column_unchanged() -> None:
    row = {"reason": "r" * 3000, "path": "p" * 5000, "detail": DETAIL * 50, "attempts": "1"}
    table, left_out = build_table(HEADINGS, [row], LAYOUT, None)
    console = RichConsole(width=1_000_000, file=open(os.devnull, "w"), soft_wrap=True)  # noqa: SIM115
    with console.capture() as capture:
        console.print(table)
    assert not left_out
    assert all(cell in capture.get().splitlines()[1] for cell in row.values())


def test_shorten_middle_keeps_both_ends_and_counts_wide_characters() -> None:
    assert shorten_middle("/data/fruits/Kiwi/0_100.jpg", 16) == "/data…/0_100.jpg"
    assert shorten_middle("short", 5) == "short"
    for width in range(1, 30):
        assert cell_len(shorten_middle("果物/画像/0_100.jpg" * 3, width)) <= width


def run_on_terminal(
    width: int, *, out: Path | None = None, err: Path | None = None, **env: str
) -> str:
    """Run the program with those of its streams on a terminal that are not written to a file."""
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    running = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env=environment(**{"TERM": "xterm-256color", "NO_COLOR": None, "COLUMNS": None} | env),
        stdin=terminal,
        stdout=out.open("w") if out else terminal,
        stderr=err.open("w") if err else terminal,
        text=True,
    )
    os.close(terminal)
    screen = Terminal(controller)
    assert screen.wait_for_exit(running, 60) == 0
    return screen.output.decode()


@pytest.mark.slow
def test_status_line_shares_no_line_with_results_and_colors_are_shown() -> None:
    raw = run_on_terminal(60)
    assert "reading" in raw
    assert "\x1b[31mpomona: an error\x1b[0m" in raw
    assert "\x1b[33mpomona: a warning\x1b[0m" in raw
    assert raw.rindex("\x1b[?25h") > raw.rindex("\x1b[?25l")  # the cursor is shown again
    for line in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", raw).splitlines():
        assert cell_len(line) <= 60
        assert not ("reading" in line and re.search("rows|path|warning|error|half", line))


@pytest.mark.slow
def test_results_in_a_file_are_complete_while_progress_is_on_the_terminal(tmp_path: Path) -> None:
    screen = run_on_terminal(60, out=tmp_path / "out")
    text = (tmp_path / "out").read_text()
    assert text.startswith('{\n  "rows": 12\n}\n')
    assert "p" * 300 in text
    assert text.endswith("half")
    assert "\x1b" not in text
    assert "reading" in screen
    assert "ppp" not in screen


@pytest.mark.slow
def test_errors_in_a_file_have_no_colors(tmp_path: Path) -> None:
    screen = run_on_terminal(60, err=tmp_path / "err", FORCE_COLOR="1")
    assert (tmp_path / "err").read_text() == "pomona: a warning\npomona: an error\n"
    assert "reading" not in screen


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_color_and_dumb_terminals_show_no_colors(changes: dict[str, str]) -> None:
    raw = run_on_terminal(60, **changes)
    assert "an error" in raw
    assert not re.search(r"\x1b\[[0-9;]*m", raw)
    if "TERM" in changes:
        assert "\x1b" not in raw
