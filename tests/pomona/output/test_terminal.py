"""Tests for the command on a terminal: signals leave it usable, and a resized one shows no fragments."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.processes.background_process import (
    Terminal,
    kill_process_group,
    start_on_terminal,
    wait_for,
)
from support.processes.cli import PROGRAM, environment, needs_program
from support.processes.command_process_tree import session
from support.processes.terminal_screen import Screen

pytestmark = [pytest.mark.slow, needs_program]

WAIT = 60.0
CTRL_C, CTRL_Z, CTRL_BACKSLASH = b"\x03", b"\x1a", b"\x1c"


@contextmanager
def waiting_command(line: str = "") -> Iterator[tuple[subprocess.Popen[str], Terminal]]:
    """Start a command that shows its status line while it waits for S3, which does not answer; or a line of bash."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        env = environment(
            AWS_ENDPOINT_URL=f"http://127.0.0.1:{server.getsockname()[1]}",
            AWS_ACCESS_KEY_ID="key",
            AWS_SECRET_ACCESS_KEY="secret",
            AWS_REGION="eu-central-1",
        )
        if line:
            running, terminal = start_on_terminal(["-c", line], env, Path("/bin/bash"))
        else:
            running, terminal = start_on_terminal(["report", "s3://fruits/lake"], env)
        try:
            wait_for(lambda: "reading the lake" in screen(terminal).text, WAIT, running)
            yield running, terminal
        finally:
            kill_process_group(running)


def interrupt_program(program: str, until: str) -> Screen:
    """Run a Python program on a terminal, and interrupt it once it has printed a text; return what is shown then."""
    running, terminal = start_on_terminal(["-c", program], environment(), Path(sys.executable))
    try:
        wait_for(lambda: until.encode() in terminal.read(), WAIT, running)
        terminal.send_keys(CTRL_C)
        assert terminal.wait_for_exit(running, WAIT) == 130
    finally:
        kill_process_group(running)
    return Screen(80).write(terminal.output)


def screen(terminal: Terminal, columns: int = 80) -> Screen:
    return Screen(columns).write(terminal.read())


@pytest.mark.parametrize(
    ("stop", "status"),
    [
        (CTRL_C, 130),
        (CTRL_BACKSLASH, 131),
        (signal.SIGTERM, 143),
        (signal.SIGHUP, 129),
    ],
)
def test_signal_leaves_an_empty_line_with_a_cursor_and_no_process(
    stop: bytes | signal.Signals, status: int
) -> None:
    with waiting_command() as (running, terminal):
        if isinstance(stop, bytes):
            terminal.send_keys(stop)
        else:
            os.killpg(running.pid, stop)
        assert terminal.wait_for_exit(running, WAIT) == status
        shown = Screen(80).write(terminal.output)
        assert (shown.text, shown.column, shown.cursor_shown) == ("", 0, True)
        assert session(running.pid) == []


def test_suspended_command_leaves_a_usable_terminal_and_continues() -> None:
    """The shell prints its own lines; without one, no process of the session could continue the group."""
    with waiting_command(f"set -m; {PROGRAM} report s3://fruits/lake; echo; fg") as (
        running,
        terminal,
    ):
        terminal.send_keys(CTRL_Z)
        wait_for(lambda: "Stopped" in screen(terminal).text, WAIT, running)
        before = screen(terminal).text.partition("[1]+  Stopped")[0]
        assert before.strip() == ""
        wait_for(
            lambda: " reading the lake" in screen(terminal).text.partition("Stopped")[2],
            WAIT,
            running,
        )
        terminal.send_keys(CTRL_C)
        assert terminal.wait_for_exit(running, WAIT) == 130


def test_status_line_is_not_refreshed_after_a_signal_has_erased_it() -> None:
    """Another thread refreshes the line all the time; without a lock it does so before the process ends."""
    program = (
        "import sys, threading\n"
        "from pomona.output.redacting_stream import redact_output\n"
        "from streaming.signals import exit_on_signals\n"
        "def refresh():\n"
        "    while True:\n"
        "        sys.stderr.write('\\rrunning')\n"
        "        sys.stderr.flush()\n"
        "with redact_output():\n"
        "    exit_on_signals()\n"
        "    threading.Thread(target=refresh, daemon=True).start()\n"
        "    threading.Event().wait()\n"
    )
    shown = interrupt_program(program, "running")
    assert (shown.text, shown.column, shown.cursor_shown) == ("", 0, True)


def test_interrupted_prompt_ends_its_line() -> None:
    program = (
        "import sys, typer; from pomona import cli; sys.argv = ['pomona']\n"
        "cli.app = lambda **_: typer.confirm('Start?', default=False)\n"
        "cli.main()"
    )
    shown = interrupt_program(program, "[y/N]")
    assert (shown.text, shown.column) == ("Start? [y/N]: ^C\nAborted!", 0)
