"""`pomona demo`: run the whole pipeline on generated images."""

from __future__ import annotations

from typing import Annotated

import typer


def demo(
    folder: Annotated[
        str, typer.Option(help="Where to put images and lake; a number is added if it is taken.")
    ] = "pomona-demo",
    weights: Annotated[
        str | None, typer.Option(help="As of `ingest`; imagenet falls back to random offline.")
    ] = None,
) -> None:
    """Show all of it in two minutes, on images that it draws itself.

    Example: pomona demo
    """
    from pomona.demo.run import run

    run(folder, weights)
