"""`pomona show`: a lake at a version, one image, or the lineage of a refit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pomona.options import AsOf, Json, LakeArgument
from streaming.counts import format_count
from streaming.errors import UsageError

if TYPE_CHECKING:
    from pomona.output.console import Console
    from pomona.queries.session import JsonObject


def show(
    lake: LakeArgument,
    path: Annotated[
        str | None,
        typer.Argument(metavar="[PATH]", help="An image path; or a refit ID or a file of a refit."),
    ] = None,
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """Show a version, the history of an image, or a refit.

    Example: pomona show ./lake "./fruits/Apple Braeburn/0_100.jpg"
    """
    from pomona.output.console import Console
    from pomona.queries.image_history import describe_image, describe_version
    from pomona.queries.provenance import describe_refit, resolve_refit_id

    console = Console(as_json=as_json)
    with console.status("reading the lake"):
        refit_id = path and resolve_refit_id(lake, path)
        if refit_id and as_of is not None:
            raise UsageError(f"refit {refit_id} belongs to one version: omit --as-of")
        if path is None:
            description = describe_version(lake, as_of)
        elif refit_id:
            description = describe_refit(lake, refit_id)
        else:
            description = describe_image(lake, path, as_of)
    if as_json:
        console.print_json(description)
    elif path is None:
        _render_lake(console, description)
    elif refit_id:
        _render_refit(console, description)
    else:
        _render_image(console, description)


def _render_lake(console: Console, description: JsonObject) -> None:
    from pomona.output.tables import TableLayout

    console.print_field("as of    ", f"{description['as_of']['resolved']}")
    console.print_field(
        "rows     ",
        f"{description['rows']:,} in {format_count(len(description['labels']), 'label')}",
    )
    console.print_field("model    ", f"{description['model_id'] or 'none yet'}")
    for name in ("refits", "tags"):
        console.print(f"{name:<9} {', '.join(description[name]) or 'none'}")
    if description["labels"]:
        labels = [{"label": label, "rows": rows} for label, rows in description["labels"].items()]
        console.print_table(
            {"label": "label", "rows": "rows"}, labels, TableLayout(shorten=("label",))
        )


def _render_refit(console: Console, description: JsonObject) -> None:
    model = description["model"] or {}
    parameters = {
        name: value for name, value in description["parameters"].items() if value is not None
    }
    console.print_field(
        "refit    ",
        f"{description['refit_id']} of {description['created_at']} by Pomona {description['pomona_version']}",
    )
    console.print_field(
        "features ",
        f"version {description['features_version']} of {description['features_timestamp']}, "
        f"{format_count(description['rows'], 'row')}",
    )
    console.print_field(
        "fitted   ",
        f"{description['rows_fitted']:,} rows, {', '.join(f'{n} {v}' for n, v in parameters.items())}",
    )
    console.print_field("model    ", f"{description['model_id']}")
    console.print_field(
        "weights  ",
        f"{model.get('weights', 'unknown')}, SHA-256 {model.get('weights_sha256', 'unknown')}",
    )
    console.print_field("drift    ", f"{description['drift_summary']}")
    console.print_field("folder   ", f"{description['folder']}")


def _render_image(console: Console, description: JsonObject) -> None:
    from pomona.output.console import MAX_LISTED
    from pomona.output.tables import TableLayout

    console.print_field("as of    ", f"{description['as_of']['resolved']}")
    console.print_field("path     ", f"{description['path']}")
    row, quarantined, latest_scores = (
        description["row"],
        description["quarantine"],
        description["latest_scores"],
    )
    for name, value in (row or {}).items():
        if name not in ("path", "features"):
            console.print(f"{name:<18} {value}")
    if row is None:
        console.print("no row in the features of this version")
    if quarantined:
        attempts = format_count(quarantined["attempts"], "attempt")
        console.print(
            f"in quarantine: {quarantined['reason']}: {quarantined['detail']} ({attempts})"
        )
    if latest_scores:
        scores = latest_scores["scores"]
        values = ", ".join(f"{score:.3f}" for score in scores[:MAX_LISTED])
        more = (
            f" and {len(scores) - MAX_LISTED:,} more (--json)" if len(scores) > MAX_LISTED else ""
        )
        console.print(f"on the components of refit {latest_scores['refit_id']}: {values}{more}")
    if description["versions"]:
        columns = {"from": "from version", "until": "until", "committed": "committed"}
        columns |= {"content_hash": "content_hash", "length": "bytes"}
        versions = (
            {**v, "from": str(v["from"]), "until": str(v["until"] or "")}
            for v in description["versions"]
        )
        layout = TableLayout(shorten=("content_hash",), optional=("length", "content_hash"))
        console.print_table(columns, list(versions), layout)
    if description["refits"]:
        columns = {"refit_id": "refit", "features_version": "of version", "fitted": "fitted"}
        console.print_table(columns, description["refits"], TableLayout(optional=("fitted",)))
    else:
        console.print("not in any refit")
