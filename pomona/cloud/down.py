"""`pomona cloud down`: terminate everything that is billed by the hour."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from pomona.options import ConfigFile, Json
from streaming.errors import UsageError


def down(
    file: ConfigFile = "cluster.toml",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    as_json: Json = False,
) -> None:
    """Terminate schedule, cluster and application.

    Everything billed by the hour is terminated or deleted. The buckets are retained.

    Example: pomona cloud down -f cluster.toml
    """
    from pomona.cloud.session import connect, translate_cloud_errors
    from pomona.output.console import Console

    if not yes and (as_json or not sys.stdin.isatty()):
        raise UsageError("down asks for confirmation, which needs a terminal: pass --yes")
    console = Console(as_json=as_json)
    with translate_cloud_errors():
        from bootstrap.deploy.teardown import (
            find_teardown_actions,
            retained_resources,
            tear_down,
        )

        with console.status("querying AWS"):
            names, account = connect(file)
            actions = find_teardown_actions(names, account.read)
            retained = retained_resources(names, account.read)
        if actions and not yes:
            for action in actions:
                console.print(f"to terminate: {action.description}")
            for line in retained:
                console.print(f"retained: {line}")
            if not typer.confirm(f"Terminate these in account {account.number}?", default=False):
                return console.print("nothing was terminated")
        terminated = []
        for action in tear_down(actions, account):
            terminated.append(action.description)
            console.print(f"terminated: {action.description}")
    if as_json:
        return console.print_json({"terminated": terminated, "retained": retained})
    if not actions:
        console.print("nothing is running")
    if yes or not actions:
        for line in retained:
            console.print(f"retained: {line}")
