"""Estimate nodes, hours and storage of a workload, and list each step of the calculation."""

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
#: Requests to S3 per image: Spark's file source sends a LIST and two HEAD before the worker sends a GET.
READS_PER_IMAGE, LISTS_PER_IMAGE = 3, 1
#: Keys that S3 returns per LIST request.
KEYS_PER_LIST = 1000
#: Sweeps of a stream per hour; each lists all images.
SWEEPS_PER_HOUR = 6


@dataclass(frozen=True)
class Requests:
    """Numbers of requests to S3.

    Parameters
    ----------
    reads : int
        GET and HEAD requests.
    lists : int
        LIST requests.
    """

    reads: int
    lists: int


@dataclass(frozen=True)
class Step:
    """A step of the calculation: quantity, formula and result."""

    quantity: str
    formula: str
    result: str


@dataclass(frozen=True)
class Estimate:
    """Result of an estimate.

    Parameters
    ----------
    steps : list of Step
    nodes : int
        Nodes that run all the time, without the primary node.
    max_nodes : int
        Maximum number of nodes, which ingest the existing images.
    hours : float
        Time to ingest the existing images.
    hours_per_day : float
        Ingestion time per day for new images.
    storage_gb : float
        Storage after ingesting the existing images, with one refit.
    storage_gb_per_day : float
        Growth per day, with refits.
    requests : Requests
        Requests to ingest the existing images.
    requests_per_month : Requests
        Maximum of a month with new images: the listings of a stream start at each trigger.
    """

    steps: list[Step]
    nodes: int
    max_nodes: int
    hours: float
    hours_per_day: float
    storage_gb: float
    storage_gb_per_day: float
    requests: Requests
    requests_per_month: Requests
    notes: list[str] = field(default_factory=list)


def estimate(workload: Workload, config: ClusterConfig, cores: int | None = None) -> Estimate:
    """Estimate nodes, hours and storage of a workload.

    Parameters
    ----------
    workload : Workload
    config : ClusterConfig
        Nodes, limits, mode and schedule are used.
    cores : int or None
        Cores per node; None: derived from the instance type, the smallest of several, or 4 with EMR Serverless.

    Raises
    ------
    CloudError
        If the number of cores cannot be derived.
    """
    serverless = config.mode == "serverless"
    node_cores = cores or (4 if serverless else min(map(vcpu_count, config.instance_types)))
    maximum = config.limits.nodes
    reserved = config.reserved_nodes
    initial = 1 + reserved if serverless else config.instances.core
    nodes = max(_required_nodes(workload, node_cores, reserved), initial)
    ingestion = _estimate_ingestion(workload, maximum, node_cores, nodes, reserved)
    steps = [*ingestion.steps]
    stored, per_day = _estimate_storage(workload, refits_per_day(workload, config), steps)
    requests, per_month = _estimate_requests(workload, config, steps)
    notes = ["assumes cores as fast as the measured ones, and throughput proportional to cores"]
    if nodes > maximum:
        notes.append(f"limits.nodes is {maximum}: new images need {nodes}")
    if "cron" in (config.schedule or ""):
        notes.append(f"{config.schedule} counts as one refit a day")
    if config.is_streaming:
        notes.append("S3 bills LIST requests: a longer ingest.trigger_seconds needs fewer")
    if workload.image_kb is None:
        notes.append("storage excludes the images: give their mean size with --image-kb")
    return Estimate(
        steps=steps,
        nodes=nodes,
        max_nodes=maximum,
        hours=ingestion.hours,
        hours_per_day=ingestion.hours_per_day,
        storage_gb=stored,
        storage_gb_per_day=per_day,
        requests=requests,
        requests_per_month=per_month,
        notes=notes,
    )


