"""`pomona cloud status`: state of the cluster or application, its steps or jobs, and the schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pomona.options import ConfigFile, Json
from streaming.counts import format_count

if TYPE_CHECKING:
    from pomona.output.console import Console


def status(file: ConfigFile = "cluster.toml", as_json: Json = False) -> None:
    """Show the state of cluster, steps and schedule.

    With EMR Serverless, it shows the application and its jobs.

    Example: pomona cloud status -f cluster.toml
    """
    from pomona.cloud.session import connect, translate_cloud_errors
    from pomona.output.console import Console

    console = Console(as_json=as_json)
    with translate_cloud_errors():
        from bootstrap.monitor.status import get_status

        with console.status("querying AWS"):
            names, account = connect(file)
            state = get_status(names, account.read)
    if as_json:
        return console.print_json(state)
    if state["mode"] == "serverless":
        _render_application(console, state["application"])
    else:
        _render_cluster(console, state["cluster"])
    schedule = state["schedule"]
    text = f"{schedule['expression']}, {schedule['state']}" if schedule else "none"
    if schedule and schedule["failed_starts"]:
        failed = format_count(schedule["failed_starts"], "failed start")
        text += f"; {failed}: the queue {schedule['queue']} has AWS's reasons"
    console.print_field("schedule    ", text)


def _render_cluster(console: Console, cluster: dict[str, Any] | None) -> None:
    if cluster is None:
        return console.print_field("cluster     ", "none: `pomona cloud up` creates one")
    console.print_field("cluster     ", f"{cluster['id']} {cluster['state']}{_reason(cluster)}")
    console.print_field("release     ", f"{cluster['release']}, since {cluster['created_at']}")
    console.print_field("primary     ", f"{cluster['primary'] or 'no address yet'}")
    for group in cluster["nodes"]:
        console.print(
            f"{group['role']:<12} {group['running']} of {group['requested']} {group['type']}, {group['market']}"
        )
    if cluster["other_clusters"]:
        console.print_field(
            "also live   ", f"{', '.join(cluster['other_clusters'])}, with the same name"
        )
    if not cluster["steps"]:
        console.print_field("steps       ", "none")
    for step in cluster["steps"]:
        console.print_field(
            "step        ", f"{step['id']} {step['name']} {step['state']}{_reason(step)}"
        )


def _render_application(console: Console, application: dict[str, Any] | None) -> None:
    if application is None:
        return console.print_field("application ", "none: `pomona cloud up` creates one")
    console.print_field(
        "application ", f"{application['id']} {application['state']}{_reason(application)}"
    )
    console.print_field(
        "release     ", f"{application['release']}, since {application['created_at']}"
    )
    if not application["jobs"]:
        console.print_field("jobs        ", "none")
    for job in application["jobs"]:
        console.print_field(
            "job         ", f"{job['id']} {job['name']} {job['state']}{_reason(job)}"
        )


def _reason(resource: dict[str, Any]) -> str:
    return f": {resource['reason']}" if resource["reason"] else ""
