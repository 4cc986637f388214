"""Clone a cluster with changes, or resize it in place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bootstrap.aws.describe_cluster import (
    comparable,
    described_request,
    described_steps,
    find_cluster,
)
from bootstrap.aws.request import Ask, Parameters, differences
from bootstrap.aws.validation import complaints
from bootstrap.deploy.overrides import applied, count_of
from bootstrap.errors import CloudError
from bootstrap.resources.cluster import MADE_BY, request_hash


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
    return Clone(cluster, before, after, differences(comparable(before), comparable(after)))


def resize(ask: Ask, name: str, settings: Mapping[str, str]) -> Resize:
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
    counts = {role: (count_of(before, role), count_of(after, role)) for role in ("CORE", "TASK")}
    answer: Any = ask("emr", "list_instance_groups", where)
    ids = {one["InstanceGroupType"]: one["Id"] for one in answer["InstanceGroups"]}
    groups = [
        {"InstanceGroupId": ids[role], "InstanceCount": count}
        for role, (is_, count) in counts.items()
        if is_ != count
    ]
    if groups:
        made.append(("modify_instance_groups", where | {"InstanceGroups": groups}))
    return Resize(before, after, made)


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
