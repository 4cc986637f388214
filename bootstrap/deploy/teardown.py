"""Terminate what costs by the hour: schedule, cluster, jobs and application. Resources that hold data are retained."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from bootstrap.aws.client import Account
from bootstrap.aws.describe_cluster import list_clusters, tags_of
from bootstrap.aws.describe_serverless import live_jobs, newest_application
from bootstrap.aws.request import Ask, Parameters
from bootstrap.config.names import Names
from bootstrap.errors import CloudError
from bootstrap.monitor.status import find_schedule

#: Seconds that an application may take until its jobs are over and it has stopped, and between two looks.
RETRY_TIMEOUT, PAUSE = 300.0, 5.0


@dataclass(frozen=True)
class Ending:
    """One thing that ends: what, in words, and the request that ends it."""

    what: str
    service: str
    operation: str
    parameters: Parameters


def endings(names: Names, ask: Ask) -> list[Ending]:
    """What there is to end, in order: first what would start more.

    Whatever the description's mode is now: both a cluster and an application are looked for.
    """
    found: list[Ending] = []
    if find_schedule(ask, names):
        name = names.of("refit")
        found.append(Ending(f"schedule {name}", "scheduler", "delete_schedule", {"Name": name}))
    for cluster in _clusters(names, ask):
        told = f"cluster {cluster['Id']} ({cluster['Status']['State']})"
        asked = {"JobFlowIds": [cluster["Id"]]}
        found.append(Ending(told, "emr", "terminate_job_flows", asked))
    application = newest_application(ask, names.description.name)
    where = {"applicationId": application["id"]} if application else {}
    if application and _is_ours(names, ask("emr-serverless", "get_application", where)):
        for job in live_jobs(ask, application["id"]):
            if job["state"] == "CANCELLING":
                continue
            told = f"job {job.get('name') or job['id']} ({job['state']})"
            asked = where | {"jobRunId": job["id"]}
            found.append(Ending(told, "emr-serverless", "cancel_job_run", asked))
        told = f"application {application['id']} ({application['state']})"
        found.append(Ending(told, "emr-serverless", "stop_application", where))
        found.append(Ending(f"{told}: deleted", "emr-serverless", "delete_application", where))
    return found


def end(found: list[Ending], account: Account) -> Iterator[Ending]:
    """End one after the other; each is told when it is done.

    Raises
    ------
    CloudError
        Where AWS refuses, or an application does not stop; run again, it goes on from there.
    """
    for one in found:
        if one.service == "emr-serverless" and one.operation != "cancel_job_run":
            _wait(account, one)
        account.send(one.service, one.operation, one.parameters)
        yield one


def staying(names: Names) -> list[str]:
    """What is left, in words; none of it costs by the hour but what the buckets hold by the month."""
    made = [
        f"data bucket {names.data}: images, tables, refits and all that was uploaded; no command deletes it",
        f"log bucket {names.log}: logs go by themselves after {names.description.storage.log_days} days",
    ]
    roles = ["evaluator", "scheduler"]
    if names.description.mode == "serverless":
        roles.append("job")
    else:
        roles += ["service", "nodes"]
        groups = [
            "primary",
            "workers",
            "tunnel",
            *(["service"] if names.description.network.private else []),
        ]
        made.append(f"security groups {', '.join(names.of(one) for one in groups)}")
        made.append(
            f"security configuration {names.of('imdsv2')}, instance profile {names.of('nodes')}"
        )
    return [*made, f"roles {', '.join(names.of(one) for one in sorted(roles))}"]


def _clusters(names: Names, ask: Ask) -> list[Parameters]:
    """Live clusters of the description: a schedule may have started several; one of another's making is not ours."""
    found = []
    for one in list_clusters(ask):
        if one["Name"] != names.description.name:
            continue
        described = ask("emr", "describe_cluster", {"ClusterId": one["Id"]}) or {}
        if tags_of(described["Cluster"]).get("pomona") == names.description.name:
            found.append(one)
    return found


def _is_ours(names: Names, answer: Parameters | None) -> bool:
    tags = (answer or {}).get("application", {}).get("tags") or {}
    return bool(tags.get("pomona") == names.description.name)


def _wait(account: Account, one: Ending) -> None:
    """Wait until an application has no jobs, and before it is deleted until it has stopped."""
    deleting = one.operation == "delete_application"
    until = time.monotonic() + RETRY_TIMEOUT
    while True:
        answer = account.ask("emr-serverless", "get_application", one.parameters) or {}
        state = answer["application"]["state"]
        jobs = live_jobs(account.ask, one.parameters["applicationId"])
        if not jobs and (not deleting or state in ("CREATED", "STOPPED")):
            return
        if time.monotonic() > until:
            told = f"{len(jobs)} jobs are not over" if jobs else f"it is {state}"
            raise CloudError(
                f"application {one.parameters['applicationId']}: {told} after {RETRY_TIMEOUT:.0f} s; "
                "run `pomona cloud down` again in a while"
            )
        time.sleep(PAUSE)
