"""`pomona cloud clone`: create a new cluster like an existing one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from pomona.options import Cluster, ConfigFile, DryRun, Json, Yes
from streaming.counts import format_count
from streaming.errors import UsageError

if TYPE_CHECKING:
    from pomona.cloud.estimate import WorkloadOptions


def clone(
    cluster: Cluster,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE of cluster.toml; may be repeated."),
    ] = None,
    with_steps: Annotated[
        bool, typer.Option("--with-steps", help="Also copy the steps that have not finished.")
    ] = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    file: ConfigFile = "cluster.toml",
    as_json: Json = False,
) -> None:
    """Create a cluster like CLUSTER with other settings.

    The differences between the two clusters are shown. Before it starts nodes, which are billed, the command asks
    for confirmation.

    Example: pomona cloud clone fruits --set instances.core=4 --set instances.type=m5.2xlarge
    """
    overrides = parse_settings(settings or ())
    run_clone(
        file, cluster, overrides, yes=yes, dry_run=dry_run, with_steps=with_steps, as_json=as_json
    )


def parse_settings(arguments: Sequence[str]) -> dict[str, str]:
    """Return the settings of ``KEY=VALUE`` arguments.

    Raises
    ------
    UsageError
        If a key or a value is missing.
    """
    settings = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not (key and equals and value):
            raise UsageError(f"--set {argument}: write KEY=VALUE, such as instances.core=4")
        settings[key.strip()] = value.strip()
    return settings


def run_clone(
    file: str,
    cluster: str,
    overrides: Mapping[str, str],
    *,
    command: str = "clone",
    yes: bool,
    dry_run: bool,
    with_steps: bool = False,
    workload: WorkloadOptions | None = None,
    as_json: bool,
) -> None:
    """Print the differences, then create a cluster like another one.

    Parameters
    ----------
    file : str
        The configuration, which names the account and the region of the cluster.
    cluster : str
        Name or ID.
    overrides : dict of str
        Keys of `cluster.toml` and their new values.
    command : str
        Name of the subcommand, for messages.
    yes : bool
        Do not ask for confirmation.
    dry_run : bool
        Send nothing.
    with_steps : bool
        Copy the steps that have not finished.
    workload : WorkloadOptions or None
        Workload to estimate before and after the change; None: print no estimate.
    """
    from pomona.cloud.confirm import confirm_start
    from pomona.cloud.estimate import compare_requests, comparison_lines
    from pomona.cloud.render_plan import readable
    from pomona.cloud.session import (
        connect_to_cluster,
        names_in_account,
        translate_cloud_errors,
    )
    from pomona.output.console import Console

    console = Console(as_json=as_json)
    with translate_cloud_errors():
        from bootstrap.deploy.clone import clone, limit_clone
        from bootstrap.deploy.plan import describe_start

        config, account = connect_to_cluster(file)
        cloned = clone(account.read, cluster, overrides, with_steps=with_steps)
        estimates = (
            compare_requests(workload, config, cloned.before, cloned.request) if workload else None
        )
        old_id = cloned.cluster["Id"]
        console.print(f"{old_id} ({cloned.cluster['Name']}) -> a new cluster:")
        for line in cloned.differences or ["no differences"]:
            console.print(f"    {line}")
        if workload and not as_json:
            for line in comparison_lines(estimates):
                console.print(line)
        new_id = None
        starts = [] if yes or dry_run else [describe_start(cloned.request)]
        if not confirm_start(console, command, starts, account.number):
            return console.print("nothing was sent")
        if not dry_run:
            new_id = str(account.send("emr", "run_job_flow", cloned.request)["JobFlowId"])
            if config.limits.hours:
                limit_clone(names_in_account(config, account), new_id, account)
    if as_json:
        result = {"cluster": old_id, "differences": cloned.differences, "created": new_id}
        result |= {"request": readable(cloned.request)}
        return console.print_json(result | ({"estimate": estimates} if workload else {}))
    if new_id:
        console.print(f"cluster: {new_id}")
        if config.limits.hours:
            console.print(f"it is terminated after {format_count(config.limits.hours, 'hour')}")
        console.print(
            f"{old_id} keeps running; `pomona cloud up` adds ingestion and the schedule to {new_id}"
        )
        if with_steps:
            console.print(
                "a lake has one writer: ingestion on the new cluster waits until the old one stops"
            )
    else:
        console.print("nothing was sent")
    return None
