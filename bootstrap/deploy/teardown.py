"""Terminate what costs by the hour: schedule, cluster, jobs and application. Resources that hold data are retained."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from bootstrap.aws.client import Account
from bootstrap.aws.describe_cluster import cluster_tags, list_clusters
from bootstrap.aws.describe_serverless import active_jobs, newest_application
from bootstrap.aws.request import Parameters, ReadApi
from bootstrap.config.names import Names
from bootstrap.errors import CloudError
from bootstrap.monitor.status import find_schedule

#: Seconds to wait until an application has no jobs and has stopped, and between polls.
STOP_TIMEOUT, PAUSE = 300.0, 5.0


@dataclass(frozen=True)
class TeardownAction:
    """A resource to end: its description, and the request that ends it."""

    what: str
    service: str
    operation: str
    parameters: Parameters


def find_teardown_actions(names: Names, read: ReadApi) -> list[TeardownAction]:
    """Return what to end, in order: first the schedule, which would start more.

    Clusters and applications are both looked for, because the mode may have been changed since `up`.
    """
    found: list[TeardownAction] = []
    if find_schedule(read, names):
        name = names.prefixed("refit")
        found.append(
            TeardownAction(f"schedule {name}", "scheduler", "delete_schedule", {"Name": name})
        )
    for cluster in _clusters(names, read):
        text = f"cluster {cluster['Id']} ({cluster['Status']['State']})"
        query = {"JobFlowIds": [cluster["Id"]]}
        found.append(TeardownAction(text, "emr", "terminate_job_flows", query))
    application = newest_application(read, names.config.name)
    where = {"applicationId": application["id"]} if application else {}
    if application and _has_our_tag(names, read("emr-serverless", "get_application", where)):
        for job in active_jobs(read, application["id"]):
            if job["state"] == "CANCELLING":
                continue
            text = f"job {job.get('name') or job['id']} ({job['state']})"
            query = where | {"jobRunId": job["id"]}
            found.append(TeardownAction(text, "emr-serverless", "cancel_job_run", query))
        text = f"application {application['id']} ({application['state']})"
        found.append(TeardownAction(text, "emr-serverless", "stop_application", where))
        found.append(
            TeardownAction(f"{text}: deleted", "emr-serverless", "delete_application", where)
        )
    return found


def tear_down(found: list[TeardownAction], account: Account) -> Iterator[TeardownAction]:
    """End the resources one after the other; yield each when it is done.

    Raises
    ------
    CloudError
        If AWS rejects a request, or an application does not stop.
    """
    for one in found:
        if one.service == "emr-serverless" and one.operation != "cancel_job_run":
            _wait_until_stopped(account, one)
        account.send(one.service, one.operation, one.parameters)
        yield one


def retained_resources(names: Names) -> list[str]:
    """Return descriptions of what is retained; only the storage of the buckets costs, by the month."""
    result = [
        f"data bucket {names.data_bucket}: images, tables, refits and uploads; no command deletes it",
        f"log bucket {names.log_bucket}: logs expire after {names.config.storage.log_days} days",
    ]
    roles = ["evaluator", "scheduler"]
    if names.config.mode == "serverless":
        roles.append("job")
    else:
        roles += ["service", "nodes"]
        groups = [
            "primary",
            "workers",
            "tunnel",
            *(["service"] if names.config.network.private else []),
        ]
        result.append(f"security groups {', '.join(names.prefixed(one) for one in groups)}")
        result.append(
            f"security configuration {names.prefixed('imdsv2')}, instance profile {names.prefixed('nodes')}"
        )
    return [*result, f"roles {', '.join(names.prefixed(one) for one in sorted(roles))}"]


def _clusters(names: Names, read: ReadApi) -> list[Parameters]:
    """Return the live clusters tagged with the configuration's name; a schedule may have started several."""
    found = []
    for one in list_clusters(read):
        if one["Name"] != names.config.name:
            continue
        described = read("emr", "describe_cluster", {"ClusterId": one["Id"]}) or {}
        if cluster_tags(described["Cluster"]).get("pomona") == names.config.name:
            found.append(one)
    return found


def _has_our_tag(names: Names, response: Parameters | None) -> bool:
    tags = (response or {}).get("application", {}).get("tags") or {}
    return bool(tags.get("pomona") == names.config.name)


def _wait_until_stopped(account: Account, one: TeardownAction) -> None:
    """Wait until an application has no jobs and, before deletion, until it has stopped."""
    deleting = one.operation == "delete_application"
    until = time.monotonic() + STOP_TIMEOUT
    while True:
        response = account.read("emr-serverless", "get_application", one.parameters) or {}
        state = response["application"]["state"]
        jobs = active_jobs(account.read, one.parameters["applicationId"])
        if not jobs and (not deleting or state in ("CREATED", "STOPPED")):
            return
        if time.monotonic() > until:
            text = f"{len(jobs)} jobs have not finished" if jobs else f"it is {state}"
            raise CloudError(
                f"application {one.parameters['applicationId']}: {text} after {STOP_TIMEOUT:.0f} s; "
                "run `pomona cloud down` again later"
            )
        time.sleep(PAUSE)
