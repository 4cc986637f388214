"""The commands that look after a lake as a whole: ending what writes it, and bringing it to a new format."""

from __future__ import annotations

import typer

from pomona.arguments import Json, LakeArgument

app = typer.Typer()


@app.command()
def stop(lake: LakeArgument, as_json: Json = False) -> None:
    """End the process that writes LAKE, in order, and wait for its end.

    Example: pomona stop ./lake
    """
    from pomona.ending import stop_and_tell

    stop_and_tell(lake, as_json=as_json)


@app.command()
def upgrade(lake: LakeArgument, as_json: Json = False) -> None:
    """Bring a LAKE that an older Pomona made to this one's format, in place; no row or version is lost.

    Example: pomona upgrade ./lake
    """
    from pomona.upgrading import upgrade_and_tell

    upgrade_and_tell(lake, as_json=as_json)
