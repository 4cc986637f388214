"""`pomona cloud down`: terminate everything that is billed by the hour, and delete the stacks if requested."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from pomona.options import ConfigFile, Json
from streaming.errors import UsageError


def down(
    file: ConfigFile = "cluster.toml",
    everything: Annotated[
        bool, typer.Option("--all", help="Also delete the stacks; buckets are retained.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    as_json: Json = False,
) -> None:
    """Terminate clusters and jobs, and remove the schedule.

    An application of EMR Serverless is stopped. With --all, the stacks are deleted too. The buckets are retained.

    Example: pomona cloud down -f cluster.toml
    """
    from pomona.cloud.session import connect, translate_cloud_errors
    from pomona.output.console import Console

    if not yes and (as_json or not sys.stdin.isatty()):
        raise UsageError("down asks for confirmation, which needs a terminal: pass --yes")
    console = Console(as_json=as_json)
    with translate_cloud_errors():
        from bootstrap.deploy.teardown import (
            delete_stacks,
            existing_stacks,
            find_teardown_actions,
            retained_resources,
            tear_down,
        )

        with console.status("querying AWS"):
            names, account = connect(file)
            actions = find_teardown_actions(names, account.read)
            stacks = existing_stacks(names, account.read) if everything else []
            retained = retained_resources(names, account.read, deleted=stacks)
        targets = [*(one.description for one in actions), *(f"stack {name}" for name in stacks)]
        if targets and not yes:
            for target in targets:
                console.print(f"to terminate: {target}")
            for line in retained:
                console.print(f"retained: {line}")
            if not typer.confirm(f"Terminate these in account {account.number}?", default=False):
                return console.print("nothing was terminated")
        terminated = []
        with console.status("terminating"):
            for action in tear_down(actions, account, console.report_stage):
                terminated.append(action.description)
                console.print(f"terminated: {action.description}")
            if stacks:
                for name in delete_stacks(names, account, console.report_stage):
                    terminated.append(f"stack {name}")
                    console.print(f"deleted: stack {name}")
    if as_json:
        return console.print_json({"terminated": terminated, "retained": retained})
    if not targets:
        console.print("nothing is running")
    if yes or not targets:
        for line in retained:
            console.print(f"retained: {line}")
