"""The commands below `pomona cloud`: from a description to what runs on AWS."""

from __future__ import annotations

from typing import Annotated

import typer

from pomona.arguments import DescriptionFile, Json
from pomona.cloud_running_commands import app as running_commands
from streaming.errors import UsageError

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.add_typer(running_commands)


@app.callback()
def _about() -> None:
    """Run Pomona on AWS: one file describes buckets, roles, cluster and schedule.

    Example: pomona cloud plan -f cluster.toml
    """


@app.command()
def example() -> None:
    """Print a description with comments, to begin with.

    Example: pomona cloud example > cluster.toml
    """
    from pomona.cloud import tell_example
    from pomona.output.console import Screen

    tell_example("cluster.example.toml", Screen())


@app.command()
def plan(file: DescriptionFile = "cluster.toml", as_json: Json = False) -> None:
    """Show every request that `up` would send to AWS, and send none of them.

    Example: pomona cloud plan -f cluster.toml
    """
    from pomona.cloud import tell_plan

    tell_plan(file, as_json=as_json)


@app.command()
def up(file: DescriptionFile = "cluster.toml", as_json: Json = False) -> None:
    """Make all that the description says and is not there yet; run again, it goes on.

    Example: pomona cloud up -f cluster.toml
    """
    from pomona.cloud import up_and_tell

    up_and_tell(file, as_json=as_json)


Cluster = Annotated[str, typer.Argument(metavar="CLUSTER", help="Name or id of a live cluster.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show it, and send nothing.")]


@app.command()
def clone(
    cluster: Cluster,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE of cluster.toml; repeat it.")
    ] = None,
    with_steps: Annotated[
        bool, typer.Option("--with-steps", help="Begin with its steps that are not over.")
    ] = False,
    dry_run: DryRun = False,
    file: DescriptionFile = "cluster.toml",
    as_json: Json = False,
) -> None:
    """Make a new cluster like CLUSTER, with changes, and show the difference.

    Example: pomona cloud clone fruits --set instances.core=4 --set instances.type=m5.2xlarge
    """
    from pomona.cloud_changing import clone_and_tell, parse_settings

    changes = parse_settings(settings or ())
    clone_and_tell(file, cluster, changes, (dry_run, with_steps), as_json=as_json)


@app.command()
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
    file: DescriptionFile = "cluster.toml",
    as_json: Json = False,
) -> None:
    """Give CLUSTER more or fewer nodes where it stands, or larger ones by a clone; estimate a load before and after.

    Example: pomona cloud resize fruits --core 4 --images 10e6 --a-day 1e6
    """
    from pomona.cloud_changing import clone_and_tell, resize_and_tell
    from pomona.cloud_estimate import LoadWords

    load = LoadWords(images, a_day, prices)
    counts = {"instances.core": core, "instances.task": task, "limits.nodes": nodes}
    changes = {key: str(count) for key, count in counts.items() if count is not None}
    if instance_type is not None:
        changes |= {"instances.type": instance_type}
        clone_and_tell(file, cluster, changes, (dry_run, False), load=load, as_json=as_json)
    elif changes:
        resize_and_tell(file, cluster, changes, load, dry=dry_run, as_json=as_json)
    else:
        raise UsageError("give --core, --task, --nodes or --instance-type")
