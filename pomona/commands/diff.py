"""`pomona diff`: what changed between two versions or two refits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pomona.options import Json, LakeArgument
from streaming.counts import format_count

if TYPE_CHECKING:
    from pomona.output.console import Console
    from pomona.queries.session import JsonObject


def diff(
    lake: LakeArgument,
    one: Annotated[str, typer.Argument(metavar="A", help="Version as in --as-of, or a refit ID.")],
    other: Annotated[
        str,
        typer.Argument(metavar="B", help="Version or refit ID; `latest` is the current version."),
    ],
    images: Annotated[bool, typer.Option("--images", help="List the images too.")] = False,
    as_json: Json = False,
) -> None:
    """Compare two versions or two refits of LAKE.

    Example: pomona diff ./lake "3 days ago" latest
    """
    from pomona.output.console import Console
    from pomona.output.tables import TableLayout
    from pomona.queries.diff import CHANGES
    from pomona.queries.diff import diff as compare

    console = Console(as_json=as_json)
    with console.status("comparing"):
        result = compare(lake, one, other, images=images)
    if as_json:
        console.print_json(result)
        return
    for name in ("from", "to"):
        console.print(
            f"{name:<9} {result[name]['resolved']}: {format_count(result[name]['rows'], 'row')}"
        )
    console.print(", ".join(f"{result[change]:,} {change}" for change in CHANGES))
    if result["labels"]:
        layout = TableLayout(shorten=("label",))
        console.print_table({key: key for key in ("label", *CHANGES)}, result["labels"], layout)
    for change in CHANGES if images else ():
        for path in result["images"][change]:
            console.print(f"{change:<9} {path}")
    if result["refits"]:
        _render_refits(console, result["refits"])


def _render_refits(console: Console, comparison: JsonObject) -> None:
    from pomona.output.console import MAX_LISTED

    one, other = comparison["from"], comparison["to"]
    console.print(f"refits    {one['refit_id']} and {other['refit_id']}")
    pairs = [side["explained_variance_ratio"] for side in (one, other)]
    rows: list[dict[str, Any]] = [
        {
            "component": str(i + 1),
            **{k: _share(pair, i) for k, pair in zip("ab", pairs, strict=True)},
        }
        for i in range(min(max(map(len, pairs)), MAX_LISTED))
    ]
    totals = {
        key: f"{side['explained_variance']:.2%}"
        for key, side in zip("ab", (one, other), strict=True)
    }
    rows.append({"component": f"all {len(pairs[0])} and {len(pairs[1])}", **totals})
    console.print_table({"component": "component", "a": "from", "b": "to"}, rows)
    angles = comparison["angles"]
    console.print(
        f"angles    {angles[-1]:.2f}° is the largest of {len(angles):,} principal angles between the subspaces, "
        f"{angles[0]:.2f}° the smallest"
    )


def _share(ratios: Sequence[float], index: int) -> str:
    return f"{ratios[index]:.2%}" if index < len(ratios) else ""
