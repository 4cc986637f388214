"""The commands below `pomona cloud` about what runs: a tunnel to it, its state, its logs, its end, and its cost."""

from __future__ import annotations

from typing import Annotated

import typer

from pomona.arguments import DescriptionFile, Json

app = typer.Typer()


@app.command()
def estimate(
    images: Annotated[str, typer.Option(help="Images that are there, such as 10e6.")],
    a_day: Annotated[str, typer.Option(help="Images that arrive a day.")] = "0",
    file: Annotated[
        str | None,
        typer.Option("--file", "-f", help="The description (cluster.toml, where there is one)."),
    ] = None,
    prices: Annotated[
        str | None, typer.Option(help="A table of prices; without it no money is told.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(help="Images a second of one core (as BENCHMARKS.md has it).")
    ] = None,
    cores: Annotated[
        int | None, typer.Option(help="Cores of a node (by the name of its type).")
    ] = None,
    components: Annotated[int, typer.Option(help="Columns that a refit publishes.")] = 50,
    image_kb: Annotated[float | None, typer.Option(help="Mean size of an image, in kB.")] = None,
    as_json: Json = False,
) -> None:
    """Compute nodes, hours, storage and cost of a load, each step of the arithmetic shown.

    Example: pomona cloud estimate --images 10e6 --a-day 1e6
    """
    from pomona.cloud_estimate import tell_estimate

    sizes = (rate, cores, components, image_kb)
    tell_estimate((images, a_day), sizes, (file, prices), as_json=as_json)


@app.command()
def prices() -> None:
    """Print an empty table of prices for `estimate`, to be filled in.

    Example: pomona cloud prices > prices.toml
    """
    from pomona.cloud import tell_example
    from pomona.output.console import Screen

    tell_example("prices.example.toml", Screen())


@app.command()
def status(file: DescriptionFile = "cluster.toml", as_json: Json = False) -> None:
    """Tell how cluster, steps, jobs and schedule stand.

    Example: pomona cloud status -f cluster.toml
    """
    from pomona.cloud_running import tell_state

    tell_state(file, as_json=as_json)


@app.command()
def down(
    file: DescriptionFile = "cluster.toml",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """End what costs by the hour: schedule, cluster, application. The data bucket stays.

    Example: pomona cloud down -f cluster.toml
    """
    from pomona.cloud_running import down_and_tell

    down_and_tell(file, yes=yes, as_json=as_json)


@app.command()
def tunnel(
    cluster: Annotated[
        str | None,
        typer.Argument(metavar="CLUSTER", help="Name or id (the description's)."),
    ] = None,
    file: DescriptionFile = "cluster.toml",
    via: Annotated[str, typer.Option(help="ssh or session-manager.")] = "ssh",
    key: Annotated[
        str | None, typer.Option(help="Private key (~/.ssh/, by the name of the key pair).")
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(help="Address in place of the node's public name: host or host:port."),
    ] = None,
    port: Annotated[int, typer.Option(help="Port of this machine for Jupyter.")] = 9443,
    spark_port: Annotated[int, typer.Option(help="Port of this machine for Spark's UI.")] = 18080,
    gateway_port: Annotated[
        int | None, typer.Option(help="The node's port of Jupyter Enterprise Gateway (18888).")
    ] = None,
    print_only: Annotated[
        bool, typer.Option("--print", help="Print the command, and open nothing.")
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="Open, check, and close again.")] = False,
    as_json: Json = False,
) -> None:
    """Open a tunnel to JupyterHub (or its gateway) and to the Spark UI of a cluster, until Ctrl-C.

    Example: pomona cloud tunnel --key ~/.ssh/my-key.pem
    """
    from pomona.cloud_tunnel import TunnelOptions, open_and_tell

    options = TunnelOptions(
        cluster, via, key, to, port, spark_port, gateway_port, print_only, check
    )
    open_and_tell(file, options, as_json=as_json)


@app.command()
def logs(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="ingest, refit, or the id of a step or job.")
    ] = "ingest",
    file: DescriptionFile = "cluster.toml",
    cluster: Annotated[
        str | None, typer.Option(help="Of this cluster or application, in place of the newest.")
    ] = None,
    part: Annotated[str, typer.Option(help="step, driver or all.")] = "all",
    lines: Annotated[int, typer.Option(help="Last lines of each file; 0: all.")] = 100,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on until it is over, or Ctrl-C.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Print what a step or job and its driver have logged.

    Example: pomona cloud logs ingest --follow
    """
    from pomona.cloud_logs import tell_logs

    tell_logs(file, (name, cluster), part, lines, follow=follow, as_json=as_json)
