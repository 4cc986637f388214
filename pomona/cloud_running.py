"""`pomona cloud status` and `down`: what runs, told and ended."""

from __future__ import annotations

import sys
from typing import Any

import typer

from pomona.cloud import open_names, told
from pomona.output.console import Screen
from streaming.errors import UsageError


def tell_state(file: str, *, as_json: bool) -> None:
    """Tell how cluster, steps, jobs and schedule stand."""
    with told():
        from bootstrap.monitor.status import state

        screen = Screen(as_json=as_json)
        with screen.working("asking"):
            names, account = open_names(file)
            answer = state(names, account.ask)
    if as_json:
        return screen.show(answer)
    if answer["mode"] == "serverless":
        _application(screen, answer["application"])
    else:
        _cluster(screen, answer["cluster"])
    schedule = answer["schedule"]
    screen.line(
        f"schedule     {schedule['expression']}, {schedule['state']}"
        if schedule
        else "schedule     none"
    )


def _cluster(screen: Screen, cluster: dict[str, Any] | None) -> None:
    if cluster is None:
        return screen.line("cluster      none: `pomona cloud up` makes one")
    screen.line(f"cluster      {cluster['id']} {cluster['state']}{_because(cluster)}")
    screen.line(f"release      {cluster['release']}, since {cluster['created']}")
    screen.line(f"primary      {cluster['primary'] or 'no address yet'}")
    for one in cluster["nodes"]:
        screen.line(
            f"{one['role']:<12} {one['running']} of {one['wanted']} {one['type']}, {one['market']}"
        )
    if cluster["others"]:
        screen.line(f"also live    {', '.join(cluster['others'])}, of the same name")
    if not cluster["steps"]:
        screen.line("steps        none")
    for one in cluster["steps"]:
        screen.line(f"step         {one['id']} {one['name']} {one['state']}{_because(one)}")


def _application(screen: Screen, application: dict[str, Any] | None) -> None:
    if application is None:
        return screen.line("application  none: `pomona cloud up` makes one")
    screen.line(f"application  {application['id']} {application['state']}{_because(application)}")
    screen.line(f"release      {application['release']}, since {application['created']}")
    if not application["jobs"]:
        screen.line("jobs         none")
    for one in application["jobs"]:
        screen.line(f"job          {one['id']} {one['name']} {one['state']}{_because(one)}")


def _because(one: dict[str, Any]) -> str:
    return f": {one['why']}" if one["why"] else ""


def down_and_tell(file: str, *, yes: bool, as_json: bool) -> None:
    """End what costs by the hour, after asking, and name what stays."""
    if not yes and (as_json or not sys.stdin.isatty()):
        raise UsageError("down asks before it ends anything, and nobody answers here: --yes")
    with told():
        from bootstrap.deploy.teardown import end, endings, staying

        screen = Screen(as_json=as_json)
        with screen.working("asking"):
            names, account = open_names(file)
            found = endings(names, account.ask)
        left = staying(names)
        if found and not yes:
            for one in found:
                screen.line(f"to end: {one.what}")
            for line in left:
                screen.line(f"stays: {line}")
            if not typer.confirm(f"End these in account {account.number}?", default=False):
                return screen.line("nothing was ended")
        done = []
        for one in end(found, account):
            done.append(one.what)
            screen.line(f"ended: {one.what}")
    if as_json:
        return screen.show({"ended": done, "stays": left})
    if not found:
        screen.line("nothing runs")
    if yes or not found:
        for line in left:
            screen.line(f"stays: {line}")
