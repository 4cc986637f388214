"""The commands that ask a lake: how it stands, what it was, what has changed, what became of one image."""

from __future__ import annotations

from typing import Annotated

import typer

from pomona.arguments import AsOf, Json, LakeArgument
from streaming.errors import UsageError

app = typer.Typer()


@app.command()
def status(
    lake: LakeArgument,
    max_age: Annotated[
        list[str] | None,
        typer.Option(help="Exit with 3 where row, batch or refit is older: 10m, or refit=25h …"),
    ] = None,
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """Tell how LAKE stands: rows, quarantine, backlog, last micro-batch, last refit.

    Example: pomona status ./lake --max-age 10m --max-age refit=25h
    """
    from pomona.answers import tell_status

    if max_age and as_of:
        raise UsageError("--max-age watches what is now: drop --as-of")
    tell_status(lake, max_age or (), as_of, as_json=as_json)


@app.command()
def history(lake: LakeArgument, as_of: AsOf = None, as_json: Json = False) -> None:
    """List the versions of LAKE's features: when, how many rows, the refits made of each.

    Example: pomona history ./lake
    """
    from pomona.travel_answers import tell_history

    tell_history(lake, as_of, as_json=as_json)


@app.command()
def diff(
    lake: LakeArgument,
    one: Annotated[str, typer.Argument(metavar="A", help="As --as-of takes it, or a refit's id.")],
    other: Annotated[str, typer.Argument(metavar="B", help="The same; `latest` is what is now.")],
    images: Annotated[bool, typer.Option("--images", help="Name the images too.")] = False,
    as_json: Json = False,
) -> None:
    """Tell what has changed in LAKE from A to B: images by label, and the components of two refits.

    Example: pomona diff ./lake "3 days ago" latest
    """
    from pomona.travel_answers import tell_diff

    tell_diff(lake, (one, other), images=images, as_json=as_json)


@app.command()
def show(
    lake: LakeArgument,
    path: Annotated[
        str | None,
        typer.Argument(metavar="[PATH]", help="An image; or a refit: its id, or a file of its."),
    ] = None,
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """Show what LAKE held; or one image: its row, place, versions, refits; or where a refit comes from.

    Example: pomona show ./lake "./fruits/Apple Braeburn/0_100.jpg"
    """
    from pomona.travel_answers import tell_show

    tell_show(lake, path, as_of, as_json=as_json)


@app.command()
def tag(
    lake: LakeArgument,
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A letter, then letters, digits, . _ -")
    ] = None,
    as_of: AsOf = None,
    force: Annotated[bool, typer.Option("--force", help="Move a tag to this version.")] = False,
    delete: Annotated[bool, typer.Option("--delete", help="Take the name away.")] = False,
    as_json: Json = False,
) -> None:
    """Give a version of LAKE's features a NAME that --as-of takes, or list the names there are.

    Example: pomona tag ./lake march --as-of 2026-03-31T18:00Z
    """
    from pomona.travel_answers import tell_tags

    if name is None and (as_of or force or delete):
        raise UsageError("--as-of, --force and --delete need the NAME of a tag")
    if delete and (as_of or force):
        raise UsageError("--delete goes with neither --as-of nor --force")
    tell_tags(lake, name, as_of, force=force, delete=delete, as_json=as_json)
