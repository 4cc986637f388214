"""The stacks of a configuration: their parameters, their outputs, and the order of the deployment."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace

from bootstrap.aws.client import Account
from bootstrap.aws.describe_serverless import STOPPED_STATES, application_state
from bootstrap.aws.request import Parameters, ReadApi, has_references, resolve_references
from bootstrap.config.names import Names
from bootstrap.deploy.security_groups import group_obstacle, removes_groups, revoke_references
from bootstrap.deploy.stacks import (
    UPDATABLE,
    Report,
    ResourceChange,
    StackChanges,
    StackSpec,
    deploy_stack,
    find_stack,
    preview_stack,
    stack_outputs,
    stack_parameters,
)
from bootstrap.errors import AccessDeniedError, CloudError
from bootstrap.resources.schedule import create_schedule
from bootstrap.resources.stack import read_template, template_parameters
from bootstrap.resources.template import (
    Resource,
    template_body,
    template_purposes,
    template_resources,
)
from bootstrap.resources.uploads import UploadLocations

#: Outputs of the stacks that requests refer to.
_OUTPUTS = {
    "PrimaryGroupId": "primary.GroupId",
    "WorkersGroupId": "workers.GroupId",
    "TunnelGroupId": "tunnel.GroupId",
    "ServiceGroupId": "service.GroupId",
    "ApplicationId": "application.applicationId",
}
#: Bytes of a value of a parameter, and the parameters of the input of the schedule.
_VALUE_LIMIT, REFIT_INPUT = 4096, ("RefitInput", "RefitInputRest", "RefitInputEnd")
#: Values of a plan for an application, and for an input of the schedule, that are not known yet.
_LATER_ID, _LATER_INPUT = "later", "{}"
APPLICATION = "AWS::EMRServerless::Application"


#: Parameters that may differ between an existing stack and the configuration: no request depends on them.
_INDEPENDENT = frozenset(
    [
        "AlarmAddress",
        "AlarmTopic",
        "DataBucketExists",
        "EvaluatorPrincipals",
        "GlueDatabaseExists",
        "LakeParentArns",
        "LimitHours",
        "LogBucketExists",
        "LogDays",
        "MaximumBacklog",
        "MonthlyBudget",
        "PermissionsBoundary",
        "ScheduleExpression",
        "SshFrom1",
        "SshFrom2",
        "SshFrom3",
        "SshFrom4",
        "SshFrom5",
        "StalledMinutes",
        "VpcId",
    ]
)

#: Those of them on which permissions depend if they are set, and their settings.
_OPTIONS = {
    "ScheduleExpression": "refit.schedule",
    "LimitHours": "limits.hours",
    "AlarmAddress": "alarms.address",
    "AlarmTopic": "alarms.topic",
}


def stack_templates(names: Names) -> tuple[str, ...]:
    """Return the templates of a configuration in the order of their deployment; none with an existing stack."""
    if names.config.stack:
        return ()
    return ("serverless", "long-lived") if names.config.mode == "serverless" else ("long-lived",)


def load_outputs(names: Names, account: Account) -> None:
    """Store the outputs of the existing stacks for the requests that refer to them."""
    outputs: dict[str, str] = {}
    for template in stack_templates(names):
        outputs |= stack_outputs(find_stack(account.read, names.prefixed(template)) or {})
    if names.config.stack:
        existing = _existing_stack(names, account.read)
        outputs = stack_outputs(existing)
        if application := stack_parameters(existing).get("ApplicationId"):
            outputs["ApplicationId"] = application
    for key, value in outputs.items():
        if key in _OUTPUTS:
            account.values[_OUTPUTS[key]] = value


def _existing_stack(names: Names, read: ReadApi) -> Parameters:
    """Return the existing stack that the configuration names.

    Raises
    ------
    CloudError
        If there is no such stack.
    """
    assert names.config.stack is not None
    stack = find_stack(read, names.config.stack)
    if stack is None:
        raise CloudError(
            f"{names.config.lines('stack')}: stack is {names.config.stack!r}, and there is no such stack in "
            f"{names.config.region}: correct the name, "
            "deploy the template of `pomona cloud template`, or remove the key"
        )
    return stack


def names_of_stack(names: Names, read: ReadApi) -> Names:
    """Return the names with the buckets of the existing stack, if the configuration names a stack and no buckets."""
    if names.config.stack is None:
        return names
    try:
        outputs = stack_outputs(find_stack(read, names.config.stack) or {})
    except CloudError:  # must not keep `down` from terminating; `plan` and `up` report it
        outputs = {}
    storage = names.config.storage
    storage = replace(
        storage,
        data_bucket=storage.data_bucket or outputs.get("DataBucket"),
        log_bucket=storage.log_bucket or outputs.get("LogBucket"),
    )
    return replace(names, config=replace(names.config, storage=storage))


def check_existing_stack(names: Names, read: ReadApi) -> list[str]:
    """Return why the requests would not fit the existing stack of the configuration."""
    if names.config.stack is None:
        return []
    stack = _existing_stack(names, read)
    status = str(stack["StackStatus"])
    setting = f"{names.config.lines('stack')}: stack {names.config.stack}"
    if status not in UPDATABLE:
        return [
            f"{setting} is {status}: wait until the operation completes, or ask the owner of the stack to repair it"
        ]
    deployed = stack_parameters(stack)
    wanted = template_parameters("long-lived", names)
    problems = [
        f"{setting} has {deployed.get(key)!r} as {key}, but the configuration requires {value!r}: correct the "
        "configuration, or update the stack"
        for key, value in wanted.items()
        if value is not None and key not in _INDEPENDENT and deployed.get(key, "") != value
    ]
    if names.config.mode == "serverless" and not deployed.get("ApplicationId"):
        problems.append(f"{setting} has no ApplicationId: update the stack with this parameter")
    if names.config.schedule and any(deployed.get(key) for key in REFIT_INPUT):
        problems.append(
            f"{setting} creates a schedule, whose input `up` cannot update: update the stack with an empty "
            'RefitInput, so that `up` creates the schedule, or set [refit] schedule = "never"'
        )
    off = ("", "0")
    for key, option in _OPTIONS.items():  # on in the configuration, off in the stack
        if wanted[key] not in off and deployed.get(key, "") in off:
            problems.append(
                f"{setting} has no {key}, and so lacks permissions for {option}: update the stack, or remove {option}"
            )
    return problems


def template_changes(names: Names) -> list[StackChanges]:
    """Return the resources of the templates as additions, for an account that is not known."""
    planned = [StackChanges(spec.name, False, _additions(spec)) for spec in _planned_specs(names)]
    return [*_existing_stacks(names), *planned]


def _existing_stacks(names: Names) -> list[StackChanges]:
    """Return the existing stack that the configuration names, without changes."""
    note = "existing, not changed"
    return [StackChanges(names.config.stack, True, [], note)] if names.config.stack else []


def stack_resources(names: Names) -> list[Resource]:
    """Return the resources of all stacks of a configuration."""
    return [one for spec in _planned_specs(names) for one in spec.resources]


def _planned_specs(names: Names) -> list[StackSpec]:
    """Return the stacks of an empty account."""
    text = _LATER_INPUT if names.config.schedule else ""
    later = later_parameters(names, text, {})
    return [_spec(names, template, later) for template in stack_templates(names)]


def preview(names: Names, locations: UploadLocations, account: Account) -> list[StackChanges]:
    """Return the changes of each stack from a change set, which is deleted; nothing remains.

    Without the permission to create one, the resources of the templates are returned, with a note.
    """
    result = _existing_stacks(names)
    for template in stack_templates(names):
        text = refit_input(names, locations, account.values)
        text = _LATER_INPUT if text is None else text
        spec = _spec(names, template, later_parameters(names, text, account.values))
        try:
            changes = preview_stack(spec, account)
        except AccessDeniedError as error:
            exists = find_stack(account.read, spec.name) is not None
            changes = StackChanges(
                spec.name, exists, _additions(spec), f"resources of the template: {error}"
            )
        if not changes.exists and not changes.changes:  # a previous creation failed
            note = "a previous creation failed: `up` deletes the stack first"
            changes = StackChanges(spec.name, False, _additions(spec), note)
        elif note := (
            _application_obstacle(account, changes.changes)
            or group_obstacle(names, account.read, changes.changes)
        ):
            changes = replace(changes, note=note)
        result.append(changes)
    return result


def deploy_stacks(names: Names, account: Account, report: Report) -> list[StackChanges]:
    """Create or update the stacks, and store their outputs; the input of the schedule is not changed."""
    result = _existing_stacks(names)
    load_outputs(names, account)
    for template in stack_templates(names):
        text = _deployed_refit_input(names, account.read)
        spec = _spec(names, template, later_parameters(names, text, account.values))
        result.append(deploy_stack(spec, account, report, _obstacle(names, spec, account)))
        load_outputs(names, account)
    return result


def deploy_schedule(
    names: Names, locations: UploadLocations, account: Account, report: Report
) -> StackChanges | None:
    """Update the schedule, whose input names the cluster or the uploads; None if it is up to date."""
    if names.config.stack:  # `schedule_request` creates it
        return None
    text = refit_input(names, locations, account.values)
    if text is None:
        raise CloudError("the schedule refers to a resource that does not exist")
    if text == _deployed_refit_input(names, account.read):
        return None
    spec = _spec(names, "long-lived", later_parameters(names, text, account.values))
    return deploy_stack(spec, account, report)


def refit_input(names: Names, locations: UploadLocations, values: Mapping[str, str]) -> str | None:
    """Return the input of the schedule, empty without one; None if it refers to what does not exist yet."""
    if names.config.schedule is None:
        return ""
    schedule = create_schedule(names, locations, names.config.schedule)
    text = json.dumps(resolve_references(json.loads(schedule["Target"]["Input"]), values))
    return None if has_references(text) else text


def later_parameters(names: Names, text: str, values: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters that do not follow from the configuration."""
    maximum = len(REFIT_INPUT) * _VALUE_LIMIT
    if len(text) > maximum:
        raise CloudError(
            f"the input of the schedule has {len(text)} characters, and its parameters accept at most {maximum}: "
            "shorten names and folders, or list fewer instances.types"
        )
    parts = (text[start : start + _VALUE_LIMIT] for start in range(0, maximum, _VALUE_LIMIT))
    result = dict(zip(REFIT_INPUT, parts, strict=True))
    if names.config.mode == "serverless":
        return result | {"ApplicationId": values.get("application.applicationId", _LATER_ID)}
    return result | {"VpcId": values.get("subnet.VpcId", "")}


