"""`pomona quarantine`: list quarantined images, or process them again."""

from __future__ import annotations

from typing import Annotated

import typer

from pomona.options import AsOf, Json, LakeArgument
from streaming.counts import format_count
from streaming.errors import UsageError


def quarantine(
    lake: LakeArgument,
    reason: Annotated[str | None, typer.Option(help="Select only images with this reason.")] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Process these images again.")] = False,
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """List quarantined images and why, or process them again.

    Example: pomona quarantine ./lake --retry --reason access_denied
    """
    if retry and as_of:
        raise UsageError(
            "--retry and --as-of cannot be combined: --retry processes the current quarantine"
        )
    if retry:
        return retry_quarantined(lake, reason, as_json=as_json)

    from pomona.output.console import Console
    from pomona.output.tables import TableLayout
    from pomona.queries.session import resolve_as_of
    from pomona.queries.status import quarantine as read_quarantine

    console = Console(as_json=as_json)
    with console.status("reading the lake"):
        pinned = resolve_as_of(lake, as_of)
        rows = read_quarantine(lake, reason, pinned)
    if pinned:
        console.print(f"as of     {pinned.description}")
    if as_json:
        console.print_json(rows)
    elif rows:
        columns = {"reason": "reason", "path": "path", "detail": "detail", "attempts": "attempts"}
        layout = TableLayout(shorten=("path",), wrap=("detail",), optional=("attempts", "detail"))
        console.print_table(columns, rows, layout)
    else:
        suffix = f" for the reason {reason}" if reason else ""
        console.print(f"no image {'was' if as_of else 'is'} in quarantine{suffix}")


def retry_quarantined(lake: str, reason: str | None, *, as_json: bool) -> None:
    """Process quarantined images again, and print the outcome.

    Raises
    ------
    UsageError
        If the reason is unknown.
    """
    from pomona.commands.requests import submit_request
    from pomona.output.console import Console
    from pomona.queries.status import check_reason

    check_reason(reason)
    console = Console(as_json=as_json)
    result = submit_request(console, lake, "retry", {"reason": reason})
    if as_json:
        console.print_json(result)
        return
    suffix = f" for the reason {reason}" if reason else ""
    others = result.get("other_sources") or 0
    if not result["retried"] + result["missing_in_source"] + others:
        console.print(f"no image is in quarantine{suffix}")
        return
    reasons = ", ".join(f"{count} {name}" for name, count in sorted(result["reasons"].items()))
    console.print(
        f"{format_count(result['retried'], 'image')} processed again: {result['featurized']:,} featurized, "
        f"{result['quarantined']:,} still in quarantine" + (f" ({reasons})" if reasons else "")
    )
    if result["changing"]:
        console.print(
            f"{format_count(result['changing'], 'image')} still being written: try again later"
        )
    if result["missing_in_source"]:
        console.print(
            f"{format_count(result['missing_in_source'], 'image')} deleted from the source; "
            "the rows are kept (use `pomona forget` to delete them)"
        )
    if others:
        console.print(
            f"{format_count(others, 'image')} of other sources not processed: "
            "the running stream reads only its own source"
        )
