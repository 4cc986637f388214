"""Estimate nodes, hours and storage of a workload, with every step of the calculation."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

from bootstrap.config.schema import ClusterConfig
from bootstrap.cost.workload import EXECUTOR_CORES, Workload, executor_count, vcpu_count

#: Bytes per row of `features` in Parquet: 1280 float32, about half of them 0.
ROW_BYTES = 4_000
#: Bytes per number in a refit's vectors: 8 in Parquet, about 20 in CSV.
NUMBER_BYTES = 28
MONTH_DAYS, MONTH_HOURS, DAY_SECONDS = 30, 730, 86_400


@dataclass(frozen=True)
class Step:
    """A step of the calculation: quantity, formula and result."""

    what: str
    how: str
    result: str


@dataclass(frozen=True)
class Estimate:
    """Result of an estimate.

    Parameters
    ----------
    steps : list of Step
    nodes : int
        Nodes that run all the time, without the primary node.
    most_nodes : int
        Nodes that ingest the existing images.
    hours : float
        Time to ingest the existing images.
    busy_hours_a_day : float
        Ingestion time per day for new images.
    storage_gb : float
        Storage after ingesting the existing images, with one refit.
    storage_gb_a_day : float
        Growth per day, with refits.
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
    """Estimate nodes, hours and storage of a workload.

    Parameters
    ----------
    workload : Workload
    config : ClusterConfig
        Nodes, limits, mode and schedule are used.
    cores : int or None
        Cores per node; None: derived from the instance type, or 4 with EMR Serverless.

    Raises
    ------
    CloudError
        If the number of cores cannot be derived.
    """
    serverless = config.mode == "serverless"
    node_cores = cores or (4 if serverless else vcpu_count(config.instances.type))
    start, most = config.instances.core, config.limits.nodes
    needed = _needed(workload, node_cores)
    nodes = max(needed, 2 if serverless else start)
    work = _work(workload, most, node_cores, nodes)
    steps = [*work.steps]
    stored, per_day = _storage(workload, refits_a_day(workload, config), steps)
    notes = ["assumes cores as fast as the measured ones, and throughput proportional to cores"]
    if nodes > most:
        notes.append(f"limits.nodes is {most}: new images need {nodes}")
    if "cron" in (config.schedule or ""):
        notes.append(f"{config.schedule} counts as one refit a day")
    if workload.image_kb is None:
        notes.append("storage excludes the images: give their mean size with --image-kb")
    return Estimate(steps, nodes, most, work.hours, work.busy, stored, per_day, notes)


def _needed(workload: Workload, cores: int) -> int:
    """Return the minimum number of nodes that keep up with new images."""
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
    formula = f"* {cores} cores, without one node for driver and refits"
    arriving = workload.images_per_day
    share = arriving / (slow * DAY_SECONDS)
    steps = [
        Step("images per second and core", "measured, or --rate", f"{workload.rate:g}"),
        Step("ingestion cores, maximum", f"{most} nodes {formula}", f"{all_}"),
        Step("images per second, maximum", f"{workload.rate:g} * {all_}", f"{fast:,.0f}"),
        Step("existing images", f"{workload.images:,} / {fast:,.0f} / 3,600", f"{hours:,.1f} hours"),
        Step("new images per second", f"{arriving:,} / 86,400", f"{arriving / DAY_SECONDS:,.1f}"),
        Step("permanent nodes", "core nodes, or as many as new images need", f"{nodes}"),
        Step("ingestion cores", f"{nodes} nodes {formula}", f"{steady}"),
        Step("ingestion time per day", f"{arriving:,} / ({workload.rate:g} * {steady}) / 3,600", f"{busy:,.1f} hours"),
        Step("utilization of these cores", f"{arriving:,} / ({workload.rate:g} * {steady} * 86,400)", f"{share:.0%}"),
    ]  # fmt: skip
    return _Work(steps, hours, busy)


def refits_a_day(workload: Workload, config: ClusterConfig) -> float:
    """Return the refits per day: by the schedule, 0 without new images; a ``cron`` schedule counts as one."""
    found = re.fullmatch(r"rate\((\d+) (minute|hour|day)s?\)", config.schedule or "cron")
    if config.schedule is None or not workload.images_per_day:
        return 0.0
    if not found:
        return 1.0
    return {"minute": 1440.0, "hour": 24.0, "day": 1.0}[found[2]] / int(found[1])


def _storage(workload: Workload, refits: float, steps: list[Step]) -> tuple[float, float]:
    """Return the GB after ingesting the existing images and the GB added per day; append the steps."""
    vector = workload.components * NUMBER_BYTES
    kinds = [("features", ROW_BYTES)]
    if workload.image_kb is not None:
        kinds.insert(0, ("images", int(workload.image_kb * 1000)))
    stored = per_day = 0.0
    sums: list[str] = []
    for what, size in kinds:
        there, more = workload.images * size / 1e9, workload.images_per_day * size / 1e9
        steps.append(Step(what, f"{workload.images:,} * {size:,} / 1e9", f"{there:,.1f} GB"))
        how = f"{workload.images_per_day:,} * {size:,} / 1e9"
        steps.append(Step(f"{what}, added per day", how, f"{more:,.1f} GB"))
        sums.append(f"{there:,.1f}")
        stored, per_day = stored + there, per_day + more
    refit = workload.images * vector / 1e9
    how = f"{workload.images:,} * {workload.components} * {NUMBER_BYTES} / 1e9"
    steps.append(
        Step("vectors of one refit, Parquet and CSV; all refits are kept", how, f"{refit:,.1f} GB")
    )
    total = " + ".join([*sums, f"{refit:,.1f}"])
    steps.append(Step("total", total, f"{stored + refit:,.1f} GB"))
    grown = f"{per_day:,.1f} + {refits:g} * {refit:,.1f}"
    steps.append(Step("added per day, with refits", grown, f"{per_day + refits * refit:,.1f} GB"))
    return stored + refit, per_day + refits * refit
