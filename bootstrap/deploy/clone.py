"""Clone a cluster with changes, or resize it in place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bootstrap.aws.client import Account
from bootstrap.aws.describe_cluster import (
    find_cluster,
    has_fleets,
    list_fleets,
    list_groups,
    normalize_request,
    request_from_cluster,
    unfinished_steps,
)
from bootstrap.aws.nodes import capacity, node_count
from bootstrap.aws.request import Parameters, ReadApi, differences
from bootstrap.aws.validation import validation_errors
from bootstrap.config.names import Names
from bootstrap.deploy.overrides import apply_overrides
from bootstrap.errors import CloudError
from bootstrap.resources.cluster import REQUEST_HASH_TAG, request_hash
from bootstrap.resources.cluster_requests import hour_limit


@dataclass(frozen=True)
class Clone:
    """A planned clone.

    Parameters
    ----------
    cluster : dict
        The existing cluster, as returned by `describe_cluster`.
    before : dict
        Request that would create the existing cluster.
    request : dict
        Parameters of `run_job_flow` for the clone.
    differences : list of str
        Differences between the two, a line each.
    """

    cluster: Parameters
    before: Parameters
    request: Parameters
    differences: list[str]


@dataclass(frozen=True)
class Resize:
    """A planned resize.

    Parameters
    ----------
    before, after : dict
        Requests that would create the cluster before and after the change.
    operations : list of (str, dict)
        EMR operations and their parameters; empty if nothing changes.
    """

    before: Parameters
    after: Parameters
    operations: list[tuple[str, Parameters]]


def clone(
    read: ReadApi, name: str, settings: Mapping[str, str], *, with_steps: bool = False
) -> Clone:
    """Plan a clone; sends only read-only requests.

    Parameters
    ----------
    read : callable
    name : str
        Name or ID of a live cluster.
    settings : dict of str
        New values by key of `cluster.toml`, see `OVERRIDES`.
    with_steps : bool
        Copy the steps that have not finished.

    Raises
    ------
    CloudError
        If there is no such cluster, or a setting is invalid.
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
        raise CloudError(f"{name}: cannot be cloned: {errors}")
    return Clone(
        cluster, before, after, differences(normalize_request(before), normalize_request(after))
    )


def limit_clone(names: Names, cluster_id: str, account: Account) -> None:
    """Create the schedule that terminates a clone after `limits.hours`.

    Raises
    ------
    CloudError
        If AWS rejects it: the clone runs without a limit.
    """
    request = hour_limit(names, cluster_id)
    try:
        account.send(request.service, request.operation, request.parameters)
    except CloudError as error:
        raise CloudError(
            f"{cluster_id} is started, but limits.hours does not terminate it: {error}; "
            "`pomona cloud down` terminates it"
        ) from error


def resize(read: ReadApi, name: str, settings: Mapping[str, str]) -> Resize:
    """Plan new node counts and limits for a cluster in place; sends only read-only requests.

    Parameters
    ----------
    read : callable
    name : str
        Name or ID of a live cluster.
    settings : dict of str
        Values of `instances.core`, `instances.task`, `instances.task_on_demand`, `limits.nodes`, `limits.core` and
        `limits.on_demand`.

    Raises
    ------
    CloudError
        If there is no such cluster, or a setting is invalid.
    """
    cluster = find_live_cluster(read, name)
    before = request_from_cluster(read, cluster)
    after = apply_overrides(before, settings)
    operations: list[tuple[str, Parameters]] = []
    cluster_id = {"ClusterId": cluster["Id"]}
    scaling = after.get("ManagedScalingPolicy")
    if scaling != before.get("ManagedScalingPolicy"):
        # Limits first: EMR removes nodes beyond the limits.
        query = cluster_id | {"ManagedScalingPolicy": scaling}
        operations.append(("put_managed_scaling_policy", query))
    resize_nodes = _resize_fleets if has_fleets(cluster) else _resize_groups
    operations += resize_nodes(read, cluster, before, after)
    for operation, parameters in operations:
        errors = validation_errors("emr", operation, parameters)
        if errors:
            raise CloudError(f"{name}: cannot be resized: {errors}")
    return Resize(before, after, operations)


def _resize_groups(
    read: ReadApi, cluster: Parameters, before: Parameters, after: Parameters
) -> Iterator[tuple[str, Parameters]]:
    """Yield the operations that change the number of nodes of instance groups."""
    ids = {one["InstanceGroupType"]: one["Id"] for one in list_groups(read, cluster)}
    changed = {
        role: count
        for role in ("CORE", "TASK")
        if (count := node_count(after, role)) != node_count(before, role)
    }
    groups = [
        {"InstanceGroupId": ids[role], "InstanceCount": count}
        for role, count in changed.items()
        if role in ids
    ]
    if groups:
        parameters = {"ClusterId": cluster["Id"], "InstanceGroups": groups}
        yield "modify_instance_groups", parameters
    added = [
        one
        for one in after["Instances"]["InstanceGroups"]
        if one["InstanceRole"] in changed and one["InstanceRole"] not in ids
    ]
    if added:
        yield "add_instance_groups", {"JobFlowId": cluster["Id"], "InstanceGroups": added}


def _resize_fleets(
    read: ReadApi, cluster: Parameters, before: Parameters, after: Parameters
) -> Iterator[tuple[str, Parameters]]:
    """Yield the operations that change the capacities of instance fleets, of which a request names one."""
    ids = {one["InstanceFleetType"]: one["Id"] for one in list_fleets(read, cluster)}
    cluster_id = {"ClusterId": cluster["Id"]}
    for role in ("CORE", "TASK"):
        on_demand, spot = capacity(after, role)
        if (on_demand, spot) == capacity(before, role):
            continue
        if role in ids:
            changed = {
                "InstanceFleetId": ids[role],
                "TargetOnDemandCapacity": on_demand,
                "TargetSpotCapacity": spot,
            }
            yield "modify_instance_fleet", cluster_id | {"InstanceFleet": changed}
        else:
            (fleet,) = (
                one
                for one in after["Instances"]["InstanceFleets"]
                if one["InstanceFleetType"] == role
            )
            yield "add_instance_fleet", cluster_id | {"InstanceFleet": fleet}


def find_live_cluster(read: ReadApi, name: str) -> Parameters:
    """Return the live cluster with this name or ID.

    Raises
    ------
    CloudError
        If there is none.
    """
    cluster = find_cluster(read, name)
    if cluster is None:
        raise CloudError(f"{name}: no such cluster is running; `pomona cloud up` creates one")
    return cluster
