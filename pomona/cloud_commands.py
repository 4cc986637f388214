"""The commands below `pomona cloud`: from a description to what runs on AWS."""

from __future__ import annotations

from typing import Annotated

import typer

from pomona.arguments import Json
from pomona.cloud_running_commands import app as running_commands

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.add_typer(running_commands)

File = Annotated[str, typer.Option("--file", "-f", help="The description (cluster.toml).")]


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
    from pomona.screen import Screen

    tell_example(Screen())


@app.command()
def plan(file: File = "cluster.toml", as_json: Json = False) -> None:
    """Show every request that `up` would send to AWS, and send none of them.

    Example: pomona cloud plan -f cluster.toml
    """
    from pomona.cloud import tell_plan

    tell_plan(file, as_json=as_json)


@app.command()
def up(file: File = "cluster.toml", as_json: Json = False) -> None:
    """Make all that the description says and is not there yet; run again, it goes on.

    Example: pomona cloud up -f cluster.toml
    """
    from pomona.cloud import up_and_tell

    up_and_tell(file, as_json=as_json)
