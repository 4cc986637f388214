"""A price table and the cost of an estimate; the user supplies the prices."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bootstrap.config.schema import ClusterConfig
from bootstrap.cost.estimate import MONTH_DAYS, MONTH_HOURS, Estimate, Step
from bootstrap.cost.workload import Workload
from bootstrap.errors import CloudError

#: GB of a node's root disk, as the cluster is asked for.
_ROOT_GB = 32
#: Virtual cores and GB of the driver and of an executor of EMR Serverless, its overhead included.
_DRIVER, _EXECUTOR = (2, 7), (4, 12)


@dataclass(frozen=True)
class Prices:
    """A file of prices; a price is asked for when it is needed.

    Parameters
    ----------
    path : str
        What errors call it.
    table : dict
        As read from TOML.
    """

    path: str
    table: dict[str, Any]

    @classmethod
    def read(cls, path: str) -> Prices:
        """Read a file of TOML, see `prices.example.toml`; CloudError where there is none."""
        try:
            return cls(path, tomllib.loads(Path(path).read_text()))
        except OSError as error:
            raise CloudError(
                f"{path}: {(error.strerror or 'cannot be read').lower()}; "
                "--prices names a table of prices, and `pomona cloud prices` prints an empty one"
            ) from error
        except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise CloudError(f"{path}: no TOML: {error}") from error

    @property
    def currency(self) -> str:
        """What the prices are in."""
        found = self.table.get("currency")
        if not isinstance(found, str) or not found.strip():
            raise CloudError(f'{self.path}: currency is {found!r}; write one, such as "USD"')
        return found

    def price(self, *keys: str) -> float:
        """One price; CloudError where it is missing, empty or no number of 0 or more."""
        found: Any = self.table
        for key in keys:
            found = found.get(key) if isinstance(found, dict) else None
        number = isinstance(found, int | float) and not isinstance(found, bool)
        if not number or not 0 <= found < float("inf"):
            called = ".".join(f'"{key}"' if "." in key else key for key in keys)
            shown = "missing" if found is None else repr(found)
            raise CloudError(
                f"{self.path}: {called} is {shown}; write a price, a number of 0 or more"
            )
        return float(found)


def cost(
    found: Estimate, workload: Workload, config: ClusterConfig, prices: Prices
) -> tuple[list[Step], dict[str, float]]:
    """What an estimate costs, step by step.

    Returns
    -------
    list of Step
    dict of float
        ``once`` (all that is there) and ``month`` (a month of what arrives), in the table's currency.

    Raises
    ------
    CloudError
        Where a price that is needed is not in the table.
    """
    unit = prices.currency
    serverless = config.mode == "serverless"
    hour = _serverless_hour if serverless else _cluster_hour
    steps: list[Step] = []
    most = hour(found.most_nodes, config, prices, steps)
    steady = hour(found.nodes, config, prices, steps)
    images_kept = found.storage_gb + found.storage_gb_a_day * MONTH_DAYS
    storage_price, get_price = (
        prices.price("storage", "s3_gb_month"),
        prices.price("requests", "get_1000"),
    )
    once = most * found.hours
    gets = workload.images / 1000 * get_price
    work, storage = steady * MONTH_HOURS, images_kept * storage_price
    month_gets = workload.images_per_day * MONTH_DAYS / 1000 * get_price
    parts = [
        ("all that is there: nodes", f"{found.hours:,.3f} hours * {most:,.4f}", once),
        ("all that is there: reading", f"{workload.images:,} / 1,000 * {get_price:g}", gets),
        ("all that is there", f"{once:,.2f} + {gets:,.2f}", once + gets),
        ("a month: nodes", f"{MONTH_HOURS} hours * {steady:,.4f}", work),
        (
            "a month: reading",
            f"{workload.images_per_day:,} * {MONTH_DAYS} / 1,000 * {get_price:g}",
            month_gets,
        ),
        (
            "a month: storage at its end",
            f"({found.storage_gb:,.1f} + {MONTH_DAYS} * {found.storage_gb_a_day:,.1f}) GB * {storage_price:g}",
            storage,
        ),
        (
            "a month",
            f"{work:,.2f} + {month_gets:,.2f} + {storage:,.2f}",
            work + month_gets + storage,
        ),
    ]
    steps += [Step(what, how, f"{value:,.2f} {unit}") for what, how, value in parts]
    return steps, {"once": once + gets, "month": work + month_gets + storage}


def _cluster_hour(nodes: int, d: ClusterConfig, prices: Prices, steps: list[Step]) -> float:
    """Price of an hour of a cluster, all of it on demand."""
    kind = d.instances.type
    ec2, emr = (prices.price("instances", kind, key) for key in ("ec2_hour", "emr_hour"))
    disk = (d.instances.disk_gb + _ROOT_GB) * prices.price("storage", "ebs_gb_month") / MONTH_HOURS
    value = (1 + nodes) * (ec2 + emr + disk)
    how = f"(1 primary + {nodes}) * ({ec2:g} EC2 + {emr:g} EMR + {disk:.4f} for {d.instances.disk_gb + _ROOT_GB} GB)"
    steps.append(
        Step(f"an hour of {nodes} nodes {kind} on demand", how, f"{value:,.4f} {prices.currency}")
    )
    return value


def _serverless_hour(nodes: int, _d: ClusterConfig, prices: Prices, steps: list[Step]) -> float:
    """Price of an hour of a driver and its executors, one in place of each node but the driver's."""
    many = max(1, nodes - 1)
    cores, memory = _DRIVER[0] + many * _EXECUTOR[0], _DRIVER[1] + many * _EXECUTOR[1]
    core, gb = prices.price("serverless", "vcpu_hour"), prices.price("serverless", "gb_hour")
    value = cores * core + memory * gb
    how = f"{cores} vCPU * {core:g} + {memory} GB * {gb:g}"
    steps.append(Step(f"an hour of a driver and {many} executors", how, f"{value:,.4f} {prices.currency}"))  # fmt: skip
    return value
