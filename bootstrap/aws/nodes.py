"""The nodes that a RunJobFlow request starts, whether it has instance groups or instance fleets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Nodes:
    """Nodes of one role.

    Parameters
    ----------
    name : str
    role : str
        ``MASTER``, ``CORE`` or ``TASK``.
    types : tuple of str
        Instance types; EMR chooses among several.
    on_demand, spot : int
        Number of nodes by market.
    """

    name: str
    role: str
    types: tuple[str, ...]
    on_demand: int
    spot: int

    @property
    def count(self) -> int:
        """Number of nodes of both markets."""
        return self.on_demand + self.spot


def nodes_of(request: Mapping[str, Any], *roles: str) -> list[Nodes]:
    """Return the nodes of a request, those of the given roles or all; a unit of a fleet counts as a node."""
    instances = request.get("Instances", {})
    found = [*map(_of_group, instances.get("InstanceGroups", ()))]
    found += [*map(_of_fleet, instances.get("InstanceFleets", ()))]
    return [one for one in found if not roles or one.role in roles]


def node_count(request: Mapping[str, Any], role: str) -> int:
    """Return the number of nodes of a role, ``MASTER``, ``CORE`` or ``TASK``, in a request."""
    return sum(one.count for one in nodes_of(request, role))


def capacity(request: Mapping[str, Any], *roles: str) -> tuple[int, int]:
    """Return the numbers of On-Demand and Spot nodes of these roles in a request."""
    nodes = nodes_of(request, *roles)
    return sum(one.on_demand for one in nodes), sum(one.spot for one in nodes)


def added_nodes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Nodes]:
    """Return the nodes that a changed request starts in addition, by group or fleet and by market."""
    existing, added = {(one.role, one.name): one for one in nodes_of(before)}, []
    for one in nodes_of(after):
        old = existing.get((one.role, one.name))
        on_demand = max(one.on_demand - (old.on_demand if old else 0), 0)
        spot = max(one.spot - (old.spot if old else 0), 0)
        if on_demand or spot:
            added.append(replace(one, on_demand=on_demand, spot=spot))
    return added


def describe_nodes(nodes: Iterable[Nodes]) -> str:
    """Describe nodes, such as ``1 primary m5.xlarge (ON_DEMAND), 2 core m5.xlarge (ON_DEMAND)``."""
    return ", ".join(
        f"{count} {one.name} {' or '.join(one.types)} ({market})"
        for one in nodes
        for market, count in (("ON_DEMAND", one.on_demand), ("SPOT", one.spot))
        if count
    )


def _of_group(group: Mapping[str, Any]) -> Nodes:
    role, count = group["InstanceRole"], int(group.get("InstanceCount") or 0)
    spot = group.get("Market") == "SPOT"
    counts = (0, count) if spot else (count, 0)
    return Nodes(group.get("Name") or role.lower(), role, (group["InstanceType"],), *counts)


def _of_fleet(fleet: Mapping[str, Any]) -> Nodes:
    role = fleet["InstanceFleetType"]
    types = tuple(one["InstanceType"] for one in fleet.get("InstanceTypeConfigs", ()))
    counts = (fleet.get(f"Target{market}Capacity") or 0 for market in ("OnDemand", "Spot"))
    return Nodes(fleet.get("Name") or role.lower(), role, types, *counts)
