"""Deploy and delete CloudFormation stacks: change sets, progress from stack events, AWS's reason for a failure."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bootstrap.aws.client import Account
from bootstrap.aws.request import Parameters, ReadApi
from bootstrap.errors import CloudError
from bootstrap.resources.template import Resource

#: Seconds between polls, and until waiting for a change set or a stack ends.
POLL_INTERVAL, CHANGE_SET_TIMEOUT, STACK_TIMEOUT = 3.0, 300.0, 3600.0
#: Part of the reason for a queue that cannot be created, and seconds until it can.
_QUEUE_DELETED, QUEUE_DELAY = "wait 60 seconds after deleting a queue", 60.0
_NO_CHANGES = ("didn't contain changes", "No updates are to be performed")
#: States of a stack that can be updated.
UPDATABLE = (
    "CREATE_COMPLETE",
    "UPDATE_COMPLETE",
    "UPDATE_ROLLBACK_COMPLETE",
    "IMPORT_COMPLETE",
    "IMPORT_ROLLBACK_COMPLETE",
)
#: States of a stack that must be deleted before it can be created again.
_FAILED_CREATION = ("CREATE_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "DELETE_FAILED")
_REVIEW = "REVIEW_IN_PROGRESS"
Report = Callable[[str], None]


@dataclass(frozen=True)
class StackSpec:
    """The desired state of a stack.

    Parameters
    ----------
    name : str
    body : str
        Text of the template.
    parameters : dict of str
    tags : dict of str
    resources : list of Resource
        Those whose condition is true.
    purposes : dict of str
        Purpose of each resource of the template, by logical ID.
    """

    name: str
    body: str
    parameters: Mapping[str, str]
    tags: Mapping[str, str]
    resources: list[Resource] = field(default_factory=list)
    purposes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ResourceChange:
    """A change of a resource in a change set.

    Parameters
    ----------
    action : str
        ``add``, ``import``, ``modify``, ``replace`` or ``remove``.
    name, type : str
        Logical ID and type.
    physical_id : str or None
    purpose : str
    properties : list of str
        Changed properties of a modified resource.
    """

    action: str
    name: str
    type: str
    physical_id: str | None
    purpose: str
    properties: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class StackChanges:
    """The changes of a stack.

    Parameters
    ----------
    name : str
    exists : bool
        False: the stack is created.
    changes : list of ResourceChange
    note : str
        Why the changes are not applied, or are not those of a change set.
    """

    name: str
    exists: bool
    changes: list[ResourceChange]
    note: str = ""


def find_stack(read: ReadApi, name: str) -> Parameters | None:
    """Return a stack, by name or ID; None if it does not exist, or contains only a change set under review."""
    response = read("cloudformation", "describe_stacks", {"StackName": name}, ("ValidationError",))
    stacks = response["Stacks"] if response else []
    return stacks[0] if stacks and stacks[0]["StackStatus"] != _REVIEW else None


def stack_outputs(stack: Parameters) -> dict[str, str]:
    """Return the outputs of a stack."""
    return {one["OutputKey"]: one["OutputValue"] for one in stack.get("Outputs") or ()}


def stack_parameters(stack: Parameters) -> dict[str, str]:
    """Return the parameters of a stack."""
    return {one["ParameterKey"]: one["ParameterValue"] for one in stack.get("Parameters") or ()}


def stack_resources(read: ReadApi, name: str, resource_type: str) -> list[str]:
    """Return the physical IDs of the resources of a type."""
    found = read("cloudformation", "list_stack_resources", {"StackName": name}) or {}
    return [
        one["PhysicalResourceId"]
        for one in found["StackResourceSummaries"]
        if one["ResourceType"] == resource_type and one.get("PhysicalResourceId")
    ]


def preview_stack(spec: StackSpec, account: Account) -> StackChanges:
    """Return the changes of a stack from a change set, which is deleted afterwards.

    A stack that exists only because of the change set is deleted too.
    """
    stack = find_stack(account.read, spec.name)
    status = stack["StackStatus"] if stack else None
    if stack and status not in UPDATABLE and status not in _FAILED_CREATION:
        raise CloudError(_blocked(spec.name, str(status)))
    exists = status in UPDATABLE
    if status in _FAILED_CREATION:  # AWS creates no change set for it, and `up` deletes it
        return StackChanges(spec.name, False, [])
    change_set, changes = _create_change_set(spec, account, exists=exists)
    _discard(spec, account, change_set, exists=exists)
    return StackChanges(spec.name, exists, changes, _fixed_name(spec, changes))


def deploy_stack(
    spec: StackSpec,
    account: Account,
    report: Report,
    obstacle: Callable[[list[ResourceChange]], str] = lambda _changes: "",
    *,
    retry: bool = True,
) -> StackChanges:
    """Create or update a stack, and wait until it is complete.

    A stack whose creation failed before is deleted first. An operation in progress is waited for. SQS rejects the name
    of a queue for 60 seconds after its deletion: the operation is then repeated once.

    Parameters
    ----------
    spec : StackSpec
    account : Account
    report : callable
        Receives a line for each stack event.
    obstacle : callable
        Returns why changes cannot be applied; also with CloudError; they are then discarded. An empty text: they can.
    retry : bool
        Whether the operation is repeated.

    Raises
    ------
    CloudError
        With AWS's reason for the first resource that failed.
    """
    stack = find_stack(account.read, spec.name)
    if stack and stack["StackStatus"].endswith("_IN_PROGRESS"):
        report(f"stack {spec.name}: waiting for {stack['StackStatus']}")
        stack_id, seen = stack["StackId"], _event_ids(account, stack["StackId"])
        stack = find_stack(account.read, stack_id) or {}
        if stack["StackStatus"].endswith("_IN_PROGRESS"):
            stack = _wait(account, stack_id, report, seen)
    status = stack["StackStatus"] if stack else None
    if status in _FAILED_CREATION:
        report(
            f"stack {spec.name}: a previous creation failed ({status}); deleting the stack first"
        )
        delete_stack(spec.name, account, report)
        status = None
    elif stack and status not in (*UPDATABLE, "DELETE_COMPLETE"):
        raise CloudError(_blocked(spec.name, str(status)))
    exists = status in UPDATABLE
    change_set, changes = _create_change_set(spec, account, exists=exists)
    try:
        if problem := _fixed_name(spec, changes):
            raise CloudError(f"stack {spec.name}: {problem}")
        note = obstacle(changes)
    except CloudError:
        _discard(spec, account, change_set, exists=exists)
        raise
    if note or (exists and not changes):
        _discard(spec, account, change_set, exists=exists)
        return StackChanges(spec.name, exists, changes, note)
    (described,) = (
        account.read("cloudformation", "describe_stacks", {"StackName": spec.name}) or {}
    )["Stacks"]
    seen = _event_ids(account, described["StackId"])
    account.send("cloudformation", "execute_change_set", _identity(spec, change_set))
    final = _wait(account, described["StackId"], report, set(seen))
    if final["StackStatus"] not in ("CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE"):
        failure = _failure(account, described["StackId"], seen)
        if retry and _QUEUE_DELETED in failure:
            report(
                f"stack {spec.name}: SQS accepts the name of a deleted queue only after 60 s; retrying"
            )
            time.sleep(QUEUE_DELAY)
            return deploy_stack(spec, account, report, obstacle, retry=False)
        raise CloudError(
            f"stack {spec.name}: {failure} ({final['StackStatus']}); "
            "correct the cause, and run `pomona cloud up` again"
        )
    return StackChanges(spec.name, exists, changes)


def change_parameters(
    name: str, changed: Mapping[str, str], account: Account, report: Report
) -> None:
    """Update a stack with other values of some parameters; the template and the other parameters are kept."""
    stack = find_stack(account.read, name) or {}
    kept = stack_parameters(stack).keys() - changed.keys()
    parameters = [{"ParameterKey": key, "UsePreviousValue": True} for key in sorted(kept)]
    parameters += [{"ParameterKey": k, "ParameterValue": v} for k, v in changed.items()]
    seen = _event_ids(account, stack["StackId"])
    account.send(
        "cloudformation",
        "update_stack",
        {
            "StackName": name,
            "UsePreviousTemplate": True,
            "Parameters": parameters,
            "Capabilities": ["CAPABILITY_NAMED_IAM"],
        },
    )
    final = _wait(account, stack["StackId"], report, set(seen))
    if final["StackStatus"] != "UPDATE_COMPLETE":
        raise CloudError(f"stack {name}: {_failure(account, stack['StackId'], seen)}")


def delete_stack(name: str, account: Account, report: Report) -> None:
    """Delete a stack, and wait; resources with the deletion policy Retain are kept.

    Raises
    ------
    CloudError
        With AWS's reason for the first resource that could not be deleted.
    """
    stack = find_stack(account.read, name)
    if stack is None:
        return
    stack_id = stack["StackId"]
    seen = _event_ids(account, stack_id)
    account.send("cloudformation", "delete_stack", {"StackName": stack_id})
    final = _wait(account, stack_id, report, set(seen))
    if final["StackStatus"] != "DELETE_COMPLETE":
        raise CloudError(
            f"stack {name}: {_failure(account, stack_id, seen)} ({final['StackStatus']}); "
            "correct the cause, and run `pomona cloud down --all` again"
        )


def _fixed_name(spec: StackSpec, changes: list[ResourceChange]) -> str:
    """Return why a resource cannot be replaced; empty if all can.

    CloudFormation creates the new resource before it deletes the old one, and a name can exist only once.
    """
    name_properties = {one.name: one.name_property for one in spec.resources}
    for change in changes:
        name_property = name_properties.get(change.name)
        if change.action == "replace" and name_property and name_property not in change.properties:
            changed = ", ".join(change.properties)
            return (
                f"{change.name} cannot be replaced, because it has a custom name (changed: {changed}): "
                "run `pomona cloud down --all`, which keeps the data, and then `up`"
            )
    return ""


def _blocked(name: str, status: str) -> str:
    if status.endswith("_IN_PROGRESS"):
        return f"stack {name} is {status}: wait until the operation ends, and try again"
    return (
        f"stack {name} is {status}: run `aws cloudformation continue-update-rollback --stack-name {name}`, "
        "and try again"
    )


def _create_change_set(
    spec: StackSpec, account: Account, *, exists: bool
) -> tuple[str, list[ResourceChange]]:
    """Create a change set, wait, and return its ID and its changes; existing retained resources are imported."""
    created = account.send(
        "cloudformation",
        "create_change_set",
        {
            "StackName": spec.name,
            "ChangeSetName": f"pomona-{uuid.uuid4().hex}",
            "ChangeSetType": "UPDATE" if exists else "CREATE",
            "TemplateBody": spec.body,
            "Parameters": [
                {"ParameterKey": key, "ParameterValue": value}
                for key, value in spec.parameters.items()
            ],
            "Capabilities": ["CAPABILITY_NAMED_IAM"],
            "Tags": [{"Key": key, "Value": value} for key, value in spec.tags.items()],
            "ImportExistingResources": True,
        },
    )
    change_set = str(created["Id"])
    deadline = time.monotonic() + CHANGE_SET_TIMEOUT
    while True:
        query = _identity(spec, change_set)
        described = account.read("cloudformation", "describe_change_set", query) or {}
        if described["Status"] == "CREATE_COMPLETE":
            changes = [
                _change(one["ResourceChange"], spec) for one in described.get("Changes") or ()
            ]
            return change_set, changes
        reason = str(described.get("StatusReason") or "AWS gives no reason")
        if described["Status"] == "FAILED":
            if any(text in reason for text in _NO_CHANGES):
                return change_set, []
            _discard(spec, account, change_set, exists=exists)
            raise CloudError(f"stack {spec.name}: {reason}")
        if time.monotonic() > deadline:
            _discard(spec, account, change_set, exists=exists)
            raise CloudError(f"stack {spec.name}: the change set is still {described['Status']}")
        time.sleep(POLL_INTERVAL)


def _change(change: Parameters, spec: StackSpec) -> ResourceChange:
    action = str(change["Action"]).lower()
    if action == "modify" and change.get("Replacement") == "True":
        action = "replace"
    details: list[Any] = change.get("Details") or []
    properties = {str(one["Target"].get("Name") or one["Target"]["Attribute"]) for one in details}
    name = str(change["LogicalResourceId"])
    return ResourceChange(
        action,
        name,
        str(change["ResourceType"]),
        change.get("PhysicalResourceId"),
        spec.purposes.get(name, ""),
        sorted(properties) if action in ("modify", "replace") else [],
    )


def _identity(spec: StackSpec, change_set: str) -> Parameters:
    """Return the parameters that identify a change set; IAM authorizes these requests for the stack."""
    return {"StackName": spec.name, "ChangeSetName": change_set}


def _discard(spec: StackSpec, account: Account, change_set: str, *, exists: bool) -> None:
    """Delete a change set, and the stack that was created for it."""
    account.send("cloudformation", "delete_change_set", _identity(spec, change_set))
    if not exists:
        account.send("cloudformation", "delete_stack", {"StackName": spec.name})


def _events(account: Account, stack_id: str) -> list[Parameters]:
    """Return the events of a stack, the oldest first."""
    query = {"StackName": stack_id}
    response = account.read("cloudformation", "describe_stack_events", query) or {}
    return list(reversed(response.get("StackEvents") or ()))


def _event_ids(account: Account, stack_id: str) -> set[str]:
    return {str(one["EventId"]) for one in _events(account, stack_id)}


def _wait(account: Account, stack_id: str, report: Report, reported: set[str]) -> Parameters:
    """Wait until an operation of a stack has ended, report its events, and return the stack.

    It has ended with an event of the stack itself: the state may be that before the operation for a moment.
    """
    deadline = time.monotonic() + STACK_TIMEOUT
    while True:
        ended = False
        for event in _events(account, stack_id):
            status = str(event["ResourceStatus"])
            if str(event["EventId"]) not in reported:
                reported.add(str(event["EventId"]))
                report(f"{event['LogicalResourceId']} ({event['ResourceType']}): {status}")
                own = event.get("PhysicalResourceId") == stack_id
                ended = ended or (own and not status.endswith("_IN_PROGRESS"))
        query = {"StackName": stack_id}
        found = account.read("cloudformation", "describe_stacks", query) or {}
        stack: Parameters = found["Stacks"][0]
        if ended and not stack["StackStatus"].endswith("_IN_PROGRESS"):
            return stack
        if time.monotonic() > deadline:
            raise CloudError(
                f"stack {stack['StackName']} is still {stack['StackStatus']}: run the command again"
            )
        time.sleep(POLL_INTERVAL)


def _failure(account: Account, stack_id: str, seen: set[str]) -> str:
    """Return the first resource that failed since `seen`, with AWS's reason."""
    for event in _events(account, stack_id):
        reason = str(event.get("ResourceStatusReason") or "")
        failed = str(event["ResourceStatus"]).endswith("_FAILED") and "cancelled" not in reason
        if failed and str(event["EventId"]) not in seen:
            return f"{event['LogicalResourceId']} ({event['ResourceType']}): {reason or 'AWS gives no reason'}"
    return "AWS gives no reason"
