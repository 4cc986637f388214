"""`pomona demo`: run the whole pipeline on generated images."""

from __future__ import annotations

from typing import Annotated

import typer


def demo(
    folder: Annotated[
        str, typer.Option(help="Folder for images and lake; a number is appended if it exists.")
    ] = "pomona-demo",
    weights: Annotated[
        str | None,
        typer.Option(
            help="As in `ingest`. Default: imagenet, or random if the weights cannot be downloaded."
        ),
    ] = None,
) -> None:
    """Run the whole pipeline on generated images in a minute.

    Example: pomona demo
    """
    from pomona.demo.run import run

    run(folder, weights)
