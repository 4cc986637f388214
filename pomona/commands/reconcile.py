"""`pomona reconcile`: compare a source with a lake, and repair differences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pomona.options import (
    Exclude,
    FollowLinks,
    Include,
    Json,
    LakeArgument,
    RemoveLimit,
    SourceArgument,
)
from streaming.counts import format_count
from streaming.errors import UsageError

if TYPE_CHECKING:
    from pomona.output.console import Console
    from streaming.sources.listing import Source


def reconcile(
    source: SourceArgument,
    lake: LakeArgument,
    hashes: Annotated[
        bool, typer.Option("--hash", help="Read every image and compare its hash too.")
    ] = False,
    fix: Annotated[
        bool,
        typer.Option(
            "--fix",
            help="Process missing and changed images, with --hash also rewritten ones; delete rows of deleted ones.",
        ),
    ] = False,
    remove_limit: RemoveLimit = 0.5,
    include: Include = None,
    exclude: Exclude = None,
    default_excludes: Annotated[
        bool | None,
        typer.Option(
            "--default-excludes/--no-default-excludes",
            help="Leave out thumbnails, recycle bins and snapshots, such as @eaDir.",
        ),
    ] = None,
    follow_links: FollowLinks = False,
    as_json: Json = False,
) -> None:
    """Compare SOURCE with LAKE: missing, changed, deleted images.

    Patterns that are not given are those of the latest ingestion of SOURCE; --follow-links must be given again.
    The exit code is 0 even if there are differences.

    Example: pomona reconcile ./fruits ./lake --hash
    """
    if not 0 <= remove_limit <= 1:
        raise UsageError(f"--remove-limit {remove_limit:g}: give a fraction, 0 to 1")

    from pomona.commands.requests import print_paths, submit_request
    from pomona.output.console import Console
    from streaming.ingest.pipeline import check_disjoint
    from streaming.lake.layout import Lake
    from streaming.sources.listing import Source
    from streaming.sources.selection import Selection, read_selection
    from streaming.spark.errors import translate_errors

    console = Console(as_json=as_json)
    images = Source.at(source)
    with translate_errors():
        stored = read_selection(Lake.at(lake).sources, images.root)
    selection = Selection(
        include or stored.include,
        exclude or stored.exclude,
        stored.default_excludes if default_excludes is None else default_excludes,
        # Not the stored value: the permission to read outside of the source must not come from the lake.
        follow_links,
    )
    images = Source.at(source, selection)
    images.validate(require_images=False)
    result: dict[str, Any] = {}
    if hashes or not fix:
        result = _compare(console, images, lake, hashes, remove_limit)
    if fix:
        check_disjoint(images, Lake.at(lake))
        arguments = {
            "source": images.root,
            "selection": selection.as_json(),
            "limit": remove_limit,
            "rewritten": result.get("rewritten", []),
        }
        repaired = submit_request(console, lake, "reconcile", arguments)
        unread = result.get("unread", [])
        counts = repaired["counts"] | {"unread": len(unread)}
        result = repaired | {"unread": unread, "counts": counts}
    if as_json:
        console.print_json(result)
        return
    console.print(
        f"{format_count(result['listed'], 'image')} of {images.root}: {result['in_lake']:,} in the lake, "
        f"{result['counts']['missing']:,} missing; {format_count(result['rows'], 'row')} of this source in the lake"
    )
    for key, text in (
        ("missing", "missing: in neither table"),
        ("changed", "changed: length or modification time differs from the row"),
        ("rewritten", "rewritten: content differs, but length and modification time are the same"),
        ("missing_in_source", "missing in source: the image of a row was deleted"),
        ("unread", "not read"),
    ):
        if result[key]:
            count = result["counts"][key]
            print_paths(console, f"{count:,} {text}", result[key], count)
    if result["unchecked"]:
        others = format_count(result["unchecked"], "other image")
        console.print(f"not checked: {others} not in the listing")
    differences = sum(
        result["counts"][key] for key in ("missing", "changed", "rewritten", "missing_in_source")
    )
    if result["unlisted"]:
        listed = ", ".join(f"{count:,} {reason}" for reason, count in result["unlisted"].items())
        console.print(f"not compared, because they could not be listed: {listed}")
    if not differences and (result["unread"] or result["unchecked"] or result["unlisted"]):
        console.print("no differences among the images that were compared")
    elif not differences:
        console.print("source and lake are consistent")
    elif not fix and result["rewritten"]:
        console.print(
            "run the same command with --hash --fix to process missing, changed and rewritten images "
            "and delete the rows of deleted ones"
        )
    elif not fix:
        console.print(
            "use --fix to process missing and changed images and delete the rows of deleted ones"
        )
    else:
        console.print(
            f"repaired: {result['featurized']:,} featurized, {result['quarantined']:,} quarantined, "
            f"{result['removed']:,} removed"
        )
        if result["skip_reason"]:
            console.print(f"nothing removed: {result['skip_reason']}")


def _compare(
    console: Console, source: Source, location: str, hashes: bool, limit: float
) -> dict[str, Any]:
    from streaming.lake.image_index import ImageIndex
    from streaming.lake.layout import Lake
    from streaming.maintenance.reconcile import compare
    from streaming.spark.errors import translate_errors

    lake = Lake.at(location)
    lake.validate()
    with translate_errors(), console.status("comparing"):
        index = ImageIndex.load(lake)
        return compare(lake, source, index, hashes=hashes, limit=limit).as_json()
