"""Terminate everything that is billed by the hour, and delete the stacks; resources that hold data are retained."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bootstrap.aws.client import Account
from bootstrap.aws.describe_bucket import bucket_exists
from bootstrap.aws.describe_serverless import (
    STOPPED_STATES,
    active_jobs,
    application_state,
    newest_application,
)
from bootstrap.aws.request import Parameters, ReadApi
from bootstrap.config.names import Names
from bootstrap.deploy.deployment import REFIT_INPUT
from bootstrap.deploy.security_groups import (
    USING,
    attached_endpoints,
    own_clusters,
    revoke_references,
)
from bootstrap.deploy.stacks import (
    Report,
    change_parameters,
    delete_stack,
    find_stack,
    stack_parameters,
)
from bootstrap.errors import CloudError
from bootstrap.resources.stack import TEMPLATES

#: Seconds to wait until an application has no jobs and has stopped, or clusters are terminated, and between polls.
STOP_TIMEOUT, POLL_INTERVAL = 300.0, 5.0
_NOT_CHECKED = " (not checked: it cannot be read)"


@dataclass(frozen=True)
class TeardownAction:
    """A request that terminates or deletes a resource, and a description of the resource."""

    description: str
    service: str
    operation: str
    parameters: Parameters


def find_teardown_actions(names: Names, read: ReadApi) -> list[TeardownAction]:
    """Return the actions in order, first the removal of the schedule, which could start clusters and jobs.

    Both clusters and applications are included, because the mode may have changed since `up`.
    """
    actions: list[TeardownAction] = []
    # Those that `up` has created by requests: the end of a cluster, and with an existing stack also the refits.
    for name in _own_schedules(names, read):
        actions.append(
            TeardownAction(f"schedule {name}", "scheduler", "delete_schedule", {"Name": name})
        )
    if stack := _scheduling_stack(names, read):
        parameters = {"StackName": stack, **dict.fromkeys(REFIT_INPUT, "")}
        description = f"schedule {names.prefixed('refit')}"
        actions.append(TeardownAction(description, "cloudformation", "update_stack", parameters))
    for cluster in own_clusters(names, read):
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
        if application["state"] not in STOPPED_STATES:
            description = f"application {application['id']} ({application['state']})"
            actions.append(
                TeardownAction(description, "emr-serverless", "stop_application", application_id)
            )
    return actions


def tear_down(
    actions: list[TeardownAction], account: Account, report: Report
) -> Iterator[TeardownAction]:
    """Apply the actions one after the other; yield each when it is done.

    A schedule that cannot be removed does not keep clusters and jobs running: its error is raised at the end.

    Raises
    ------
    CloudError
        If AWS rejects a request, or an application does not stop.
    """
    failure: CloudError | None = None
    for action in actions:
        try:
            _apply(action, account, report)
        except CloudError as error:
            if action.service not in ("cloudformation", "scheduler"):
                raise
            failure = error
        else:
            yield action
    if failure:
        raise failure


def _apply(action: TeardownAction, account: Account, report: Report) -> None:
    if action.service == "cloudformation":
        changed = {key: value for key, value in action.parameters.items() if key in REFIT_INPUT}
        change_parameters(action.parameters["StackName"], changed, account, report)
        return
    if action.operation == "stop_application":
        _wait_until_idle(account, action.parameters["applicationId"])
    account.send(action.service, action.operation, action.parameters)


def existing_stacks(names: Names, read: ReadApi) -> list[str]:
    """Return the stacks that exist, in the order of their deletion."""
    if names.config.stack:  # belongs to others
        return []
    found = (names.prefixed(template) for template in TEMPLATES)
    return [name for name in found if find_stack(read, name)]


def delete_stacks(names: Names, account: Account, report: Report) -> Iterator[str]:
    """Delete the stacks after the clusters and the application have stopped; yield each name.

    EMR adds rules to the security groups of the nodes that refer to each other. They are revoked before.

    Raises
    ------
    CloudError
        If a cluster or the application does not stop, if a VPC endpoint has a security group of the stack, or with
        AWS's reason if a resource cannot be deleted.
    """
    _wait_until_terminated(names, account)
    application = newest_application(account.read, names.config.name)
    if application:
        _wait_until_stopped(account, application["id"])
    for endpoint, description in attached_endpoints(names, account.read):
        raise CloudError(
            f"stack {names.prefixed('long-lived')}: its security group cannot be deleted while {endpoint} has it: "
            f"{description}; run `pomona cloud down --all` again afterwards"
        )
    for name in existing_stacks(names, account.read):
        revoke_references(name, account)
        delete_stack(name, account, report)
        yield name


def retained_resources(names: Names, read: ReadApi, deleted: Sequence[str] = ()) -> list[str]:
    """Return descriptions of the retained resources that exist; buckets and VPC endpoints are billed.

    `deleted` contains the names of the stacks that are not retained.

    A resource that cannot be read is listed as not checked: a missing permission must not prevent the termination of
    a cluster.
    """
    days = names.config.storage.log_days
    contents = {
        names.data_bucket: ("data", "images, tables, refits and uploads; no command deletes it"),
        names.log_bucket: ("log", f"logs expire after {days} days"),
    }
    result = []
    for bucket, (kind, content) in contents.items():
        try:
            if bucket_exists(read, bucket):
                result.append(f"{kind} bucket {bucket}: {content}")
        except CloudError:
            result.append(f"{kind} bucket {bucket}{_NOT_CHECKED}: {content}")
    try:
        result += [description for _, description in attached_endpoints(names, read)]
    except CloudError:
        if names.config.network.private:
            result.append(f"VPC endpoint of EMR{_NOT_CHECKED}: billed by the hour")
    if names.config.stack:
        return [*result, f"stack {names.config.stack}: no command changes or deletes it"]
    for template in TEMPLATES:
        name = names.prefixed(template)
        try:
            if name not in deleted and find_stack(read, name):
                result.append(f"stack {name}: not billed; `pomona cloud down --all` deletes it")
        except CloudError:
            result.append(f"stack {name}{_NOT_CHECKED}")
    return result


def _scheduling_stack(names: Names, read: ReadApi) -> str | None:
    """Return the stack that has a schedule, or cannot be read; None if there is no schedule."""
    if names.config.stack:
        return None
    name = names.prefixed("long-lived")
    try:
        stack = find_stack(read, name)
    except CloudError:
        return name  # the update reports the reason
    return name if stack and any(stack_parameters(stack).get(key) for key in REFIT_INPUT) else None


def _own_schedules(names: Names, read: ReadApi) -> list[str]:
    """Return the names of the schedules that `up` and `clone` have created by requests.

    If they cannot be listed, those of `up` are returned: their deletion reports the reason.
    """
    end, refit = names.prefixed("end"), names.prefixed("refit")
    pattern = rf"{end}(-j-[A-Z0-9]+)?" + (f"|{refit}" if names.config.stack else "")
    query = {"GroupName": "default", "NamePrefix": f"{names.config.name}-"}
    try:
        found = (read("scheduler", "list_schedules", query) or {})["Schedules"]
    except CloudError:
        return [end, refit] if names.config.stack else [end]
    return [one["Name"] for one in found if re.fullmatch(pattern, one["Name"])]


def _has_tag(names: Names, response: Parameters | None) -> bool:
    tags = (response or {}).get("application", {}).get("tags") or {}
    return bool(tags.get("pomona") == names.config.name)


def _wait_until_terminated(names: Names, account: Account) -> None:
    """Wait until no cluster of the configuration uses the security groups."""

    def running() -> str | None:
        """Return the first cluster that has not been terminated."""
        for cluster in own_clusters(names, account.read, USING):
            return f"cluster {cluster['Id']}: it is {cluster['Status']['State']}"
        return None

    _wait_while(running, "down --all")


def _wait_until_idle(account: Account, application_id: str) -> None:
    """Wait until an application has no jobs."""

    def running() -> str | None:
        """Return how many jobs have not finished."""
        jobs = active_jobs(account.read, application_id)
        return f"application {application_id}: unfinished jobs: {len(jobs)}" if jobs else None

    _wait_while(running, "down")


def _wait_until_stopped(account: Account, application_id: str) -> None:
    """Wait until an application has stopped: EMR Serverless deletes no other."""

    def running() -> str | None:
        """Return the state of the application if it has not stopped."""
        state = application_state(account.read, application_id)
        return None if state in STOPPED_STATES else f"application {application_id}: it is {state}"

    _wait_while(running, "down")


def _wait_while(running: Callable[[], str | None], command: str) -> None:
    """Poll until `running` returns None; CloudError with its text after `STOP_TIMEOUT` seconds."""
    deadline = time.monotonic() + STOP_TIMEOUT
    while found := running():
        if time.monotonic() > deadline:
            raise CloudError(
                f"{found} after {STOP_TIMEOUT:.0f} s; run `pomona cloud {command}` again later"
            )
        time.sleep(POLL_INTERVAL)
