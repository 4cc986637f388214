"""Arguments and options shared by several commands."""

from __future__ import annotations

from typing import Annotated

import typer

LakeArgument = Annotated[
    str, typer.Argument(metavar="LAKE", help="Folder or s3:// URI of the lake.")
]
SourceArgument = Annotated[
    str, typer.Argument(metavar="SOURCE", help="Folder or s3:// URI of the images.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
RemoveLimit = Annotated[
    float,
    typer.Option(help="Share of the source's rows that may be removed at once (0.5); else none."),
]
AsOf = Annotated[
    str | None,
    typer.Option(
        help='Version number, time or date (UTC unless it names a zone), "3 days ago", or a tag.'
    ),
]
ConfigFile = Annotated[str, typer.Option("--file", "-f", help="Configuration file (cluster.toml).")]

Cluster = Annotated[str, typer.Argument(metavar="CLUSTER", help="Name or ID of a live cluster.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the change without sending it.")]
