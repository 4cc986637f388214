"""`pomona export`: write the features to one Parquet, CSV or NumPy file."""

from __future__ import annotations

from typing import Annotated

import typer

from pomona.options import AsOf, Json, LakeArgument
from streaming.counts import format_count


def export(
    lake: LakeArgument,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="File to write: .parquet, .csv or .npz; an existing one is replaced.",
        ),
    ],
    as_of: AsOf = None,
    label: Annotated[str | None, typer.Option(help="Export only images with this label.")] = None,
    as_json: Json = False,
) -> None:
    """Write the features to one Parquet, CSV or NumPy file.

    The column path is written as it is stored: a URI, file:/… or s3a://….

    Example: pomona export ./lake features.parquet --as-of 2026-11-01
    """
    from pomona.output.console import Console
    from pomona.queries.export import export as write_export
    from pomona.queries.session import version_json

    console = Console(as_json=as_json)
    with console.status("exporting"):
        done = write_export(lake, file, as_of, label)
    if as_json:
        console.print_json({"file": done.file, "rows": done.rows} | version_json(done.version))
    else:
        console.print(
            f"{done.file}: {format_count(done.rows, 'row')} of {done.version.description}"
        )
