"""`pomona cloud resize`: change the number or size of a cluster's nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from pomona.options import Cluster, ConfigFile, DryRun, Json
from streaming.errors import UsageError

if TYPE_CHECKING:
    from pomona.cloud.estimate import WorkloadOptions


def resize(
    cluster: Cluster,
    core: Annotated[int | None, typer.Option(help="Core nodes, on demand.")] = None,
    task: Annotated[int | None, typer.Option(help="Task nodes, of Spot.")] = None,
    nodes: Annotated[int | None, typer.Option(help="Core and task nodes at most.")] = None,
    instance_type: Annotated[
        str | None, typer.Option(help="Another type of node, by a clone.")
    ] = None,
    images: Annotated[
        str | None, typer.Option(help="For an estimate: images that are there, such as 10e6.")
    ] = None,
    a_day: Annotated[
        str | None, typer.Option(help="For an estimate: images that arrive a day.")
    ] = None,
    prices: Annotated[
        str | None, typer.Option(help="A table of prices, for an estimate with money.")
    ] = None,
    dry_run: DryRun = False,
    file: ConfigFile = "cluster.toml",
    as_json: Json = False,
) -> None:
    """Give CLUSTER more or fewer nodes where it stands, or larger ones by a clone; estimate a load before and after.

    Example: pomona cloud resize fruits --core 4 --images 10e6 --a-day 1e6
    """
    from pomona.cloud.clone import clone_and_tell
    from pomona.cloud.estimate import WorkloadOptions

    load = WorkloadOptions(images, a_day, prices)
    counts = {"instances.core": core, "instances.task": task, "limits.nodes": nodes}
    changes = {key: str(count) for key, count in counts.items() if count is not None}
    if instance_type is not None:
        changes |= {"instances.type": instance_type}
        clone_and_tell(file, cluster, changes, (dry_run, False), load=load, as_json=as_json)
    elif changes:
        resize_and_tell(file, cluster, changes, load, dry=dry_run, as_json=as_json)
    else:
        raise UsageError("give --core, --task, --nodes or --instance-type")


def resize_and_tell(
    file: str,
    cluster: str,
    settings: Mapping[str, str],
    load: WorkloadOptions,
    *,
    dry: bool,
    as_json: bool,
) -> None:
    """Give a cluster other numbers of nodes where it stands; tell what a load takes before and after."""
    from pomona.cloud.estimate import compare_requests, compared_lines
    from pomona.cloud.render_plan import request_lines
    from pomona.cloud.session import open_cluster_config, translate_cloud_errors
    from pomona.output.console import Console

    with translate_cloud_errors():
        from bootstrap.deploy.clone import resize

        screen, (config, account) = Console(as_json=as_json), open_cluster_config(file)
        made = resize(account.read, cluster, settings)
        found = compare_requests(load, config, made.before, made.after)
        for operation, parameters in made.operations:
            for line in request_lines("emr", operation, parameters):
                screen.line(line)
        if not made.operations:
            screen.line(f"{cluster}: is of that size already")
        if not as_json and (made.operations or found):
            for line in compared_lines(found):
                screen.line(line)
        for operation, parameters in made.operations if not dry else ():
            account.send("emr", operation, parameters)
    if as_json:
        requests = [{"operation": name, "parameters": words} for name, words in made.operations]
        screen.show({"cluster": cluster, "sent": not dry, "requests": requests, "estimate": found})
    elif dry and made.operations:
        screen.line("nothing was sent")
