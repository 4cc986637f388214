"""`pomona history`: versions of the features, and the refits of each."""

from __future__ import annotations

from pomona.options import AsOf, Json, LakeArgument


def history(lake: LakeArgument, as_of: AsOf = None, as_json: Json = False) -> None:
    """List the versions of the features, with rows and refits.

    Example: pomona history ./lake
    """
    from pomona.output.console import Console
    from pomona.output.tables import TableLayout
    from pomona.queries.history import history as list_versions
    from pomona.queries.session import resolve_as_of

    console = Console(as_json=as_json)
    with console.status("reading the lake"):
        pinned = resolve_as_of(lake, as_of)
        rows = list_versions(lake, pinned)
    if pinned:
        console.print(f"as of     {pinned.description}")
    if as_json:
        console.print_json(rows)
        return
    keys = ("version", "committed", "operation", "added", "replaced", "removed", "total")
    columns = {key: key for key in keys} | {"images_per_second": "images/s", "refits": "refits"}
    if any(row["tags"] for row in rows):
        columns["tags"] = "tags"
    layout = TableLayout(
        wrap=("refits", "tags"),
        optional=(
            "images_per_second",
            "operation",
            "replaced",
            "removed",
            "added",
            "tags",
            "refits",
        ),
    )
    # Without a thousands separator, so that it can be copied to --as-of.
    console.print_table(columns, [row | {"version": str(row["version"])} for row in rows], layout)
