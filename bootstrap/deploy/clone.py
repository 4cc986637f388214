"""Clone a cluster with changes, or resize it in place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bootstrap.aws.describe_cluster import (
    find_cluster,
    normalize_request,
    request_from_cluster,
    unfinished_steps,
)
from bootstrap.aws.request import Parameters, ReadApi, differences
from bootstrap.aws.validation import validation_errors
from bootstrap.deploy.overrides import apply_overrides, instance_count
from bootstrap.errors import CloudError
from bootstrap.resources.cluster import REQUEST_HASH_TAG, request_hash


@dataclass(frozen=True)
class Clone:
    """What would be made of a cluster.

    Parameters
    ----------
    cluster : dict
        The one that there is, as `describe_cluster` tells of it.
    before : dict
        The request that would make it again.
    request : dict
        For `run_job_flow`.
    differences : list of str
        What is other than in the cluster, a line each.
    """

    cluster: Parameters
    before: Parameters
    request: Parameters
    differences: list[str]


@dataclass(frozen=True)
class Resize:
    """What would be changed of a cluster.

    Parameters
    ----------
    before, after : dict
        The request that would make it as it is, and as it would be.
    operations : list of (str, dict)
        Operations of EMR and their parameters; none where nothing changes.
    """

    before: Parameters
    after: Parameters
    operations: list[tuple[str, Parameters]]


def clone(
    read: ReadApi, name: str, settings: Mapping[str, str], *, with_steps: bool = False
) -> Clone:
    """What a clone would be; sends nothing that changes anything.

    Parameters
    ----------
    ask : callable
    name : str
        Name or id of a live cluster.
    settings : dict of str
        Keys of `cluster.toml` and their values, see `OVERRIDES`.
    with_steps : bool
        Whether it begins with the steps that are not over in the other.

    Raises
    ------
    CloudError
        Where there is no such cluster, or a setting is none.
    """
    cluster = find_live_cluster(read, name)
    before = request_from_cluster(read, cluster)
    after = apply_overrides(before, settings)
    if with_steps:
        after["Steps"] = unfinished_steps(read, cluster)
    tags = [tag for tag in after.get("Tags", ()) if tag["Key"] != REQUEST_HASH_TAG]
    after["Tags"] = [*tags, {"Key": REQUEST_HASH_TAG, "Value": request_hash(after)}]
    errors = validation_errors("emr", "run_job_flow", after)
    if errors:
        raise CloudError(f"{name}: cannot be made anew: {errors}")
    return Clone(
        cluster, before, after, differences(normalize_request(before), normalize_request(after))
    )


def resize(read: ReadApi, name: str, settings: Mapping[str, str]) -> Resize:
    """What gives a cluster other numbers of nodes where it stands, and the limits that go with them; sends nothing.

    Parameters
    ----------
    ask : callable
    name : str
        Name or id of a live cluster.
    settings : dict of str
        Of `instances.core`, `instances.task`, `limits.nodes` and `limits.core`.

    Raises
    ------
    CloudError
        Where there is no such cluster, or a setting is none.
    """
    cluster = find_live_cluster(read, name)
    before = request_from_cluster(read, cluster)
    after = apply_overrides(before, settings)
    result: list[tuple[str, Parameters]] = []
    where = {"ClusterId": cluster["Id"]}
    scaling = after.get("ManagedScalingPolicy")
    if scaling != before.get("ManagedScalingPolicy"):
        # First: what is beyond the limits, EMR would take back.
        query = where | {"ManagedScalingPolicy": scaling}
        result.append(("put_managed_scaling_policy", query))
    counts = {
        role: (instance_count(before, role), instance_count(after, role))
        for role in ("CORE", "TASK")
    }
    answer: Any = read("emr", "list_instance_groups", where)
    ids = {one["InstanceGroupType"]: one["Id"] for one in answer["InstanceGroups"]}
    groups = [
        {"InstanceGroupId": ids[role], "InstanceCount": count}
        for role, (is_, count) in counts.items()
        if is_ != count
    ]
    if groups:
        result.append(("modify_instance_groups", where | {"InstanceGroups": groups}))
    return Resize(before, after, result)


def find_live_cluster(read: ReadApi, name: str) -> Parameters:
    """The live cluster of this name or id.

    Raises
    ------
    CloudError
        Where there is none.
    """
    found = find_cluster(read, name)
    if found is None:
        raise CloudError(f"{name}: no such cluster is running; `pomona cloud up` makes one")
    return found
