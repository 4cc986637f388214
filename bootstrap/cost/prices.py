"""A price table and the cost of an estimate; the user supplies the prices."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bootstrap.config.schema import ClusterConfig
from bootstrap.cost.estimate import MONTH_DAYS, MONTH_HOURS, Estimate, Requests, Step
from bootstrap.errors import CloudError

#: GB of a node's root volume, as configured for the cluster.
_ROOT_GB = 32
#: vCPUs and GB of the driver and of an executor of EMR Serverless, including memory overhead.
_DRIVER, _EXECUTOR = (2, 7), (4, 12)


@dataclass(frozen=True)
class Prices:
    """A price table; each price is validated when it is used.

    Parameters
    ----------
    path : str
        Shown in error messages.
    table : dict
        Parsed TOML.
    """

    path: str
    table: dict[str, Any]

    @classmethod
    def read(cls, path: str) -> Prices:
        """Read a TOML file, see `prices.example.toml`; raise CloudError if it cannot be read."""
        try:
            return cls(path, tomllib.loads(Path(path).read_text()))
        except OSError as error:
            raise CloudError(
                f"{path}: {(error.strerror or 'cannot be read').lower()}; "
                "specify a price table with --prices; `pomona cloud prices` prints an empty one"
            ) from error
        except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise CloudError(f"{path}: invalid TOML: {error}") from error

    @property
    def currency(self) -> str:
        """Currency of the prices."""
        currency = self.table.get("currency")
        if not isinstance(currency, str) or not currency.strip():
            raise CloudError(f'{self.path}: currency is {currency!r}; enter one, such as "USD"')
        return currency

    def price(self, *keys: str) -> float:
        """Return a price; raise CloudError if it is missing, empty, or not a number of 0 or more."""
        price: Any = self.table
        for key in keys:
            price = price.get(key) if isinstance(price, dict) else None
        is_number = isinstance(price, int | float) and not isinstance(price, bool)
        if not is_number or not 0 <= price < float("inf"):
            name = ".".join(f'"{key}"' if "." in key else key for key in keys)
            shown = "missing" if price is None else repr(price)
            raise CloudError(
                f"{self.path}: {name} is {shown}; enter a price, a number of 0 or more"
            )
        return float(price)


def cost(
    estimate: Estimate, config: ClusterConfig, prices: Prices
) -> tuple[list[Step], dict[str, float]]:
    """Compute the cost of an estimate, step by step.

    Returns
    -------
    list of Step
    dict of float
        ``one_time`` (existing images) and ``per_month`` (one month of new images), in the currency of the table.

    Raises
    ------
    CloudError
        If a required price is missing in the table.
    """
    currency = prices.currency
    serverless = config.mode == "serverless"
    hourly_price = _serverless_price if serverless else _cluster_price
    steps: list[Step] = []
    maximum = hourly_price(estimate.max_nodes, config, prices, steps)
    steady = hourly_price(estimate.nodes, config, prices, steps)
    stored_gb = estimate.storage_gb + estimate.storage_gb_per_day * MONTH_DAYS
    storage_price = prices.price("storage", "s3_gb_month")
    once = maximum * estimate.hours
    requests, once_requests = _requests_price(estimate.requests, prices)
    monthly_requests, month_requests = _requests_price(estimate.requests_per_month, prices)
    node_cost, storage = steady * MONTH_HOURS, stored_gb * storage_price
    parts = [
        ("existing images: nodes", f"{estimate.hours:,.3f} hours * {maximum:,.4f}", once),
        ("existing images: requests", requests, once_requests),
        ("existing images", f"{once:,.2f} + {once_requests:,.2f}", once + once_requests),
        ("per month: nodes", f"{MONTH_HOURS} hours * {steady:,.4f}", node_cost),
        ("per month: requests", monthly_requests, month_requests),
        (
            "per month: storage at the end",
            f"({estimate.storage_gb:,.1f} + {MONTH_DAYS} * {estimate.storage_gb_per_day:,.1f}) GB * {storage_price:g}",
            storage,
        ),
        (
            "per month",
            f"{node_cost:,.2f} + {month_requests:,.2f} + {storage:,.2f}",
            node_cost + month_requests + storage,
        ),
    ]
    steps += [
        Step(quantity, formula, f"{value:,.2f} {currency}") for quantity, formula, value in parts
    ]
    return steps, {
        "one_time": once + once_requests,
        "per_month": node_cost + month_requests + storage,
    }


def _requests_price(requests: Requests, prices: Prices) -> tuple[str, float]:
    """Return the formula and the price of requests to S3."""
    read = prices.price("requests", "get_1000")
    listing = prices.price("requests", "list_1000")
    formula = f"({requests.reads:,} * {read:g} + {requests.lists:,} * {listing:g}) / 1,000"
    return formula, (requests.reads * read + requests.lists * listing) / 1000


def _cluster_price(nodes: int, config: ClusterConfig, prices: Prices, steps: list[Step]) -> float:
    """Return the price of a cluster per hour, all On-Demand, of the most expensive of its types."""
    disk_gb = config.instances.disk_gb + _ROOT_GB
    table = {
        one: tuple(prices.price("instances", one, key) for key in ("ec2_hour", "emr_hour"))
        for one in config.instance_types
    }
    instance_type, (ec2, emr) = max(table.items(), key=lambda item: sum(item[1]))
    disk = disk_gb * prices.price("storage", "ebs_gb_month") / MONTH_HOURS
    value = (1 + nodes) * (ec2 + emr + disk)
    formula = f"(1 primary + {nodes}) * ({ec2:g} EC2 + {emr:g} EMR + {disk:.4f} for {disk_gb} GB)"
    steps.append(
        Step(
            f"per hour: {nodes} nodes {instance_type}, On-Demand",
            formula,
            f"{value:,.4f} {prices.currency}",
        )
    )
    return value


def _serverless_price(
    nodes: int, config: ClusterConfig, prices: Prices, steps: list[Step]
) -> float:
    """Return the price of a driver and its executors per hour: one executor per node that is not reserved."""
    executors = max(1, nodes - config.reserved_nodes)
    cores, memory = _DRIVER[0] + executors * _EXECUTOR[0], _DRIVER[1] + executors * _EXECUTOR[1]
    core, gb = prices.price("serverless", "vcpu_hour"), prices.price("serverless", "gb_hour")
    value = cores * core + memory * gb
    formula = f"{cores} vCPU * {core:g} + {memory} GB * {gb:g}"
    quantity = f"per hour: a driver and {executors} {'executor' if executors == 1 else 'executors'}, without refits"
    steps.append(Step(quantity, formula, f"{value:,.4f} {prices.currency}"))
    return value
