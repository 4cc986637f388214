"""Ask for confirmation before nodes or jobs are started, which are billed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from streaming.errors import UsageError

if TYPE_CHECKING:
    from pomona.output.console import Console


def confirm_start(console: Console, command: str, starts: Sequence[str], account: str) -> bool:
    """Ask whether to start the billed nodes or jobs.

    Parameters
    ----------
    console : Console
    command : str
        Name of the subcommand, for the message.
    starts : sequence of str
        Descriptions of what would be started; True without a question if there are none.
    account : str

    Raises
    ------
    UsageError
        Without a terminal, and with ``--json``.
    """
    if not starts:
        return True
    if console.as_json or not sys.stdin.isatty():
        raise UsageError(
            f"{command} would start {'; '.join(starts)}, which is billed: pass --yes to start without confirmation"
        )
    for start in starts:
        console.print(f"to start: {start}")
    return typer.confirm(f"Start these billed resources in account {account}?", default=False)
