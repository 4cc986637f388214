"""Arguments that several commands take."""

from __future__ import annotations

from typing import Annotated

import typer

LakeArgument = Annotated[
    str, typer.Argument(metavar="LAKE", help="Folder or s3:// URI of the lake.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
