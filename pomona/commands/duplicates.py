"""`pomona duplicates`: find images with identical bytes or nearly equal features."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pomona.options import AsOf, Json, LakeArgument
from streaming.counts import format_count
from streaming.errors import UsageError

if TYPE_CHECKING:
    from pomona.output.console import Console
    from pomona.similarity.duplicates import NearDuplicateOptions, PairwiseComparison


def duplicates(
    lake: LakeArgument,
    at_least: Annotated[
        float, typer.Option(help="Minimum cosine similarity of near-duplicates.")
    ] = 0.98,
    label: Annotated[str | None, typer.Option(help="Compare only images with this label.")] = None,
    top: Annotated[
        int, typer.Option(help="Number of near-duplicate pairs to show; all are counted.")
    ] = 100,
    same_bytes: Annotated[
        bool, typer.Option("--same-bytes", help="Compare only bytes, not features.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Compare all pairs, however long it takes.")
    ] = False,
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """Find duplicated images: same bytes, or nearly equal features.

    Example: pomona duplicates ./lake --at-least 0.995 --label Kiwi
    """
    from pomona.similarity.duplicates import NearDuplicateOptions

    near = None if same_bytes else NearDuplicateOptions(at_least, label, top)
    run_duplicates(lake, as_of, near, yes=yes, as_json=as_json)


def run_duplicates(
    location: str,
    as_of: str | None,
    near: NearDuplicateOptions | None,
    *,
    yes: bool,
    as_json: bool,
) -> None:
    """Print the images with identical bytes and, if `near` is given, the near-duplicates.

    `yes` confirms the comparison of all pairs, however long it takes.

    Raises
    ------
    UsageError
        If comparing all pairs requires confirmation; images with identical bytes are printed before.
    """
    from pomona.output.console import Console
    from pomona.queries.session import open_lake, translate_read_errors
    from pomona.similarity.duplicates import (
        PairwiseComparison,
        describe_pairs,
        find_same_bytes,
        rows_with_label,
    )
    from pomona.similarity.vector_cache import load_vectors
    from streaming.lake.versions import resolve_version

    console = Console(as_json=as_json)
    lake = open_lake(location)
    result: dict[str, Any] = {}
    confirmation = None
    with translate_read_errors():
        with console.status("comparing bytes"):
            pinned = resolve_version(lake, as_of)
            result["version"] = pinned.number
            result["same_bytes"] = [asdict(group) for group in find_same_bytes(lake, pinned.number)]
        if near:
            with console.status("reading the features"):
                vectors = load_vectors(lake, pinned.number)
            indices = rows_with_label(vectors, near.label)
            comparison = PairwiseComparison(vectors, indices, near.at_least)
            confirmation = None if yes else _confirmation_needed(comparison, near)
            if not confirmation:
                with console.status("comparing features") as update:
                    pairs = comparison.run(
                        near.top, lambda done, total: update(f"{done / total:.0%} compared")
                    )
                result |= {
                    "near_count": pairs.total,
                    "near": [asdict(pair) for pair in describe_pairs(vectors, pairs)],
                }
    if as_of is not None:
        console.print(f"as of  {pinned.description}")
    if as_json:
        console.print_json(result)
    else:
        _render(console, result, near)
    if confirmation:
        raise UsageError(confirmation)


def _confirmation_needed(comparison: PairwiseComparison, near: NearDuplicateOptions) -> str | None:
    """Return a message if comparing all pairs takes long, else None."""
    from pomona.output.durations import format_duration
    from pomona.similarity.duplicates import MAX_ROWS_WITHOUT_CONFIRMATION

    if near.label is not None or comparison.rows <= MAX_ROWS_WITHOUT_CONFIRMATION:
        return None
    duration = format_duration(comparison.estimate_seconds())
    return (
        f"comparing all pairs of {comparison.rows:,} images would take about {duration}: "
        "confirm with --yes, or use --label to compare one label or --same-bytes to skip it"
    )


def _render(console: Console, result: dict[str, Any], near: NearDuplicateOptions | None) -> None:
    from pomona.output.tables import TableLayout

    groups = result["same_bytes"]
    images = sum(len(group["images"]) for group in groups)
    counted = f"{format_count(images, 'image')} in {format_count(len(groups), 'group')}"
    console.print(f"identical bytes: {counted}")
    if groups:
        console.print_table(
            {"group": "group", "label": "label", "path": "path"},
            [
                {"group": number, "label": label, "path": path}
                for number, group in enumerate(groups, 1)
                for path, label in group["images"]
            ],
            TableLayout(shorten=("label", "path")),
        )
    if near and "near" in result:
        count = result["near_count"]
        shown = f", the closest {near.top:,}:" if count > near.top else ""
        console.print(
            f"near-duplicates: {format_count(count, 'pair')} with a cosine of at least {near.at_least:g}{shown}"
        )
        columns = ("cosine", "label", "path", "other label", "other path")
        rows = []
        for pair in result["near"]:
            (path, label), (other, other_label) = pair["images"]
            values = (f"{pair['cosine']:.6f}", label, path, other_label, other)
            rows.append(dict(zip(columns, values, strict=True)))
        if rows:
            layout = TableLayout(shorten=columns[1:], optional=("other label", "label"))
            console.print_table(dict(zip(columns, columns, strict=True)), rows, layout)
