"""The commands that ask a lake: how it stands, what it was, what has changed, what became of one image."""

from __future__ import annotations

from typing import Annotated

import typer

from pomona.arguments import Json, LakeArgument

app = typer.Typer()


@app.command()
def status(
    lake: LakeArgument,
    max_age: Annotated[
        list[str] | None,
        typer.Option(help="Exit with 3 where row, batch or refit is older: 10m, or refit=25h …"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Tell how LAKE stands: rows, quarantine, backlog, last micro-batch, last refit.

    Example: pomona status ./lake --max-age 10m --max-age refit=25h
    """
    from pomona.answers import tell_status

    tell_status(lake, max_age or (), as_json=as_json)


@app.command()
def history(lake: LakeArgument, as_json: Json = False) -> None:
    """List the versions of LAKE's features: when, how many rows, the refits made of each.

    Example: pomona history ./lake
    """
    from pomona.answers import tell_history

    tell_history(lake, as_json=as_json)
