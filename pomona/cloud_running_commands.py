"""The commands below `pomona cloud` about what runs: a tunnel to it, its state, its logs, its end, and its cost."""

from __future__ import annotations

from typing import Annotated

import typer

from pomona.arguments import Json

app = typer.Typer()

File = Annotated[str, typer.Option("--file", "-f", help="The description (cluster.toml).")]


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
        float | None, typer.Option(help="Images a second of one core (as measured: 63.9).")
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
    from pomona.cloud_estimate import tell_prices
    from pomona.screen import Screen

    tell_prices(Screen())


@app.command()
def status(file: File = "cluster.toml", as_json: Json = False) -> None:
    """Tell how cluster, steps, jobs and schedule stand.

    Example: pomona cloud status -f cluster.toml
    """
    from pomona.cloud_running import tell_state

    tell_state(file, as_json=as_json)


@app.command()
def down(
    file: File = "cluster.toml",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """End what costs by the hour: schedule, cluster, application. The data bucket stays.

    Example: pomona cloud down -f cluster.toml
    """
    from pomona.cloud_running import down_and_tell

    down_and_tell(file, yes=yes, as_json=as_json)
