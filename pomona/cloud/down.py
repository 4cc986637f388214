"""`pomona cloud down`: terminate what costs by the hour."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from pomona.options import ConfigFile, Json
from streaming.errors import UsageError


def down(
    file: ConfigFile = "cluster.toml",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """End what costs by the hour: schedule, cluster, application. The data bucket stays.

    Example: pomona cloud down -f cluster.toml
    """

    down_and_tell(file, yes=yes, as_json=as_json)


def down_and_tell(file: str, *, yes: bool, as_json: bool) -> None:
    """End what costs by the hour, after asking, and name what stays."""
    from pomona.cloud.session import open_names, translate_cloud_errors
    from pomona.output.console import Console

    if not yes and (as_json or not sys.stdin.isatty()):
        raise UsageError("down asks before it ends anything, and nobody answers here: --yes")
    with translate_cloud_errors():
        from bootstrap.deploy.teardown import find_teardown_actions, retained_resources, tear_down

        screen = Console(as_json=as_json)
        with screen.working("asking"):
            names, account = open_names(file)
            found = find_teardown_actions(names, account.read)
        left = retained_resources(names)
        if found and not yes:
            for one in found:
                screen.line(f"to end: {one.what}")
            for line in left:
                screen.line(f"stays: {line}")
            if not typer.confirm(f"End these in account {account.number}?", default=False):
                return screen.line("nothing was ended")
        done = []
        for one in tear_down(found, account):
            done.append(one.what)
            screen.line(f"ended: {one.what}")
    if as_json:
        return screen.show({"ended": done, "stays": left})
    if not found:
        screen.line("nothing runs")
    if yes or not found:
        for line in left:
            screen.line(f"stays: {line}")
