"""Estimate nodes, hours and storage of a workload, with every step of the calculation."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

from bootstrap.config.schema import ClusterConfig
from bootstrap.cost.workload import EXECUTOR_CORES, Workload, executor_count, vcpu_count

#: Bytes of a row of `features`: 1280 numbers of 4 bytes, about half of them 0, as Parquet.
ROW_BYTES = 4_000
#: Bytes of a number in a refit's vectors: 8 in the Parquet, about 20 in the CSV.
NUMBER_BYTES = 28
MONTH_DAYS, MONTH_HOURS, DAY_SECONDS = 30, 730, 86_400


@dataclass(frozen=True)
class Step:
    """One step: what, how it is computed, and what comes out."""

    what: str
    how: str
    result: str


@dataclass(frozen=True)
class Estimate:
    """The steps, and what later ones and a script take from them.

    Parameters
    ----------
    steps : list of Step
    nodes : int
        That run all the time; in a cluster, one primary node more.
    most_nodes : int
        That work on the images that are there.
    hours : float
        Until these are taken in.
    busy_hours_a_day : float
        For what arrives.
    storage_gb : float
        Once all that is there is taken in, with one refit.
    storage_gb_a_day : float
        That it grows by, with its refits.
    """

    steps: list[Step]
    nodes: int
    most_nodes: int
    hours: float
    busy_hours_a_day: float
    storage_gb: float
    storage_gb_a_day: float
    notes: list[str] = field(default_factory=list)


def estimate(workload: Workload, config: ClusterConfig, cores: int | None = None) -> Estimate:
    """Compute what a load needs on what a description describes.

    Parameters
    ----------
    load : Load
    description : Description
        Its nodes, limits and mode count.
    cores : int or None
        Of a node; None: by the name of the instance type, or 4 without nodes.

    Raises
    ------
    CloudError
        Where the numbers say nothing.
    """
    serverless = config.mode == "serverless"
    a_node = cores or (4 if serverless else vcpu_count(config.instances.type))
    start, most = config.instances.core, config.limits.nodes
    needed = _needed(workload, a_node)
    nodes = max(needed, 2 if serverless else start)
    work = _work(workload, most, a_node, nodes)
    steps = [*work.steps]
    stored, per_day = _storage(workload, refits_a_day(workload, config), steps)
    notes = [
        "cores of a node as if they were the measured machine's, and twice the cores twice as fast"
    ]
    if nodes > most:
        notes.append(f"limits.nodes is {most}: what arrives needs {nodes}")
    if "cron" in (config.schedule or ""):
        notes.append(f"{config.schedule} counts as one refit a day")
    if workload.image_kb is None:
        notes.append("the images themselves are not counted: --image-kb says how large one is")
    return Estimate(steps, nodes, most, work.hours, work.busy, stored, per_day, notes)


def _needed(workload: Workload, cores: int) -> int:
    """The fewest nodes that keep up with what arrives."""
    each = workload.rate * EXECUTOR_CORES * DAY_SECONDS
    executors_needed = math.ceil(workload.images_per_day / each)
    return (
        1
        if executors_needed <= 1
        else 1 + math.ceil(executors_needed / max(1, cores // EXECUTOR_CORES))
    )


@dataclass(frozen=True)
class _Work:
    steps: list[Step]
    hours: float
    busy: float


def _work(workload: Workload, most: int, cores: int, nodes: int) -> _Work:
    all_, steady = (EXECUTOR_CORES * executor_count(n, cores) for n in (most, nodes))
    fast, slow = workload.rate * all_, workload.rate * steady
    hours, busy = workload.images / fast / 3600, workload.images_per_day / slow / 3600
    less = f"* {cores} cores, less one node's for driver and refits"
    share = workload.images_per_day / (slow * DAY_SECONDS)
    steps = [
        Step("images a second of a core", "as measured, or as given", f"{workload.rate:g}"),
        Step("cores that ingest, at most", f"{most} nodes {less}", f"{all_}"),
        Step("images a second, at most", f"{workload.rate:g} * {all_}", f"{fast:,.0f}"),
        Step("all that is there", f"{workload.images:,} / {fast:,.0f} / 3,600", f"{hours:,.1f} hours"),
        Step("what arrives a second", f"{workload.images_per_day:,} / 86,400", f"{workload.images_per_day / DAY_SECONDS:,.1f}"),
        Step("nodes that stay", "core nodes, or as many as keep up", f"{nodes}"),
        Step("cores that ingest", f"{nodes} nodes {less}", f"{steady}"),
        Step("what arrives a day", f"{workload.images_per_day:,} / ({workload.rate:g} * {steady}) / 3,600", f"{busy:,.1f} hours"),
        Step("share of these cores", f"{workload.images_per_day:,} / ({workload.rate:g} * {steady} * 86,400)", f"{share:.0%}"),
    ]  # fmt: skip
    return _Work(steps, hours, busy)


def refits_a_day(workload: Workload, config: ClusterConfig) -> float:
    """Refits that are published a day: by the schedule, and none where nothing arrives; a ``cron`` counts as one."""
    found = re.fullmatch(r"rate\((\d+) (minute|hour|day)s?\)", config.schedule or "cron")
    if config.schedule is None or not workload.images_per_day:
        return 0.0
    if not found:
        return 1.0
    return {"minute": 1440.0, "hour": 24.0, "day": 1.0}[found[2]] / int(found[1])


def _storage(workload: Workload, refits: float, steps: list[Step]) -> tuple[float, float]:
    """GB when all is taken in, and those that a day adds; the steps are appended."""
    vector = workload.components * NUMBER_BYTES
    kinds = [("features", ROW_BYTES)]
    if workload.image_kb is not None:
        kinds.insert(0, ("images", int(workload.image_kb * 1000)))
    stored = per_day = 0.0
    sums: list[str] = []
    for what, size in kinds:
        there, more = workload.images * size / 1e9, workload.images_per_day * size / 1e9
        steps.append(Step(what, f"{workload.images:,} * {size:,} / 1e9", f"{there:,.1f} GB"))
        steps.append(Step(f"{what}, a day more", f"{workload.images_per_day:,} * {size:,} / 1e9", f"{more:,.1f} GB"))  # fmt: skip
        sums.append(f"{there:,.1f}")
        stored, per_day = stored + there, per_day + more
    refit = workload.images * vector / 1e9
    how = f"{workload.images:,} * {workload.components} * {NUMBER_BYTES} / 1e9"
    steps.append(
        Step("vectors of one refit, as Parquet and CSV; each is kept", how, f"{refit:,.1f} GB")
    )
    total = " + ".join([*sums, f"{refit:,.1f}"])
    steps.append(Step("all of it", total, f"{stored + refit:,.1f} GB"))
    grown = f"{per_day:,.1f} + {refits:g} * {refit:,.1f}"
    steps.append(Step("a day more, with its refits", grown, f"{per_day + refits * refit:,.1f} GB"))
    return stored + refit, per_day + refits * refit
