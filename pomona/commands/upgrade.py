"""`pomona upgrade`: upgrade a lake to the current format."""

from __future__ import annotations

from pomona.options import Json, LakeArgument


def upgrade_and_tell(location: str, *, as_json: bool) -> None:
    """Upgrade, and say what that was."""
    from pomona.output.console import Console
    from streaming.lake.format_version import FORMAT
    from streaming.lake.layout import Lake
    from streaming.maintenance.upgrade import upgrade

    screen = Console(as_json=as_json)
    root = Lake.at(location).root
    with screen.working("upgrading"):
        done = upgrade(location)
    if as_json:
        screen.show({"lake": root, "format": FORMAT, "done": done})
    elif done:
        for step in done:
            screen.line(f"added {step}")
        screen.line(f"{root} has format {FORMAT}; no row was changed")
    else:
        screen.line(f"{root} has format {FORMAT} already: nothing to do")


def upgrade(lake: LakeArgument, as_json: Json = False) -> None:
    """Upgrade a lake to the current format in place.

    Example: pomona upgrade ./lake
    """

    upgrade_and_tell(lake, as_json=as_json)
