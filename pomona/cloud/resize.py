"""`pomona cloud resize`: change the number or size of a cluster's nodes."""

from __future__ import annotations

from typing import Annotated

import typer

from pomona.options import Cluster, ConfigFile, DryRun, Json, Yes
from streaming.errors import UsageError


def resize(
    cluster: Cluster,
    core: Annotated[int | None, typer.Option(help="Core nodes (On-Demand).")] = None,
    task: Annotated[int | None, typer.Option(help="Task nodes (Spot).")] = None,
    nodes: Annotated[int | None, typer.Option(help="Maximum of core and task nodes.")] = None,
    instance_type: Annotated[
        str | None, typer.Option(help="Another instance type; this clones the cluster.")
    ] = None,
    images: Annotated[
        str | None, typer.Option(help="For an estimate: existing images, such as 10e6.")
    ] = None,
    a_day: Annotated[str | None, typer.Option(help="For an estimate: new images per day.")] = None,
    prices: Annotated[
        str | None, typer.Option(help="Price table, for an estimate of the cost.")
    ] = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    file: ConfigFile = "cluster.toml",
    as_json: Json = False,
) -> None:
    """Change the number or type of the nodes of CLUSTER.

    The number is changed in place, the type by cloning the cluster. With a workload, estimates before and after the
    change are shown. Before it starts nodes, which are billed, the command asks for confirmation.

    Example: pomona cloud resize fruits --core 4 --images 10e6 --a-day 1e6
    """
    from pomona.cloud.clone import run_clone
    from pomona.cloud.confirm import confirm_start
    from pomona.cloud.estimate import WorkloadOptions, compare_requests, comparison_lines
    from pomona.cloud.render_plan import request_lines
    from pomona.cloud.session import connect_to_cluster, translate_cloud_errors
    from pomona.output.console import Console

    workload = WorkloadOptions(images, a_day, prices)
    counts = {"instances.core": core, "instances.task": task, "limits.nodes": nodes}
    overrides = {key: str(count) for key, count in counts.items() if count is not None}
    if instance_type is not None:
        overrides |= {"instances.type": instance_type}
        return run_clone(
            file,
            cluster,
            overrides,
            command="resize",
            yes=yes,
            dry_run=dry_run,
            workload=workload,
            as_json=as_json,
        )
    if not overrides:
        raise UsageError("give --core, --task, --nodes or --instance-type")
    console = Console(as_json=as_json)
    with translate_cloud_errors():
        from bootstrap.aws.nodes import added_nodes, describe_nodes
        from bootstrap.deploy.clone import resize

        config, account = connect_to_cluster(file)
        change = resize(account.read, cluster, overrides)
        estimates = compare_requests(workload, config, change.before, change.after)
        for operation, parameters in change.operations:
            for line in request_lines("emr", operation, parameters):
                console.print(line)
        if not change.operations:
            console.print(f"{cluster}: already has this size")
        if not as_json and (change.operations or estimates):
            for line in comparison_lines(estimates):
                console.print(line)
        added = [] if yes or dry_run else added_nodes(change.before, change.after)
        starts = [f"in cluster {cluster}: {describe_nodes(added)}"] if added else []
        if not confirm_start(console, "resize", starts, account.number):
            return console.print("nothing was sent")
        for operation, parameters in change.operations if not dry_run else ():
            account.send("emr", operation, parameters)
    if as_json:
        requests = [
            {"operation": operation, "parameters": parameters}
            for operation, parameters in change.operations
        ]
        result = {"cluster": cluster, "sent": not dry_run, "requests": requests}
        return console.print_json(result | {"estimate": estimates})
    if dry_run and change.operations:
        console.print("nothing was sent")
    return None
