"""Terminate everything that is billed by the hour; resources that hold data are retained."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from bootstrap.aws.client import Account
from bootstrap.aws.describe_cluster import cluster_tags, list_clusters
from bootstrap.aws.describe_queue import NO_QUEUE_CODES
from bootstrap.aws.describe_serverless import active_jobs, newest_application
from bootstrap.aws.request import Parameters, ReadApi
from bootstrap.config.names import Names
from bootstrap.errors import CloudError
from bootstrap.monitor.status import find_schedule

#: Seconds to wait until an application has no jobs and has stopped, and between polls.
STOP_TIMEOUT, POLL_INTERVAL = 300.0, 5.0
#: Suffixes of the roles and security groups of both modes.
ROLES = ("evaluator", "job", "nodes", "scheduler", "service")
_GROUPS = ("primary", "service", "tunnel", "workers")
_SECURITY_CONFIGURATIONS = ("imdsv2", "imdsv2-hops-2")
_NOT_CHECKED = " (not checked: it cannot be read)"


@dataclass(frozen=True)
class TeardownAction:
    """A request that terminates or deletes a resource, and a description of the resource."""

    description: str
    service: str
    operation: str
    parameters: Parameters


def find_teardown_actions(names: Names, read: ReadApi) -> list[TeardownAction]:
    """Return the actions in order, first the deletion of the schedule, which could start clusters and jobs.

    Both clusters and applications are included, because the mode may have changed since `up`.
    """
    actions: list[TeardownAction] = []
    if find_schedule(read, names):
        name = names.prefixed("refit")
        actions.append(
            TeardownAction(f"schedule {name}", "scheduler", "delete_schedule", {"Name": name})
        )
    for cluster in _clusters(names, read):
        description = f"cluster {cluster['Id']} ({cluster['Status']['State']})"
        query = {"JobFlowIds": [cluster["Id"]]}
        actions.append(TeardownAction(description, "emr", "terminate_job_flows", query))
    application = newest_application(read, names.config.name)
    application_id = {"applicationId": application["id"]} if application else {}
    if application and _has_tag(names, read("emr-serverless", "get_application", application_id)):
        for job in active_jobs(read, application["id"]):
            if job["state"] == "CANCELLING":
                continue
            description = f"job {job.get('name') or job['id']} ({job['state']})"
            query = application_id | {"jobRunId": job["id"]}
            actions.append(TeardownAction(description, "emr-serverless", "cancel_job_run", query))
        description = f"application {application['id']} ({application['state']})"
        actions.append(
            TeardownAction(description, "emr-serverless", "stop_application", application_id)
        )
        actions.append(
            TeardownAction(
                f"{description}: deleted", "emr-serverless", "delete_application", application_id
            )
        )
    return actions


def tear_down(actions: list[TeardownAction], account: Account) -> Iterator[TeardownAction]:
    """Apply the actions one after the other; yield each when it is done.

    Raises
    ------
    CloudError
        If AWS rejects a request, or an application does not stop.
    """
    for action in actions:
        if action.service == "emr-serverless" and action.operation != "cancel_job_run":
            _wait_until_stopped(account, action)
        account.send(action.service, action.operation, action.parameters)
        yield action


def retained_resources(names: Names, read: ReadApi) -> list[str]:
    """Return descriptions of the retained resources that exist; only the storage of the buckets is billed.

    The resources of both modes are included, because the mode may have changed since `up`. A resource that cannot
    be read is listed as not checked: a missing permission must not prevent the termination of a cluster.
    """
    days = names.config.storage.log_days
    contents = {
        names.data_bucket: ("data", "images, tables, refits and uploads; no command deletes it"),
        names.log_bucket: ("log", f"logs expire after {days} days"),
    }
    result = []
    for bucket, (kind, content) in contents.items():
        absent_codes = ("404", "NoSuchBucket")
        for found in _existing("s3", "head_bucket", "Bucket", [bucket], absent_codes, read):
            result.append(f"{kind} bucket {found}: {content}")
    roles = [names.prefixed(role) for role in ROLES]
    groups = [names.prefixed(group) for group in _GROUPS]
    profile = [names.prefixed("nodes")]
    configurations = [names.prefixed(suffix) for suffix in _SECURITY_CONFIGURATIONS]
    queue = [names.failed_refits]
    no_entity, invalid = ("NoSuchEntity",), ("InvalidRequestException",)
    found_by_kind = {
        "security groups": _existing_groups(groups, names, read),
        "security configurations": _existing(
            "emr", "describe_security_configuration", "Name", configurations, invalid, read
        ),
        "queue": _existing("sqs", "get_queue_url", "QueueName", queue, NO_QUEUE_CODES, read),
        "instance profile": _existing(
            "iam", "get_instance_profile", "InstanceProfileName", profile, no_entity, read
        ),
        "roles": _existing("iam", "get_role", "RoleName", roles, no_entity, read),
    }
    return result + [f"{kind} {', '.join(found)}" for kind, found in found_by_kind.items() if found]


def _existing(
    service: str,
    operation: str,
    key: str,
    candidates: list[str],
    absent_codes: tuple[str, ...],
    read: ReadApi,
) -> list[str]:
    """Return the names that exist, and those that cannot be read, with a remark."""
    found = []
    for name in candidates:
        try:
            if read(service, operation, {key: name}, absent_codes) is not None:
                found.append(name)
        except CloudError:
            found.append(name + _NOT_CHECKED)
    return found


def _existing_groups(candidates: list[str], names: Names, read: ReadApi) -> list[str]:
    """Return the security groups that `up` created, in any network."""
    filters = [
        {"Name": "group-name", "Values": candidates},
        {"Name": "tag:pomona", "Values": [names.config.name]},
    ]
    try:
        response = read("ec2", "describe_security_groups", {"Filters": filters})
    except CloudError:
        return [name + _NOT_CHECKED for name in candidates]
    return sorted({group["GroupName"] for group in (response or {}).get("SecurityGroups", [])})


def _clusters(names: Names, read: ReadApi) -> list[Parameters]:
    """Return the live clusters tagged with the configuration's name; a schedule may have started several."""
    clusters = []
    for cluster in list_clusters(read):
        if cluster["Name"] != names.config.name:
            continue
        response = read("emr", "describe_cluster", {"ClusterId": cluster["Id"]}) or {}
        if cluster_tags(response["Cluster"]).get("pomona") == names.config.name:
            clusters.append(cluster)
    return clusters


def _has_tag(names: Names, response: Parameters | None) -> bool:
    tags = (response or {}).get("application", {}).get("tags") or {}
    return bool(tags.get("pomona") == names.config.name)


def _wait_until_stopped(account: Account, action: TeardownAction) -> None:
    """Wait until an application has no jobs and, before deletion, until it has stopped."""
    deleting = action.operation == "delete_application"
    deadline = time.monotonic() + STOP_TIMEOUT
    while True:
        response = account.read("emr-serverless", "get_application", action.parameters) or {}
        state = response["application"]["state"]
        jobs = active_jobs(account.read, action.parameters["applicationId"])
        if not jobs and (not deleting or state in ("CREATED", "STOPPED")):
            return
        if time.monotonic() > deadline:
            reason = f"{len(jobs)} jobs have not finished" if jobs else f"it is {state}"
            raise CloudError(
                f"application {action.parameters['applicationId']}: {reason} after {STOP_TIMEOUT:.0f} s; "
                "run `pomona cloud down` again later"
            )
        time.sleep(POLL_INTERVAL)
