"""`pomona cloud estimate` and `prices`: nodes, hours, storage and cost of a workload, with every step of the
calculation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pomona.options import Json
from streaming.errors import UsageError

if TYPE_CHECKING:
    from bootstrap.aws.request import Parameters
    from bootstrap.config.schema import ClusterConfig
    from bootstrap.cost.workload import Workload


_MOST = 10**15  # which a float holds exactly


def parse_count(text: str, option: str) -> int:
    """A whole number as people type it: ``10e6``, ``1_000_000`` or ``2,500,000``."""
    try:
        grouped = re.fullmatch(r"\d{1,3}(,\d{3})+", text)  # 1,5 is no 15
        number = float(text.replace(",", "") if grouped else text)
        if not 0 <= number <= _MOST or number != int(number):
            raise ValueError
    except ValueError as error:
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
    from pomona.cloud.session import translate_cloud_errors
    from pomona.output.console import Console

    images, a_day = parse_count(counts[0], "--images"), parse_count(counts[1], "--a-day")
    rate, cores, components, image_kb = sizes
    if cores is not None and cores < 1:
        raise UsageError(f"--cores {cores}: a node has 1 or more")
    with translate_cloud_errors():
        from bootstrap.config.loader import load_config, parse_config
        from bootstrap.cost.workload import IMAGES_PER_CORE_SECOND, Workload

        found_file = files[0] or ("cluster.toml" if Path("cluster.toml").is_file() else None)
        config = (
            load_config(found_file)
            if found_file
            else parse_config(b'name = "estimate"\nregion = "eu-west-1"\n')
        )
        load = Workload(
            images, a_day, IMAGES_PER_CORE_SECOND if rate is None else rate, components, image_kb
        )
        answer = _computed(load, config, cores, files[1])
        nodes = (
            f"nodes as in {found_file}" if found_file else "nodes as by default: no cluster.toml"
        )
        answer["notes"] = [nodes, *answer["notes"]]
        if files[1] is None:
            answer["notes"].append(
                "no money: --prices names a table of prices (`pomona cloud prices` prints one)"
            )
        screen = Console(as_json=as_json)
        if as_json:
            return screen.show(answer)
        for step in answer["steps"]:
            screen.line(_line(step))
        for note in answer["notes"]:
            screen.line(f"note: {note}")


@dataclass(frozen=True)
class WorkloadOptions:
    """A load and a table of prices as they were typed; None: not at all.

    Parameters
    ----------
    images, a_day, prices : str or None
    """

    images: str | None
    a_day: str | None
    prices: str | None


def compared(
    words: WorkloadOptions, before: ClusterConfig, after: ClusterConfig
) -> dict[str, Any] | None:
    """What a load comes to ``before`` a change and ``after`` it; None where no load was named.

    Raises
    ------
    UsageError, CloudError
        Where a number is none, or a price is missing.
    """
    from bootstrap.cost.workload import Workload

    if words.images is None and words.a_day is None:
        if words.prices is not None:
            raise UsageError(f"--prices {words.prices}: give --images or --a-day with it")
        return None
    images, a_day = words.images or "0", words.a_day or "0"
    load = Workload(parse_count(images, "--images"), parse_count(a_day, "--a-day"))
    return {
        "before": _computed(load, before, None, words.prices),
        "after": _computed(load, after, None, words.prices),
    }


def compared_lines(found: dict[str, Any] | None) -> Iterator[str]:
    """Each step of the arithmetic, twice where the change changes it; or how to see it."""
    if found is None:
        yield (
            "estimate: --images and --a-day show what a load takes before and after, "
            "--prices what it costs"
        )
        return
    yield "estimate:"
    for steps in zip(found["before"]["steps"], found["after"]["steps"], strict=True):
        before, after = map(_line, steps)
        if before == after:
            yield f"    {before}"
        else:
            yield f"    before: {before}"
            yield f"    after:  {after}"
    for when, answer in found.items():
        for note in answer["notes"]:
            yield f"    note, {when}: {note}"


def _computed(
    load: Workload, config: ClusterConfig, cores: int | None, prices_file: str | None
) -> dict[str, Any]:
    """All that an estimate tells, its steps among it."""
    from bootstrap.cost.estimate import estimate
    from bootstrap.cost.prices import Prices, cost

    found = estimate(load, config, cores)
    steps, money = found.steps, dict[str, Any]()
    if prices_file is not None:
        prices = Prices.read(prices_file)
        priced, sums = cost(found, load, config, prices)
        steps, money = [*steps, *priced], {"money": sums | {"currency": prices.currency}}
    return asdict(found) | {"steps": [asdict(step) for step in steps]} | money


def _line(step: dict[str, str]) -> str:
    return f"{step['what']}: {step['how']} = {step['result']}"


def estimate(
    images: Annotated[str, typer.Option(help="Images that are there, such as 10e6.")],
    a_day: Annotated[str, typer.Option(help="Images that arrive a day.")] = "0",
    file: Annotated[
        str | None,
        typer.Option("--file", "-f", help="The description (cluster.toml, where there is one)."),
    ] = None,
    prices: Annotated[
        str | None, typer.Option(help="A table of prices; without it no money is told.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(help="Images a second of one core (as BENCHMARKS.md has it).")
    ] = None,
    cores: Annotated[
        int | None, typer.Option(help="Cores of a node (by the name of its type).")
    ] = None,
    components: Annotated[int, typer.Option(help="Columns that a refit publishes.")] = 50,
    image_kb: Annotated[float | None, typer.Option(help="Mean size of an image, in kB.")] = None,
    as_json: Json = False,
) -> None:
    """Compute nodes, hours, storage and cost of a load, each step of the arithmetic shown.

    Example: pomona cloud estimate --images 10e6 --a-day 1e6
    """

    sizes = (rate, cores, components, image_kb)
    tell_estimate((images, a_day), sizes, (file, prices), as_json=as_json)


def prices() -> None:
    """Print an empty table of prices for `estimate`, to be filled in.

    Example: pomona cloud prices > prices.toml
    """
    from pomona.cloud.example import tell_example
    from pomona.output.console import Console

    tell_example("prices.example.toml", Console())


def compare_requests(
    load: WorkloadOptions, config: ClusterConfig, before: Parameters, after: Parameters
) -> dict[str, Any] | None:
    """What a load comes to on the cluster of one request and on that of another."""
    from bootstrap.deploy.overrides import config_from_request

    return compared(load, config_from_request(config, before), config_from_request(config, after))