def _deployed_refit_input(names: Names, read: ReadApi) -> str:
    """Return the input of the deployed schedule; empty if there is none, or if it starts something else."""
    stack = find_stack(read, names.prefixed("long-lived"))
    parameters = stack_parameters(stack) if stack else {}
    same = (parameters.get("Mode"), parameters.get("IngestMode")) == (
        names.config.mode,
        names.config.ingest.mode,
    )
    return "".join(parameters.get(key, "") for key in REFIT_INPUT) if same else ""


def _spec(names: Names, template: str, later: Mapping[str, str]) -> StackSpec:
    text = read_template(template, names.config.region)
    known = {k: v for k, v in template_parameters(template, names).items() if v is not None}
    declared = {"VpcId", "ApplicationId", *REFIT_INPUT} if template == "long-lived" else set()
    parameters = known | {key: value for key, value in later.items() if key in declared}
    return StackSpec(
        names.prefixed(template),
        template_body(text, parameters),
        parameters,
        names.tags,
        template_resources(text, parameters | {"AWS::Partition": names.partition}),
        template_purposes(text),
    )


def _additions(spec: StackSpec) -> list[ResourceChange]:
    return [ResourceChange("add", one.name, one.type, None, one.purpose) for one in spec.resources]


def _obstacle(
    names: Names, spec: StackSpec, account: Account
) -> Callable[[list[ResourceChange]], str]:
    """Return the function that returns why changes cannot be applied, and prepares them."""

    def prepare(changes: list[ResourceChange]) -> str:
        """Revoke the rules that would keep security groups from being removed."""
        if problem := group_obstacle(names, account.read, changes):
            raise CloudError(f"stack {spec.name}: {problem}")
        if removes_groups(changes):
            revoke_references(spec.name, account)
        return _application_obstacle(account, changes)

    return prepare


def _application_obstacle(account: Account, changes: list[ResourceChange]) -> str:
    """Return why an application cannot be changed; empty if it can, or is not changed."""
    for change in changes:
        if change.type == APPLICATION and change.action in ("modify", "replace"):
            state = application_state(account.read, account.values["application.applicationId"])
            if state not in STOPPED_STATES:
                return f"the application is {state} and cannot be changed: run `pomona cloud down`, then `up`"
    return ""
