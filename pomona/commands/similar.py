"""`pomona similar`: find the images most similar to one."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pomona.options import AsOf, Json, LakeArgument


def similar(
    lake: LakeArgument,
    image: Annotated[
        str, typer.Argument(metavar="IMAGE", help="An image of the lake, or any other image file.")
    ],
    top: Annotated[int, typer.Option(help="Number of images to find.")] = 10,
    as_of: AsOf = None,
    report: Annotated[
        str | None,
        typer.Option(help="Write an HTML page with the images side by side to this file."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Find the most similar images, and predict the label by vote.

    Example: pomona similar ./lake ./fruits/Kiwi/0_100.jpg --report like.html
    """
    from pomona.output.console import Console
    from pomona.queries.session import resolve_as_of
    from pomona.similarity.search import similar as find_similar

    console = Console(as_json=as_json)
    with console.working("comparing"):
        pinned = resolve_as_of(lake, as_of)
        found = find_similar(lake, image, top, pinned)
        if report:
            from pomona.similarity.report import write_report

            write_report(found, Path(report))
    if pinned:
        console.line(f"as of  {pinned.description}")
    if as_json:
        return console.show(
            {
                "image": found.image,
                "label": found.label,
                "version": found.version,
                "rows": found.rows,
                "vote": dict(found.votes),
                "neighbours": [asdict(one) for one in found.neighbors],
            }
        )
    columns = {"cosine": "cosine", "label": "label", "path": "path"}
    console.table(
        columns, [asdict(one) | {"cosine": f"{one.cosine:.6f}"} for one in found.neighbors]
    )
    counts = ", ".join(f"{votes} {label}" for label, votes in found.votes)
    console.line(f"vote: {counts}" + (f" (it is labelled {found.label})" if found.label else ""))
    if report:
        console.line(f"page: {report}")
