"""`pomona tag`: name a version of the features, or list the names."""

from __future__ import annotations

from typing import Annotated

import typer

from pomona.options import AsOf, Json, LakeArgument
from streaming.counts import format_count
from streaming.errors import UsageError


def tag(
    lake: LakeArgument,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]", help="Tag name: a letter, then letters, digits, '.', '_' or '-'."
        ),
    ] = None,
    as_of: AsOf = None,
    force: Annotated[
        bool, typer.Option("--force", help="Move an existing tag to this version.")
    ] = False,
    delete: Annotated[bool, typer.Option("--delete", help="Delete the tag.")] = False,
    as_json: Json = False,
) -> None:
    """Create, move, delete or list tags of versions.

    Without --as-of, the tag points to the latest version.

    Example: pomona tag ./lake march --as-of 2026-03-31T18:00Z
    """
    if name is None and (as_of or force or delete):
        raise UsageError("--as-of, --force and --delete need the NAME of a tag")
    if delete and (as_of or force):
        raise UsageError("--delete cannot be combined with --as-of or --force: omit them")

    from pomona.output.console import Console
    from pomona.output.tables import TableLayout
    from pomona.queries import tags

    console = Console(as_json=as_json)
    with console.status("reading the lake"):
        if name is None:
            rows = tags.list_tags(lake)
        elif delete:
            rows = [tags.delete_tag(lake, name)]
        else:
            rows = [tags.create_tag(lake, name, as_of, force=force)]
    if as_json:
        console.print_json(rows if name is None else rows[0])
    elif name is None and not rows:
        console.print(f"no tags yet: pomona tag {lake} NAME")
    elif name is None:
        columns = {key: key for key in ("tag", "version", "committed", "created_at")}
        layout = TableLayout(shorten=("tag",), optional=("created_at", "committed"))
        console.print_table(
            columns, [row | {"version": str(row["version"])} for row in rows], layout
        )
    else:
        if as_of is not None:
            console.print(f"as of     {rows[0]['resolved']}")
        if kept := rows[0].get("kept_for_days"):
            console.print(
                f"the tables now keep removed files for {format_count(kept, 'day')}, so that VACUUM keeps this version"
            )
        subject = f"deleted tag {name}, which pointed" if delete else f"tag {name} points"
        console.print(f"{subject} to version {rows[0]['version']} of {rows[0]['committed']}")
    if note := tags.retention_note(lake):
        console.print(note)
