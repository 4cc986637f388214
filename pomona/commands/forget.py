"""`pomona forget`: delete the rows of images."""

from __future__ import annotations

from typing import Annotated

import typer

from pomona.options import Json, LakeArgument
from streaming.counts import format_count
from streaming.errors import LakeError


def forget(
    lake: LakeArgument,
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH...", help="Image paths, as in the tables.")
    ],
    as_json: Json = False,
) -> None:
    """Delete the rows of images; earlier versions keep them.

    Example: pomona forget ./lake "./fruits/Apple Braeburn/0_100.jpg"
    """
    from pomona.commands.requests import print_paths, submit_request
    from pomona.output.console import Console
    from pomona.queries.session import open_lake, translate_read_errors
    from streaming.delta.reader import existing_paths
    from streaming.storage.interface import normalize

    console = Console(as_json=as_json)
    names = [normalize(path) for path in paths]
    with translate_read_errors():
        opened = open_lake(lake)
        known = [existing_paths(table, names) for table in (opened.features, opened.quarantine)]
    result = submit_request(console, lake, "forget", {"paths": names}) if any(known) else None
    if not result or not (deleted := len({*result["features"], *result["quarantine"]})):
        unknown = (
            f"{names[0]} is in no table of {lake}"
            if len(names) == 1
            else f"none of {len(names):,} paths, such as {names[0]}, is in a table of {lake}"
        )
        raise LakeError(
            f"{unknown}: give values of the column `path`, as `pomona similar`, `pomona quarantine` or `pomona query` "
            "print them"
        )
    if as_json:
        console.print_json(result)
        return
    rows = format_count(len(result["features"]), "row")
    console.print(
        f"{format_count(deleted, 'image')} deleted from the lake: {rows} of features, "
        f"{len(result['quarantine']):,} of quarantine; earlier versions of the tables keep them"
    )
    print_paths(console, "not in the lake:", result["unknown"])
    print_paths(
        console,
        "still in the source, so that the next sweep processes them again:",
        result["existing"],
    )
