"""Promises of docs/run-on-aws.md: each command on it is run, in its order, in an account of moto's."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from cloud_account import CloudAccount
from command_line import Command
from pages import DOCS, lines

pytest_plugins = ["cloud_fixtures"]
pytestmark = pytest.mark.slow


def test_each_command_of_the_page_ends_as_it_says(
    pomona: Command, account: CloudAccount, place: Path
) -> None:
    for line in lines(DOCS / "run-on-aws.md"):
        done = pomona(*line.words[1:])
        assert done.status == line.status, f"{shlex.join(line.words)}\n{done.out}{done.err}"
        assert "Traceback" not in done.err
        assert done.out
