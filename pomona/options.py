"""Arguments and options shared by several commands."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pomona.output.durations import parse_duration
from streaming.errors import UsageError


def parse_seconds(value: str | float) -> float:
    """Convert a number of seconds, or a duration such as ``10m``, to seconds."""
    try:
        return float(value)
    except ValueError:
        pass
    try:
        return parse_duration(str(value), "")
    except UsageError:
        raise typer.BadParameter(
            f"{value}: give seconds, or a number and a unit, such as 45s, 10m or 1h"
        ) from None


def seconds_option(*names: str, help_text: str = "", hidden: bool = False) -> Any:
    """Return an option that takes seconds, or a duration such as ``10m``."""
    return typer.Option(
        *names, help=help_text, hidden=hidden, parser=parse_seconds, metavar="SECONDS"
    )


LakeArgument = Annotated[
    str, typer.Argument(metavar="LAKE", help="Folder or s3:// URI of the lake.")
]
SourceArgument = Annotated[
    str, typer.Argument(metavar="SOURCE", help="Folder or s3:// URI of the images.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
RemoveLimit = Annotated[
    float,
    typer.Option(
        help="Maximum fraction of the source's rows to delete at once (0.5); if exceeded, none is deleted."
    ),
]
Include = Annotated[
    list[str] | None,
    typer.Option(
        metavar="GLOB",
        help='Select only files that match, such as "Apple*" or "train/**/*.jpg"; repeatable.',
    ),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(metavar="GLOB", help='Leave out files that match, such as "*.gif"; repeatable.'),
]
DefaultExcludes = Annotated[
    bool,
    typer.Option(
        "--default-excludes/--no-default-excludes",
        help="Leave out thumbnails, recycle bins and snapshots, such as @eaDir.",
    ),
]
FollowLinks = Annotated[
    bool,
    typer.Option("--follow-links", help="Follow symbolic links that lead out of SOURCE."),
]
AsOf = Annotated[
    str | None,
    typer.Option(
        help='Version number, timestamp or date (UTC unless it has an offset), "3 days ago", or a tag.'
    ),
]

GlueDatabase = Annotated[
    str | None,
    typer.Option(
        metavar="DATABASE",
        help="Register the tables in this database of the Glue Data Catalog, for Athena.",
    ),
]


ConfigFile = Annotated[str, typer.Option("--file", "-f", help="Configuration file (cluster.toml).")]

Cluster = Annotated[str, typer.Argument(metavar="CLUSTER", help="Name or ID of a live cluster.")]
Yes = Annotated[
    bool, typer.Option("--yes", help="Do not ask before nodes are started, which are billed.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the change without sending it.")]
