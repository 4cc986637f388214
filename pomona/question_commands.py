"""The commands that ask a lake about its rows: SQL, the images most like one, the images that are there twice."""

from __future__ import annotations

from typing import Annotated

import typer

from pomona.arguments import AsOf, Json, LakeArgument
from streaming.errors import UsageError

app = typer.Typer()


@app.command()
def query(
    lake: LakeArgument,
    sql: Annotated[
        str,
        typer.Argument(metavar="SELECT", help="SQL over features, quarantine, refits and reduced."),
    ],
    as_of: AsOf = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the result as CSV.")] = False,
    as_json: Json = False,
) -> None:
    """Ask LAKE in Spark SQL, which reads and changes nothing; --as-of or VERSION AS OF goes back in time.

    Example: pomona query ./lake "SELECT count(*) FROM features VERSION AS OF 3"
    """
    if as_csv and as_json:
        raise UsageError("--csv and --json: give one of the two")
    from pomona.sql.query import query_and_tell

    query_and_tell(lake, sql, as_of, as_csv=as_csv, as_json=as_json)


@app.command()
def similar(
    lake: LakeArgument,
    image: Annotated[
        str, typer.Argument(metavar="IMAGE", help="An image of the lake, or any other picture.")
    ],
    top: Annotated[int, typer.Option(help="How many images to find.")] = 10,
    as_of: AsOf = None,
    report: Annotated[
        str | None, typer.Option(help="Write a page with the pictures side by side to this file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Find the images of LAKE that are most like IMAGE, and let their labels vote on what it is.

    Example: pomona similar ./lake ./fruits/Kiwi/0_100.jpg --report like.html
    """
    from pomona.comparing import similar_and_tell

    similar_and_tell(lake, image, top, as_of, report=report, as_json=as_json)


@app.command()
def duplicates(
    lake: LakeArgument,
    at_least: Annotated[
        float, typer.Option(help="Cosine from which two images are near duplicates.")
    ] = 0.98,
    label: Annotated[
        str | None, typer.Option(help="Compare the features of this label's images alone.")
    ] = None,
    top: Annotated[int, typer.Option(help="How many near pairs to show; all are counted.")] = 100,
    same_bytes: Annotated[
        bool, typer.Option("--same-bytes", help="Compare bytes alone, not features.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Compare all pairs, however long it takes.")
    ] = False,
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """Find the images that are in LAKE twice: the same bytes, or features that are nearly the same.

    Example: pomona duplicates ./lake --at-least 0.995 --label Kiwi
    """
    from pomona.comparing import NearOptions, duplicates_and_tell

    near = None if same_bytes else NearOptions(at_least, label, top, yes)
    duplicates_and_tell(lake, as_of, near, as_json=as_json)
