"""`pomona report`: find the HTML report of a refit, and open it in a browser."""

from __future__ import annotations

from typing import Annotated

import typer

from pomona.options import Json, LakeArgument


def report(
    lake: LakeArgument,
    refit: Annotated[
        str | None,
        typer.Argument(metavar="[REFIT]", help="Refit ID; by default the latest refit."),
    ] = None,
    open_browser: Annotated[
        bool, typer.Option("--open", help="Open the report in the web browser.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Print the path of a refit's report, or open it.

    The report of a lake on S3 is downloaded into the cache.

    Example: pomona report ./lake --open
    """
    from pomona.output.console import Console
    from pomona.queries.report import find_report, open_in_browser

    console = Console(as_json=as_json)
    with console.status("reading the lake"):
        found = find_report(lake, refit)
    if as_json:
        console.print_json({"refit_id": found.refit_id, "file": str(found.file)})
    else:
        console.print(str(found.file))
    if open_browser:
        open_in_browser(found.file)
