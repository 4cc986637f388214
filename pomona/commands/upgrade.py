"""`pomona upgrade`: upgrade a lake to the current format."""

from __future__ import annotations

from pomona.options import GlueDatabase, Json, LakeArgument


def upgrade(lake: LakeArgument, glue_database: GlueDatabase = None, as_json: Json = False) -> None:
    """Upgrade a lake to the current format in place.

    Example: pomona upgrade ./lake
    """
    from batch_pca.refits.glue import check_database, register_tables
    from pomona.output.console import Console
    from streaming.lake.format_version import FORMAT
    from streaming.lake.layout import Lake
    from streaming.maintenance.upgrade import upgrade as upgrade_lake

    console = Console(as_json=as_json)
    at = Lake.at(lake)
    root = at.root
    if glue_database is not None:
        check_database(at, glue_database)
    with console.status("upgrading"):
        steps = upgrade_lake(lake)
        if glue_database is not None:
            register_tables(at, glue_database)
    if as_json:
        console.print_json({"lake": root, "format": FORMAT, "steps": steps})
    elif steps:
        for step in steps:
            console.print(f"done: {step}")
        console.print(f"{root} has format {FORMAT}; no row was changed")
    else:
        console.print(f"{root} has format {FORMAT} already: nothing to do")
