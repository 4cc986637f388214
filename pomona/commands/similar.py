"""`pomona similar`: find the images that are most similar to an image."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pomona.options import AsOf, Json, LakeArgument


def similar(
    lake: LakeArgument,
    image: Annotated[
        str, typer.Argument(metavar="IMAGE", help="Image of the lake, or any other image file.")
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

    Example: pomona similar ./lake ./fruits/Kiwi/0_100.jpg --report similar.html
    """
    from pomona.output.console import Console
    from pomona.output.files import check_output_file
    from pomona.output.tables import TableLayout
    from pomona.queries.session import resolve_as_of
    from pomona.similarity.search import similar as find_similar
    from streaming.lake.layout import Lake
    from streaming.storage.interface import normalize

    console = Console(as_json=as_json)
    root = Lake.at(lake).root
    if report is not None:
        check_output_file(report, root, "--report", normalize(image))
    with console.status("comparing"):
        pinned = resolve_as_of(lake, as_of)
        result = find_similar(lake, image, top, pinned)
        if report is not None:
            from pomona.similarity.report import write_report

            write_report(Lake(root), result, Path(report))
    if pinned:
        console.print(f"as of  {pinned.description}")
    if as_json:
        return console.print_json(
            {
                "image": result.image,
                "label": result.label,
                "version": result.version,
                "rows": result.rows,
                "vote": dict(result.votes),
                "neighbors": [asdict(neighbor) for neighbor in result.neighbors],
            }
        )
    columns = {"cosine": "cosine", "label": "label", "path": "path"}
    console.print_table(
        columns,
        [asdict(neighbor) | {"cosine": f"{neighbor.cosine:.6f}"} for neighbor in result.neighbors],
        TableLayout(shorten=("label", "path")),
    )
    counts = ", ".join(f"{votes} {label}" for label, votes in result.votes)
    actual = f" (actual label: {result.label})" if result.label else ""
    console.print(f"vote: {counts}{actual}")
    if report:
        console.print(f"report: {report}")
