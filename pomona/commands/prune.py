"""`pomona prune`: remove refits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pomona.options import Json, LakeArgument
from streaming.counts import format_count

if TYPE_CHECKING:
    from batch_pca.refits.prune import PruneResult


def prune(
    lake: LakeArgument,
    keep: Annotated[
        int | None, typer.Option(metavar="N", help="Keep at least the N latest refits.")
    ] = None,
    older_than: Annotated[
        str | None,
        typer.Option(
            metavar="AGE",
            help="Remove only refits older than this, such as 30d; with --keep, both must hold.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be removed, and remove nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Remove old refits and their files.

    The latest refit, the latest scheduled one, the baseline of the latest drift, and refits of tagged versions are
    always kept.

    Example: pomona prune ./lake --keep 10
    """
    from batch_pca.refits.prune import PruneOptions
    from batch_pca.refits.prune import prune as prune_lake
    from pomona.output.console import Console
    from pomona.output.durations import parse_duration
    from streaming.lake.layout import Lake

    seconds = None if older_than is None else parse_duration(older_than, "--older-than")
    options = PruneOptions(keep, seconds, dry_run)
    console = Console(as_json=as_json)
    with console.status("removing refits"):
        result = prune_lake(Lake.at(lake), options)
    if as_json:
        console.print_json(prune_json(result))
    else:
        for line in prune_lines(result):
            console.print(line)


def prune_lines(result: PruneResult) -> list[str]:
    """Render the result as lines of text."""
    from pomona.output.console import MAX_LISTED

    verb = "would be removed" if result.dry_run else "removed"
    lines = []
    for refit in result.removed:
        lines.append(
            f"{verb}: {refit.refit_id}, version {refit.features_version} of the features, "
            f"{format_size(refit.size)}"
        )
    protected = list(result.protected.items())
    lines += [f"kept: {refit_id} ({reason})" for refit_id, reason in protected[:MAX_LISTED]]
    if len(protected) > MAX_LISTED:
        lines.append(f"and {len(protected) - MAX_LISTED:,} more kept (--json shows all)")
    if result.interrupted:
        folders = format_count(len(result.interrupted), "folder")
        lines.append(f"{verb}: {folders} of interrupted commands")
    freed = "would be freed" if result.dry_run else "freed"
    return [
        *lines,
        f"{format_count(len(result.removed), 'refit')} {verb}, {result.remaining:,} kept, "
        f"{format_size(result.size)} {freed}",
    ]


def prune_json(result: PruneResult) -> dict[str, Any]:
    """Render the result as a JSON document."""
    from pomona.queries.session import format_timestamp

    return {
        "dry_run": result.dry_run,
        "removed": [
            {
                "refit_id": refit.refit_id,
                "features_version": refit.features_version,
                "created_at": format_timestamp(refit.created_at),
                "bytes": refit.size,
            }
            for refit in result.removed
        ],
        "kept": result.protected,
        "remaining": result.remaining,
        "interrupted": list(result.interrupted),
        "bytes": result.size,
    }


def format_size(size: int) -> str:
    """Format a number of bytes in MB, or in kB below one MB."""
    return f"{size / 1e6:,.1f} MB" if size >= 1e6 else f"{size / 1e3:,.1f} kB"
