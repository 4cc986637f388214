"""Status of the cluster and its steps, the application and its jobs, and the schedule."""

from __future__ import annotations

from collections.abc import Iterator

from bootstrap.aws.describe_cluster import (
    find_cluster,
    list_clusters,
    list_fleets,
    list_groups,
    state_reason,
)
from bootstrap.aws.describe_queue import queue_attributes
from bootstrap.aws.describe_schedule import find_schedule
from bootstrap.aws.describe_serverless import (
    DEFAULT_LIMIT,
    limit_items,
    newest_application,
    recent_jobs,
)
from bootstrap.aws.request import Parameters, ReadApi
from bootstrap.config.names import Names


def recent_steps(
    read: ReadApi, cluster_id: str, limit: int | None = DEFAULT_LIMIT
) -> list[Parameters]:
    """Return the newest steps of a cluster, the newest first."""
    query = {"ClusterId": cluster_id} | limit_items(limit)
    steps: list[Parameters] = (read("emr", "list_steps", query) or {}).get("Steps", [])
    return steps


def get_status(names: Names, read: ReadApi) -> Parameters:
    """Return the state of the cluster or application and of the schedule.

    Returns
    -------
    dict
        ``cluster`` (with ``steps``) or ``application`` (with ``jobs``), and ``schedule``; None if it does not exist.
    """
    result: Parameters = {
        "name": names.config.name,
        "mode": names.config.mode,
        "account": names.account,
        "region": names.config.region,
    }
    if names.config.mode == "serverless":
        result["application"] = _application(read, names.config.name)
    else:
        result["cluster"] = _cluster(read, names.config.name)
    schedule = find_schedule(read, names.prefixed("refit"))
    result["schedule"] = schedule and {
        "name": schedule["Name"],
        "state": schedule["State"],
        "expression": schedule["ScheduleExpression"],
        "queue": names.failed_refits,
        "failed_starts": _failed_starts(read, names),
    }
    return result


def _failed_starts(read: ReadApi, names: Names) -> int | None:
    """Return the number of starts in the queue of failed refits; None without a queue."""
    key = "ApproximateNumberOfMessages"
    found = queue_attributes(read, names.failed_refits, key)
    return None if found is None else int(found[1][key])


def _cluster(read: ReadApi, name: str) -> Parameters | None:
    cluster = find_cluster(read, name, live=False)
    if cluster is None:
        return None
    return {
        "id": cluster["Id"],
        "state": cluster["Status"]["State"],
        "reason": state_reason(cluster["Status"]),
        "release": cluster.get("ReleaseLabel"),
        "created_at": _timestamp(cluster["Status"], "CreationDateTime"),
        "ended_at": _timestamp(cluster["Status"], "EndDateTime") or None,
        "primary": cluster.get("MasterPublicDnsName"),
        "nodes": [
            *(_group(one) for one in list_groups(read, cluster)),
            *(nodes for one in list_fleets(read, cluster) for nodes in _fleet(one)),
        ],
        "steps": [_step(one) for one in recent_steps(read, cluster["Id"])],
        "other_clusters": _other_clusters(read, cluster),
    }


def _other_clusters(read: ReadApi, newest: Parameters) -> list[str]:
    """Return the IDs of other live clusters with the same name: a clone and its original are both billed."""
    same_name = [one["Id"] for one in list_clusters(read) if one["Name"] == newest["Name"]]
    return [one for one in same_name if one != newest["Id"]]


def _fleet(fleet: Parameters) -> Iterator[Parameters]:
    """Yield the nodes of a fleet by market; each counts as one unit in the fleets of Pomona."""
    types = [one["InstanceType"] for one in fleet.get("InstanceTypeSpecifications") or ()]
    for market, key in (("ON_DEMAND", "OnDemand"), ("SPOT", "Spot")):
        running = fleet.get(f"Provisioned{key}Capacity") or 0
        requested = fleet.get(f"Target{key}Capacity") or 0
        if running or requested:
            yield {
                "role": _role(fleet["InstanceFleetType"]),
                "type": " or ".join(types),
                "market": market,
                "running": running,
                "requested": requested,
            }


def _role(node_type: str) -> str:
    return "primary" if node_type == "MASTER" else node_type.lower()


def _group(group: Parameters) -> Parameters:
    return {
        "role": _role(group["InstanceGroupType"]),
        "type": group["InstanceType"],
        "market": group.get("Market"),
        "running": group.get("RunningInstanceCount", 0),
        "requested": group.get("RequestedInstanceCount", 0),
    }


def _step(step: Parameters) -> Parameters:
    return {
        "id": step["Id"],
        "name": step["Name"],
        "state": step["Status"]["State"],
        "reason": state_reason(step["Status"]),
        "created_at": _timestamp(step["Status"], "CreationDateTime"),
        "started_at": _timestamp(step["Status"], "StartDateTime") or None,
        "ended_at": _timestamp(step["Status"], "EndDateTime") or None,
    }


def _application(read: ReadApi, name: str) -> Parameters | None:
    application = newest_application(read, name)
    if application is None:
        return None
    return {
        "id": application["id"],
        "state": application["state"],
        "reason": application.get("stateDetails") or None,
        "release": application.get("releaseLabel"),
        "created_at": str(application.get("createdAt") or ""),
        "jobs": [_job(one) for one in recent_jobs(read, application["id"])],
    }


def _job(job: Parameters) -> Parameters:
    return {
        "id": job["id"],
        "name": job.get("name"),
        "state": job["state"],
        "reason": job.get("stateDetails") or None,
        "created_at": str(job.get("createdAt") or ""),
        "attempt": job.get("attempt"),
    }


def _timestamp(status: Parameters, key: str) -> str:
    """Return a time of a timeline as sortable text; empty if it is not set."""
    return str(status.get("Timeline", {}).get(key) or "")
