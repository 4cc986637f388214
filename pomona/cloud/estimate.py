"""`pomona cloud estimate`: nodes, hours, storage and cost of a workload, with every step of the calculation."""

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


_MAX_COUNT = 10**15  # still exact as a float
_DEFAULT_FILE = "cluster.toml"


def estimate(
    images: Annotated[str, typer.Option(help="Existing images, such as 10e6.")],
    a_day: Annotated[str, typer.Option(help="New images per day.")] = "0",
    file: Annotated[
        str | None,
        typer.Option("--file", "-f", help="Configuration file (cluster.toml, if it exists)."),
    ] = None,
    prices: Annotated[
        str | None, typer.Option(help="Price table; without it no cost is computed.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(help="Images per second and core (see BENCHMARKS.md).")
    ] = None,
    cores: Annotated[
        int | None, typer.Option(help="Cores per node (derived from the instance type).")
    ] = None,
    components: Annotated[int, typer.Option(help="Columns that a refit publishes.")] = 50,
    image_kb: Annotated[float | None, typer.Option(help="Mean image size in kB.")] = None,
    as_json: Json = False,
) -> None:
    """Estimate nodes, hours, storage and cost.

    Every step of the calculation is shown.

    Example: pomona cloud estimate --images 10e6 --a-day 1e6
    """
    from pomona.cloud.session import translate_cloud_errors
    from pomona.output.console import Console

    existing, per_day = parse_count(images, "--images"), parse_count(a_day, "--a-day")
    if cores is not None and cores < 1:
        raise UsageError(f"--cores {cores}: it must be 1 or more")
    with translate_cloud_errors():
        from bootstrap.config.loader import load_config, parse_config
        from bootstrap.cost.workload import IMAGES_PER_CORE_SECOND, Workload

        found_file = file or (_DEFAULT_FILE if Path(_DEFAULT_FILE).is_file() else None)
        config = (
            load_config(found_file)
            if found_file
            else parse_config(b'name = "estimate"\nregion = "eu-west-1"\n')
        )
        workload = Workload(
            images=existing,
            images_per_day=per_day,
            rate=IMAGES_PER_CORE_SECOND if rate is None else rate,
            components=components,
            image_kb=image_kb,
        )
        result = _estimate(workload, config, cores=cores, prices_file=prices)
    nodes = f"nodes as in {found_file}" if found_file else "default nodes: there is no cluster.toml"
    result["notes"] = [nodes, *result["notes"]]
    if prices is None:
        result["notes"].append(
            "no cost: specify a price table with --prices (`pomona cloud prices` prints one)"
        )
    console = Console(as_json=as_json)
    if as_json:
        return console.print_json(result)
    for step in result["steps"]:
        console.print(_step_line(step))
    for note in result["notes"]:
        console.print(f"note: {note}")


def parse_count(text: str, option: str) -> int:
    """Parse a whole number such as ``10e6``, ``1_000_000`` or ``2,500,000``.

    Raises
    ------
    UsageError
        If the text is not a whole number of 0 to 10**15.
    """
    try:
        grouped = re.fullmatch(r"\d{1,3}(,\d{3})+", text)  # 1,5 is not 15
        number = float(text.replace(",", "") if grouped else text)
        if not 0 <= number <= _MAX_COUNT or number != int(number):
            raise ValueError
    except ValueError as error:
        raise UsageError(f"{option} {text}: give a whole number, such as 10e6") from error
    return int(number)


@dataclass(frozen=True)
class WorkloadOptions:
    """Command-line options of a workload and of a price table; None: not given."""

    images: str | None
    images_per_day: str | None
    prices: str | None


def compare_requests(
    options: WorkloadOptions, config: ClusterConfig, before: Parameters, after: Parameters
) -> dict[str, Any] | None:
    """Return the estimates for the clusters of two requests: ``before`` and ``after``.

    Returns
    -------
    dict or None
        None if the options name no workload.

    Raises
    ------
    UsageError, CloudError
        If an option is no number, or a price is missing.
    """
    from bootstrap.cost.workload import Workload
    from bootstrap.deploy.overrides import config_from_request

    if options.images is None and options.images_per_day is None:
        if options.prices is not None:
            raise UsageError(f"--prices {options.prices}: give --images or --a-day with it")
        return None
    workload = Workload(
        images=parse_count(options.images or "0", "--images"),
        images_per_day=parse_count(options.images_per_day or "0", "--a-day"),
    )
    return {
        name: _estimate(workload, config_from_request(config, request), prices_file=options.prices)
        for name, request in (("before", before), ("after", after))
    }


def comparison_lines(estimates: dict[str, Any] | None) -> Iterator[str]:
    """Yield each step once, or twice if it differs; without estimates, one line on how to get them."""
    if estimates is None:
        yield (
            "estimate: --images and --a-day show the workload before and after, "
            "--prices adds its cost"
        )
        return
    yield "estimate:"
    for steps in zip(estimates["before"]["steps"], estimates["after"]["steps"], strict=True):
        before, after = map(_step_line, steps)
        if before == after:
            yield f"    {before}"
        else:
            yield f"    before: {before}"
            yield f"    after:  {after}"
    for name, result in estimates.items():
        for note in result["notes"]:
            yield f"    note, {name}: {note}"


def _estimate(
    workload: Workload,
    config: ClusterConfig,
    *,
    cores: int | None = None,
    prices_file: str | None = None,
) -> dict[str, Any]:
    """Return an estimate as a JSON document; with a price table, it contains ``cost``."""
    from bootstrap.cost.estimate import estimate
    from bootstrap.cost.prices import Prices, cost

    result = estimate(workload, config, cores)
    steps, total = result.steps, dict[str, Any]()
    if prices_file is not None:
        prices = Prices.read(prices_file)
        cost_steps, sums = cost(result, config, prices)
        steps = [*steps, *cost_steps]
        total = {"cost": sums | {"currency": prices.currency}}
    return asdict(result) | {"steps": [asdict(step) for step in steps]} | total


def _step_line(step: dict[str, str]) -> str:
    return f"{step['quantity']}: {step['formula']} = {step['result']}"
