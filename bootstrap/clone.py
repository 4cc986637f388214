"""A cluster made anew from a described one with changes, or made larger and smaller where it stands."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bootstrap.cluster import MADE_BY, request_hash
from bootstrap.described import comparable, described_request, described_steps, find_cluster
from bootstrap.description import checked
from bootstrap.errors import CloudError
from bootstrap.request import Ask, Parameters, differences
from bootstrap.valid import complaints


@dataclass(frozen=True)
class Clone:
    """What would be made of a cluster.

    Parameters
    ----------
    cluster : dict
        The one that there is, as `describe_cluster` tells of it.
    request : dict
        For `run_job_flow`.
    differences : list of str
        What is other than in the cluster, a line each.
    """

    cluster: Parameters
    request: Parameters
    differences: list[str]


def clone(ask: Ask, name: str, settings: Mapping[str, str], *, with_steps: bool = False) -> Clone:
    """What a clone would be; sends nothing that changes anything.

    Parameters
    ----------
    ask : callable
    name : str
        Name or id of a live cluster.
    settings : dict of str
        Keys of `cluster.toml` and their values, see `SETTINGS`.
    with_steps : bool
        Whether it begins with the steps that are not over in the other.

    Raises
    ------
    CloudError
        Where there is no such cluster, or a setting is none.
    """
    cluster = require_cluster(ask, name)
    before = described_request(ask, cluster)
    after = applied(before, settings)
    if with_steps:
        after["Steps"] = described_steps(ask, cluster)
    tags = [tag for tag in after.get("Tags", ()) if tag["Key"] != MADE_BY]
    after["Tags"] = [*tags, {"Key": MADE_BY, "Value": request_hash(after)}]
    complaint = complaints("emr", "run_job_flow", after)
    if complaint:
        raise CloudError(f"{name}: cannot be made anew: {complaint}")
    return Clone(cluster, after, differences(comparable(before), comparable(after)))


def resize(ask: Ask, name: str, settings: Mapping[str, str]) -> list[tuple[str, Parameters]]:
    """Operations that give a cluster other numbers of nodes where it stands, and the limits that go with them.

    Parameters
    ----------
    ask : callable
    name : str
        Name or id of a live cluster.
    settings : dict of str
        Of `instances.core`, `instances.task`, `limits.nodes` and `limits.core`.

    Returns
    -------
    list of (str, dict)
        Operations of EMR and their parameters; none where nothing changes.
    """
    cluster = require_cluster(ask, name)
    before = described_request(ask, cluster)
    after = applied(before, settings)
    made: list[tuple[str, Parameters]] = []
    where = {"ClusterId": cluster["Id"]}
    scaling = after.get("ManagedScalingPolicy")
    if scaling != before.get("ManagedScalingPolicy"):
        # First: what is beyond the limits, EMR would take back.
        asked = where | {"ManagedScalingPolicy": scaling}
        made.append(("put_managed_scaling_policy", asked))
    counts = {role: (_count(before, role), _count(after, role)) for role in ("CORE", "TASK")}
    answer: Any = ask("emr", "list_instance_groups", where)
    ids = {one["InstanceGroupType"]: one["Id"] for one in answer["InstanceGroups"]}
    groups = [
        {"InstanceGroupId": ids[role], "InstanceCount": count}
        for role, (is_, count) in counts.items()
        if is_ != count
    ]
    if groups:
        made.append(("modify_instance_groups", where | {"InstanceGroups": groups}))
    return made


def require_cluster(ask: Ask, name: str) -> Parameters:
    """The live cluster of this name or id.

    Raises
    ------
    CloudError
        Where there is none.
    """
    found = find_cluster(ask, name)
    if found is None:
        raise CloudError(f"{name}: no such cluster is running; `pomona cloud up` makes one")
    return found


def applied(request: Parameters, settings: Mapping[str, str]) -> Parameters:
    """A request with settings changed; limits follow, so that they hold what is asked for.

    Raises
    ------
    DescriptionError
        For a key that cannot be set, or a value that is not allowed.
    """
    made = copy.deepcopy(request)
    values = checked(settings, list(SETTINGS))
    for key, value in values.items():
        SETTINGS[key](made, value)
    limits = (made.get("ManagedScalingPolicy") or {}).get("ComputeLimits")
    if limits and values:
        core, task = _count(made, "CORE"), _count(made, "TASK")
        if "instances.core" in values:
            limits["MinimumCapacityUnits"] = core
        limits["MaximumCoreCapacityUnits"] = max(limits.get("MaximumCoreCapacityUnits", 0), core)
        on_demand = max(limits.get("MaximumOnDemandCapacityUnits", 0), core)
        limits["MaximumOnDemandCapacityUnits"] = on_demand
        limits["MaximumCapacityUnits"] = max(limits["MaximumCapacityUnits"], core + task)
    return made


def _count(request: Parameters, role: str) -> int:
    return sum(int(one.get("InstanceCount") or 0) for one in _groups(request, role))


def _groups(request: Parameters, *roles: str) -> list[Parameters]:
    groups = request["Instances"]["InstanceGroups"]
    return [one for one in groups if not roles or one["InstanceRole"] in roles]


def _set_count(role: str) -> Callable[[Parameters, int], None]:
    def change(request: Parameters, count: int) -> None:
        if not _groups(request, role):
            raise CloudError(f"the cluster has no {role.lower()} nodes to be more or fewer of")
        for group in _groups(request, role):
            group["InstanceCount"] = count

    return change


def _set_type(request: Parameters, kind: str) -> None:
    for group in _groups(request):
        group["InstanceType"] = kind


def _set_disk(request: Parameters, size: int) -> None:
    volume = {"VolumeSpecification": {"VolumeType": "gp3", "SizeInGB": size}}
    for group in _groups(request):
        devices = [volume | {"VolumesPerInstance": 1}]
        group["EbsConfiguration"] = {"EbsBlockDeviceConfigs": devices}


def _set_limit(*keys: str) -> Callable[[Parameters, int], None]:
    def change(request: Parameters, limit: int) -> None:
        policy = request.setdefault("ManagedScalingPolicy", {})
        limits = policy.setdefault("ComputeLimits", {"UnitType": "Instances"})
        limits.setdefault("MinimumCapacityUnits", _count(request, "CORE"))
        limits.setdefault("MaximumCapacityUnits", limit)
        limits.update(dict.fromkeys(keys, limit))

    return change


def _set_name(request: Parameters, name: str) -> None:
    request["Name"] = name


def _set_key(request: Parameters, name: str) -> None:
    request["Instances"]["Ec2KeyName"] = name


#: Keys of `cluster.toml` that can be changed of a described cluster, and what each does to the request.
SETTINGS: dict[str, Callable[[Parameters, Any], None]] = {
    "name": _set_name,
    "instances.type": _set_type,
    "instances.core": _set_count("CORE"),
    "instances.task": _set_count("TASK"),
    "instances.disk_gb": _set_disk,
    "limits.nodes": _set_limit("MaximumCapacityUnits"),
    "limits.core": _set_limit("MaximumCoreCapacityUnits", "MaximumOnDemandCapacityUnits"),
    "network.ssh_key": _set_key,
}
