"""`pomona show`: a lake at a version, one image, or the lineage of a refit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pomona.options import AsOf, Json, LakeArgument
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
            found = describe_version(lake, as_of)
        elif refit_id:
            found = describe_refit(lake, refit_id)
        else:
            found = describe_image(lake, path, as_of)
    if as_json:
        console.print_json(found)
    elif path is None:
        _render_lake(console, found)
    elif refit_id:
        _render_refit(console, found)
    else:
        _render_image(console, found)


def _render_lake(console: Console, found: JsonObject) -> None:
    console.print(f"as of     {found['as_of']['resolved']}")
    console.print(f"rows      {found['rows']:,} in {len(found['labels']):,} labels")
    console.print(f"model     {found['model_id'] or 'none yet'}")
    for name in ("refits", "tags"):
        console.print(f"{name:<9} {', '.join(found[name]) or 'none'}")
    if found["labels"]:
        labels = [{"label": label, "rows": rows} for label, rows in found["labels"].items()]
        console.print_table({"label": "label", "rows": "rows"}, labels)


def _render_refit(console: Console, found: JsonObject) -> None:
    model = found["model"] or {}
    parameters = {name: value for name, value in found["parameters"].items() if value is not None}
    console.print(
        f"refit     {found['refit_id']} of {found['created_at']} by Pomona {found['pomona_version']}"
    )
    console.print(
        f"features  version {found['features_version']} of {found['features_timestamp']}, {found['rows']:,} rows"
    )
    console.print(
        f"fitted    {found['rows_fitted']:,} rows, {', '.join(f'{n} {v}' for n, v in parameters.items())}"
    )
    console.print(f"model     {found['model_id']}")
    console.print(
        f"weights   {model.get('weights', 'unknown')}, SHA-256 {model.get('weights_sha256', 'unknown')}"
    )
    console.print(f"drift     {found['drift_summary']}")
    console.print(f"folder    {found['folder']}")


def _render_image(console: Console, found: JsonObject) -> None:
    from pomona.output.console import MAX_LISTED

    console.print(f"as of     {found['as_of']['resolved']}")
    console.print(f"path      {found['path']}")
    row, quarantined, scores_of = found["row"], found["quarantine"], found["latest_scores"]
    for name, value in (row or {}).items():
        if name not in ("path", "features"):
            console.print(f"{name:<18} {value}")
    if row is None:
        console.print("no row in the features of this version")
    if quarantined:
        tries = (
            "1 attempt" if quarantined["attempts"] == 1 else f"{quarantined['attempts']} attempts"
        )
        console.print(f"in quarantine: {quarantined['reason']}: {quarantined['detail']} ({tries})")
    if scores_of:
        scores = scores_of["scores"]
        values = ", ".join(f"{score:.3f}" for score in scores[:MAX_LISTED])
        more = (
            f" and {len(scores) - MAX_LISTED:,} more (--json)" if len(scores) > MAX_LISTED else ""
        )
        console.print(f"on the components of refit {scores_of['refit_id']}: {values}{more}")
    if found["versions"]:
        columns = {"from": "from version", "until": "until", "committed": "committed"}
        columns |= {"content_hash": "content_hash", "length": "bytes"}
        versions = (
            {**v, "from": str(v["from"]), "until": str(v["until"] or "")} for v in found["versions"]
        )
        console.print_table(columns, list(versions))
    if found["refits"]:
        columns = {"refit_id": "refit", "features_version": "of version", "fitted": "fitted"}
        console.print_table(columns, found["refits"])
    else:
        console.print("not in any refit")
