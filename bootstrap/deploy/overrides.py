"""Settings of `cluster.toml` that can be overridden for an existing cluster, and their effect on its request."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bootstrap.aws.nodes import Nodes, capacity, node_count, nodes_of
from bootstrap.aws.request import Parameters
from bootstrap.config.loader import parse_overrides
from bootstrap.config.schema import ClusterConfig
from bootstrap.errors import CloudError
from bootstrap.resources.cluster import launch_specifications, volumes


def apply_overrides(request: Parameters, settings: Mapping[str, str]) -> Parameters:
    """Return a request with settings changed; scaling limits are raised if the node counts exceed them.

    Raises
    ------
    ConfigError
        For a key that cannot be set, or a value that is not allowed.
    """
    result = copy.deepcopy(request)
    values = parse_overrides(settings, list(OVERRIDES))
    for key, value in values.items():
        OVERRIDES[key](result, value)
    limits = (result.get("ManagedScalingPolicy") or {}).get("ComputeLimits")
    if limits and values:
        core, task = node_count(result, "CORE"), node_count(result, "TASK")
        if "instances.core" in values:
            limits["MinimumCapacityUnits"] = core
        on_demand, _ = capacity(result, "CORE", "TASK")
        for key, least in (
            ("MaximumCoreCapacityUnits", core),
            ("MaximumOnDemandCapacityUnits", max(core, on_demand)),
        ):
            if key in limits:  # if missing, EMR uses the limit of all nodes
                limits[key] = max(limits[key], least)
        limits["MaximumCapacityUnits"] = max(limits["MaximumCapacityUnits"], core + task)
    return result


def config_from_request(config: ClusterConfig, request: Parameters) -> ClusterConfig:
    """Return a configuration with the nodes and limits of a request, to estimate an existing cluster."""
    core, task = (node_count(request, role) for role in ("CORE", "TASK"))
    limits = (request.get("ManagedScalingPolicy") or {}).get("ComputeLimits") or {}
    counted = limits.get("UnitType") in ("Instances", "InstanceFleetUnits")
    (nodes, *_) = nodes_of(request, "CORE") or nodes_of(request)
    settings = _type_settings(request, "CORE") or _type_settings(request)
    disks = (settings[0].get("EbsConfiguration") or {}).get("EbsBlockDeviceConfigs") or ()
    disk = sum(one["VolumeSpecification"]["SizeInGB"] * one["VolumesPerInstance"] for one in disks)
    return replace(
        config,
        mode="cluster",
        instances=replace(
            config.instances,
            type=nodes.types[0],
            types=nodes.types if _fleets(request) else (),
            core=core,
            task=task,
            disk_gb=disk,
        ),
        limits=replace(
            config.limits,
            nodes=limits["MaximumCapacityUnits"] if counted else core + task,
        ),
    )


def _groups(request: Parameters, *roles: str) -> list[Parameters]:
    groups = request["Instances"].get("InstanceGroups", [])
    return [one for one in groups if not roles or one["InstanceRole"] in roles]


def _fleets(request: Parameters, *roles: str) -> list[Parameters]:
    fleets = request["Instances"].get("InstanceFleets", [])
    return [one for one in fleets if not roles or one["InstanceFleetType"] in roles]


def _type_settings(request: Parameters, *roles: str) -> list[Parameters]:
    """Return the parts of the request that name an instance type and its volumes."""
    types = [one for fleet in _fleets(request, *roles) for one in fleet["InstanceTypeConfigs"]]
    return [*_groups(request, *roles), *types]


def _set_count(role: str) -> Callable[[Parameters, int], None]:
    def set_count(request: Parameters, count: int) -> None:
        """Set the number of nodes of the role in the cluster request; a group without nodes is omitted."""
        if role == "TASK":
            (_ensure_task_fleet if _fleets(request) else _ensure_task_group)(request, count)
        elif not nodes_of(request, role):
            raise CloudError(
                f"the cluster has no {role.lower()} nodes, so their number cannot be changed"
            )
        for group in _groups(request, role):
            group["InstanceCount"] = count
        for fleet, nodes in zip(_fleets(request, role), nodes_of(request, role), strict=False):
            _set_capacity(fleet, nodes, count)

    return set_count


def _set_capacity(fleet: Parameters, nodes: Nodes, count: int) -> None:
    """Set the number of nodes of a fleet: in a task fleet the On-Demand nodes are kept, in others the Spot nodes."""
    task = fleet["InstanceFleetType"] == "TASK"
    on_demand = min(nodes.on_demand, count) if task else count - min(nodes.spot, count)
    fleet |= {"TargetOnDemandCapacity": on_demand, "TargetSpotCapacity": count - on_demand}


def _set_on_demand(request: Parameters, count: int) -> None:
    """Set how many of the task nodes are On-Demand."""
    if not _fleets(request):
        raise CloudError(
            "the cluster has instance groups; instances.task_on_demand requires instance fleets"
        )
    total = node_count(request, "TASK")
    if count > total:
        raise CloudError(
            f"instances.task_on_demand is {count}; it must be 0 to {total}, the number of task nodes"
        )
    for fleet in _fleets(request, "TASK"):
        fleet |= {"TargetOnDemandCapacity": count, "TargetSpotCapacity": total - count}


def _ensure_task_fleet(request: Parameters, count: int) -> None:
    """Add a Spot task fleet like the core fleet if there is none; remove the task fleet for count 0."""
    instances = request["Instances"]
    fleets = instances["InstanceFleets"]
    if count == 0:
        instances["InstanceFleets"] = [one for one in fleets if one["InstanceFleetType"] != "TASK"]
    elif not _fleets(request, "TASK"):
        (core, *_) = _fleets(request, "CORE") or fleets
        fleet = {
            "Name": "task",
            "InstanceFleetType": "TASK",
            "TargetOnDemandCapacity": 0,
            "TargetSpotCapacity": count,
            "InstanceTypeConfigs": copy.deepcopy(core["InstanceTypeConfigs"]),
            "LaunchSpecifications": launch_specifications(spot=True),
        }
        instances["InstanceFleets"] = [*fleets, fleet]


def _ensure_task_group(request: Parameters, count: int) -> None:
    """Add a Spot task group like the core group if there is none; remove the task groups for count 0."""
    instances = request["Instances"]
    groups = instances["InstanceGroups"]
    if count == 0:
        instances["InstanceGroups"] = [one for one in groups if one["InstanceRole"] != "TASK"]
    elif not _groups(request, "TASK"):
        cores = _groups(request, "CORE")
        if not cores:
            raise CloudError("the cluster has no core nodes, so it cannot get task nodes")
        group = {key: value for key, value in cores[0].items() if key != "BidPrice"}
        group |= {"Name": "task", "InstanceRole": "TASK", "Market": "SPOT"}
        instances["InstanceGroups"] = [*groups, copy.deepcopy(group)]


def _set_type(request: Parameters, instance_type: str) -> None:
    for group in _groups(request):
        group["InstanceType"] = instance_type
    if _fleets(request):
        _set_types(request, [instance_type])


def _set_types(request: Parameters, types: Sequence[str]) -> None:
    """Set the instance types of all fleets; volumes are those of the first type."""
    if not _fleets(request):
        raise CloudError(
            "the cluster has instance groups of one type; set instances.type, or deploy a "
            "configuration with instances.types"
        )
    for fleet in _fleets(request):
        first = fleet["InstanceTypeConfigs"][0]
        kept = {k: v for k, v in first.items() if k not in ("BidPrice", "CustomAmiId", "Priority")}
        fleet["InstanceTypeConfigs"] = [
            copy.deepcopy(kept) | {"InstanceType": one} for one in types
        ]


def _set_disk(request: Parameters, size: int) -> None:
    for settings in _type_settings(request):
        settings["EbsConfiguration"] = volumes(size)


def _set_limit(*keys: str) -> Callable[[Parameters, int], None]:
    def set_limit(request: Parameters, limit: int) -> None:
        """Set a limit of managed scaling in the cluster request."""
        policy = request.setdefault("ManagedScalingPolicy", {})
        unit = "InstanceFleetUnits" if _fleets(request) else "Instances"
        limits = policy.setdefault("ComputeLimits", {"UnitType": unit})
        limits.setdefault("MinimumCapacityUnits", node_count(request, "CORE"))
        limits.setdefault("MaximumCapacityUnits", limit)
        limits.update(dict.fromkeys(keys, limit))

    return set_limit


def _set_name(request: Parameters, name: str) -> None:
    request["Name"] = name


def _set_key(request: Parameters, name: str) -> None:
    request["Instances"]["Ec2KeyName"] = name


#: Keys of `cluster.toml` that can be changed for an existing cluster, and the functions that change the request.
OVERRIDES: dict[str, Callable[[Parameters, Any], None]] = {
    "name": _set_name,
    "instances.type": _set_type,
    "instances.types": _set_types,
    "instances.core": _set_count("CORE"),
    "instances.task": _set_count("TASK"),
    "instances.task_on_demand": _set_on_demand,
    "instances.disk_gb": _set_disk,
    "limits.nodes": _set_limit("MaximumCapacityUnits"),
    "limits.core": _set_limit("MaximumCoreCapacityUnits", "MaximumOnDemandCapacityUnits"),
    "limits.on_demand": _set_limit("MaximumOnDemandCapacityUnits"),
    "network.ssh_key": _set_key,
}
