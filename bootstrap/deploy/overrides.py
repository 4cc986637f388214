"""Settings of `cluster.toml` that can be overridden for an existing cluster, and their effect on its request."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from bootstrap.aws.request import Parameters
from bootstrap.config.loader import parse_overrides
from bootstrap.config.schema import ClusterConfig
from bootstrap.errors import CloudError


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
        core, task = instance_count(result, "CORE"), instance_count(result, "TASK")
        if "instances.core" in values:
            limits["MinimumCapacityUnits"] = core
        for key in ("MaximumCoreCapacityUnits", "MaximumOnDemandCapacityUnits"):
            if key in limits:  # if missing, EMR uses the limit of all nodes
                limits[key] = max(limits[key], core)
        limits["MaximumCapacityUnits"] = max(limits["MaximumCapacityUnits"], core + task)
    return result


def config_from_request(config: ClusterConfig, request: Parameters) -> ClusterConfig:
    """Return a configuration with the nodes and limits of a request, to estimate an existing cluster."""
    core, task = (instance_count(request, role) for role in ("CORE", "TASK"))
    limits = (request.get("ManagedScalingPolicy") or {}).get("ComputeLimits") or {}
    instances = limits.get("UnitType") == "Instances"
    (group, *_) = _groups(request, "CORE") or _groups(request)
    disks = (group.get("EbsConfiguration") or {}).get("EbsBlockDeviceConfigs") or ()
    disk = sum(one["VolumeSpecification"]["SizeInGB"] * one["VolumesPerInstance"] for one in disks)
    return replace(
        config,
        mode="cluster",
        instances=replace(
            config.instances,
            type=group["InstanceType"],
            core=core,
            task=task,
            disk_gb=disk,
        ),
        limits=replace(
            config.limits,
            nodes=limits["MaximumCapacityUnits"] if instances else core + task,
        ),
    )


def instance_count(request: Parameters, role: str) -> int:
    """Return the number of nodes of a role, ``MASTER``, ``CORE`` or ``TASK``, in a request."""
    return sum(int(one.get("InstanceCount") or 0) for one in _groups(request, role))


def _groups(request: Parameters, *roles: str) -> list[Parameters]:
    groups = request["Instances"]["InstanceGroups"]
    return [one for one in groups if not roles or one["InstanceRole"] in roles]


def _set_count(role: str) -> Callable[[Parameters, int], None]:
    def set_count(request: Parameters, count: int) -> None:
        """Set the number of nodes of the role in the cluster request; a group without nodes is omitted."""
        if role == "TASK":
            _ensure_task_group(request, count)
        elif not _groups(request, role):
            raise CloudError(
                f"the cluster has no {role.lower()} nodes, so their number cannot be changed"
            )
        for group in _groups(request, role):
            group["InstanceCount"] = count

    return set_count


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


def _set_disk(request: Parameters, size: int) -> None:
    volume = {"VolumeSpecification": {"VolumeType": "gp3", "SizeInGB": size}}
    for group in _groups(request):
        devices = [volume | {"VolumesPerInstance": 1}]
        group["EbsConfiguration"] = {"EbsBlockDeviceConfigs": devices}


def _set_limit(*keys: str) -> Callable[[Parameters, int], None]:
    def set_limit(request: Parameters, limit: int) -> None:
        """Set a limit of managed scaling in the cluster request."""
        policy = request.setdefault("ManagedScalingPolicy", {})
        limits = policy.setdefault("ComputeLimits", {"UnitType": "Instances"})
        limits.setdefault("MinimumCapacityUnits", instance_count(request, "CORE"))
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
    "instances.core": _set_count("CORE"),
    "instances.task": _set_count("TASK"),
    "instances.disk_gb": _set_disk,
    "limits.nodes": _set_limit("MaximumCapacityUnits"),
    "limits.core": _set_limit("MaximumCoreCapacityUnits", "MaximumOnDemandCapacityUnits"),
    "network.ssh_key": _set_key,
}
