"""`pomona cloud status`: state of the cluster or application, its steps or jobs, and the schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pomona.options import ConfigFile, Json

if TYPE_CHECKING:
    from pomona.output.console import Console


def status(file: ConfigFile = "cluster.toml", as_json: Json = False) -> None:
    """Tell how cluster, steps, jobs and schedule stand.

    Example: pomona cloud status -f cluster.toml
    """

    tell_state(file, as_json=as_json)


def tell_state(file: str, *, as_json: bool) -> None:
    """Tell how cluster, steps, jobs and schedule stand."""
    from pomona.cloud.session import open_names, translate_cloud_errors
    from pomona.output.console import Console

    with translate_cloud_errors():
        from bootstrap.monitor.status import get_status

        screen = Console(as_json=as_json)
        with screen.working("asking"):
            names, account = open_names(file)
            answer = get_status(names, account.read)
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


def _cluster(screen: Console, cluster: dict[str, Any] | None) -> None:
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


def _application(screen: Console, application: dict[str, Any] | None) -> None:
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
