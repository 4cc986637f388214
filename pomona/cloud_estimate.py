"""`pomona cloud estimate`: nodes, hours, storage and, by a table of prices, money; each step told."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from pomona.cloud import told
from pomona.screen import Screen
from streaming.errors import UsageError


def parse_count(text: str, option: str) -> int:
    """A whole number as people type it: ``10e6``, ``1_000_000`` or ``2,500,000``."""
    try:
        number = float(text.replace(",", "").replace("_", ""))
        if number < 0 or number != int(number):
            raise ValueError
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{option} {text}: give a whole number, such as 10e6") from error
    return int(number)


def tell_estimate(
    counts: tuple[str, str],
    sizes: tuple[float | None, int | None, int, float | None],
    files: tuple[str | None, str | None],
    *,
    as_json: bool,
) -> None:
    """Tell what a load comes to.

    Parameters
    ----------
    counts : tuple of str
        Images that are there, and those that arrive a day, as typed.
    sizes : tuple
        Images a second of a core, cores of a node, components, kB of an image; None: by default.
    files : tuple of str or None
        The description and the table of prices.
    as_json : bool
    """
    images, a_day = parse_count(counts[0], "--images"), parse_count(counts[1], "--a-day")
    rate, cores, components, image_kb = sizes
    if cores is not None and cores < 1:
        raise UsageError(f"--cores {cores}: a node has 1 or more")
    with told():
        from bootstrap.description import parse_description, read_description
        from bootstrap.estimate import estimate, lines
        from bootstrap.load import RATE, Load
        from bootstrap.prices import Prices, cost

        found_file = files[0] or ("cluster.toml" if Path("cluster.toml").is_file() else None)
        description = (
            read_description(found_file)
            if found_file
            else parse_description(b'name = "estimate"\nregion = "eu-west-1"\n')
        )
        load = Load(images, a_day, RATE if rate is None else rate, components, image_kb)
        found = estimate(load, description, cores)
        steps, money = found.steps, None
        if files[1]:
            prices = Prices.read(files[1])
            priced, money = cost(found, load, description, prices)
            steps = [*steps, *priced]
        notes = [
            f"nodes as in {found_file}" if found_file else "nodes as by default: no cluster.toml"
        ]
        notes += found.notes
        if money is None:
            notes.append(
                "no money: --prices names a table of prices (`pomona cloud prices` prints one)"
            )
        answer = asdict(found) | {"steps": [asdict(step) for step in steps], "notes": notes}
        if money is not None:
            answer["money"] = money | {"currency": prices.currency}
    screen = Screen(as_json=as_json)
    if as_json:
        return screen.show(answer)
    for line in lines(steps):
        screen.line(line)
    for note in notes:
        screen.line(f"note: {note}")