def _required_nodes(workload: Workload, cores: int, reserved: int) -> int:
    """Return the minimum number of nodes that keep up with new images."""
    images_per_executor = workload.rate * EXECUTOR_CORES * DAY_SECONDS
    executors = math.ceil(workload.images_per_day / images_per_executor)
    if executors <= 1:
        return 1
    return reserved + math.ceil(executors / max(1, cores // EXECUTOR_CORES))


@dataclass(frozen=True)
class _Ingestion:
    """Ingestion time of the existing images and of a day's new images, in hours."""

    steps: list[Step]
    hours: float
    hours_per_day: float


def _estimate_ingestion(
    workload: Workload, maximum: int, cores: int, nodes: int, reserved: int
) -> _Ingestion:
    """Estimate ingestion with the maximum number of nodes (existing images) and with `nodes` (new images)."""
    max_cores, steady_cores = (
        EXECUTOR_CORES * executor_count(n, cores, reserved) for n in (maximum, nodes)
    )
    max_rate, steady_rate = workload.rate * max_cores, workload.rate * steady_cores
    hours, hours_per_day = (
        workload.images / max_rate / 3600,
        workload.images_per_day / steady_rate / 3600,
    )
    unit = "node" if reserved == 1 else "nodes"
    formula = f"* {cores} cores, without {reserved} {unit} for driver and refits"
    new_images = workload.images_per_day
    steady = f"{workload.rate:g} * {steady_cores}"
    utilization = new_images / (steady_rate * DAY_SECONDS)
    steps = [
        Step("images per second and core", "measured, or --rate", f"{workload.rate:g}"),
        Step("ingestion cores, maximum", f"{maximum} nodes {formula}", f"{max_cores}"),
        Step("images per second, maximum", f"{workload.rate:g} * {max_cores}", f"{max_rate:,.0f}"),
        Step("existing images", f"{workload.images:,} / {max_rate:,.0f} / 3,600", f"{hours:,.1f} hours"),
        Step("new images per second", f"{new_images:,} / 86,400", f"{new_images / DAY_SECONDS:,.1f}"),
        Step("permanent nodes", "core nodes, or as many as new images need", f"{nodes}"),
        Step("ingestion cores", f"{nodes} nodes {formula}", f"{steady_cores}"),
        Step("ingestion time per day", f"{new_images:,} / ({steady}) / 3,600", f"{hours_per_day:,.1f} hours"),
        Step("utilization of these cores", f"{new_images:,} / ({steady} * 86,400)", f"{utilization:.0%}"),
    ]  # fmt: skip
    return _Ingestion(steps, hours, hours_per_day)


def refits_per_day(workload: Workload, config: ClusterConfig) -> float:
    """Return the refits per day: by the schedule, 0 without new images; a ``cron`` schedule counts as one."""
    match = re.fullmatch(r"rate\((\d+) (minute|hour|day)s?\)", config.schedule or "cron")
    if config.schedule is None or not workload.images_per_day:
        return 0.0
    if not match:
        return 1.0
    return {"minute": 1440.0, "hour": 24.0, "day": 1.0}[match[2]] / int(match[1])


def _estimate_storage(workload: Workload, refits: float, steps: list[Step]) -> tuple[float, float]:
    """Return the GB after ingesting the existing images and the GB added per day; append the steps."""
    vector = workload.components * NUMBER_BYTES
    item_sizes = [("features", ROW_BYTES)]
    if workload.image_kb is not None:
        item_sizes.insert(0, ("images", int(workload.image_kb * 1000)))
    stored = per_day = 0.0
    terms: list[str] = []
    for name, size in item_sizes:
        existing, new = workload.images * size / 1e9, workload.images_per_day * size / 1e9
        steps.append(Step(name, f"{workload.images:,} * {size:,} / 1e9", f"{existing:,.1f} GB"))
        formula = f"{workload.images_per_day:,} * {size:,} / 1e9"
        steps.append(Step(f"{name}, added per day", formula, f"{new:,.1f} GB"))
        terms.append(f"{existing:,.1f}")
        stored, per_day = stored + existing, per_day + new
    refit = workload.images * vector / 1e9
    formula = f"{workload.images:,} * {workload.components} * {NUMBER_BYTES} / 1e9"
    steps.append(
        Step(
            "vectors of one refit, Parquet and CSV; all refits are kept",
            formula,
            f"{refit:,.1f} GB",
        )
    )
    total = " + ".join([*terms, f"{refit:,.1f}"])
    steps.append(Step("total", total, f"{stored + refit:,.1f} GB"))
    growth = f"{per_day:,.1f} + {refits:g} * {refit:,.1f}"
    steps.append(Step("added per day, with refits", growth, f"{per_day + refits * refit:,.1f} GB"))
    return stored + refit, per_day + refits * refit


def _estimate_requests(
    workload: Workload, config: ClusterConfig, steps: list[Step]
) -> tuple[Requests, Requests]:
    """Return the requests for the existing images, and the maximum of a month; append the steps."""
    new = workload.images_per_day * MONTH_DAYS
    images = workload.images + new
    listings = 0
    if config.is_streaming:
        trigger = config.ingest.trigger_seconds
        listings = MONTH_HOURS * 3600 // trigger + MONTH_HOURS * SWEEPS_PER_HOUR
        steps.append(
            Step(
                f"listings per month, a trigger each {trigger} s and sweeps",
                f"{MONTH_HOURS} * 3,600 / {trigger} + {MONTH_HOURS} * {SWEEPS_PER_HOUR}",
                f"{listings:,}",
            )
        )
    pages = math.ceil(images / KEYS_PER_LIST)
    lists = listings * pages + new * LISTS_PER_IMAGE
    steps += [
        Step("LIST requests per listing, a month later", f"{images:,} / 1,000", f"{pages:,}"),
        Step(
            "LIST requests per month, at most",
            f"{listings:,} * {pages:,} + {new:,} * {LISTS_PER_IMAGE}",
            f"{lists:,}",
        ),
    ]
    return (
        Requests(workload.images * READS_PER_IMAGE, workload.images * LISTS_PER_IMAGE),
        Requests(new * READS_PER_IMAGE, lists),
    )
