"""Status of what runs: cluster and steps, application and jobs, schedule."""

from __future__ import annotations

import re
from collections.abc import Iterable

from bootstrap.aws.describe_cluster import find_cluster, list_clusters
from bootstrap.aws.describe_serverless import RECENT, _at_most, newest_application, recent_jobs
from bootstrap.aws.request import Ask, Parameters
from bootstrap.config.names import Names


def recent_steps(ask: Ask, cluster_id: str, most: int | None = RECENT) -> list[Parameters]:
    """Steps of a cluster, the newest first."""
    asked = {"ClusterId": cluster_id} | _at_most(most)
    steps: list[Parameters] = (ask("emr", "list_steps", asked) or {}).get("Steps", [])
    return steps


def find_schedule(ask: Ask, names: Names) -> Parameters | None:
    """The schedule of the refits."""
    asked, gone = {"Name": names.of("refit")}, ("ResourceNotFoundException",)
    return ask("scheduler", "get_schedule", asked, gone)


def state(names: Names, ask: Ask) -> Parameters:
    """How all that runs stands.

    Parameters
    ----------
    names : Names
    ask : callable

    Returns
    -------
    dict
        ``cluster`` with ``steps`` or ``application`` with ``jobs``, and ``schedule``; None for what is not there.
    """
    made: Parameters = {
        "name": names.description.name,
        "mode": names.description.mode,
        "account": names.account,
        "region": names.description.region,
    }
    if names.description.mode == "serverless":
        made["application"] = _application(ask, names.description.name)
    else:
        made["cluster"] = _cluster(ask, names.description.name)
    schedule = find_schedule(ask, names)
    made["schedule"] = schedule and {
        "name": schedule["Name"],
        "state": schedule["State"],
        "expression": schedule["ScheduleExpression"],
    }
    return made


def _cluster(ask: Ask, name: str) -> Parameters | None:
    found = find_cluster(ask, name, live=False)
    if found is None:
        return None
    groups = ask("emr", "list_instance_groups", {"ClusterId": found["Id"]}) or {}
    return {
        "id": found["Id"],
        "state": found["Status"]["State"],
        "why": _why(found["Status"]),
        "release": found.get("ReleaseLabel"),
        "created": _when(found["Status"], "CreationDateTime"),
        "ended": _when(found["Status"], "EndDateTime") or None,
        "primary": found.get("MasterPublicDnsName"),
        "nodes": [_group(one) for one in _in_order(groups.get("InstanceGroups", ()))],
        "steps": [_step(one) for one in recent_steps(ask, found["Id"])],
        "others": _others(ask, found),
    }


def _others(ask: Ask, newest: Parameters) -> list[str]:
    """Ids of further live clusters of the same name: a clone and what it was made of both cost."""
    same = [one["Id"] for one in list_clusters(ask) if one["Name"] == newest["Name"]]
    return [one for one in same if one != newest["Id"]]


def _in_order(groups: Iterable[Parameters]) -> list[Parameters]:
    order = ["MASTER", "CORE", "TASK"]
    return sorted(groups, key=lambda one: order.index(one["InstanceGroupType"]))


def _group(group: Parameters) -> Parameters:
    return {
        "role": {"MASTER": "primary"}.get(group["InstanceGroupType"])
        or str(group["InstanceGroupType"]).lower(),
        "type": group["InstanceType"],
        "market": group.get("Market"),
        "running": group.get("RunningInstanceCount", 0),
        "wanted": group.get("RequestedInstanceCount", 0),
    }


def _step(step: Parameters) -> Parameters:
    return {
        "id": step["Id"],
        "name": step["Name"],
        "state": step["Status"]["State"],
        "why": _why(step["Status"]),
        "created": _when(step["Status"], "CreationDateTime"),
        "started": _when(step["Status"], "StartDateTime") or None,
        "ended": _when(step["Status"], "EndDateTime") or None,
    }


def _application(ask: Ask, name: str) -> Parameters | None:
    found = newest_application(ask, name)
    if found is None:
        return None
    return {
        "id": found["id"],
        "state": found["state"],
        "why": found.get("stateDetails") or None,
        "release": found.get("releaseLabel"),
        "created": str(found.get("createdAt") or ""),
        "jobs": [_job(one) for one in recent_jobs(ask, found["id"])],
    }


def _job(job: Parameters) -> Parameters:
    return {
        "id": job["id"],
        "name": job.get("name"),
        "state": job["state"],
        "why": job.get("stateDetails") or None,
        "created": str(job.get("createdAt") or ""),
        "attempt": job.get("attempt"),
    }


def _when(status: Parameters, key: str) -> str:
    """A time of a timeline, in an order that sorts; nothing where it has not come."""
    return str(status.get("Timeline", {}).get(key) or "")


def _why(status: Parameters) -> str | None:
    """Why it is in this state, in one line, where AWS says."""
    told = status.get("FailureDetails", {}).get("Message")
    told = told or status.get("StateChangeReason", {}).get("Message")
    return re.sub(r"\s+", " ", told).strip() if told else None
