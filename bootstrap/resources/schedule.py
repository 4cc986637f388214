"""The refit schedule: EventBridge Scheduler calls EMR's API directly.

The template creates it. If the configuration names an existing stack, `up` does, with the role and queue of that stack.
"""

from __future__ import annotations

import json
from typing import Any

from bootstrap.aws.describe_schedule import find_schedule
from bootstrap.aws.request import CurrentState, Parameters, ReadApi, Request, overwrite_with
from bootstrap.config.names import Names
from bootstrap.resources.cluster import run_job_flow
from bootstrap.resources.serverless import REFIT_TIMEOUT, start_job_run
from bootstrap.resources.steps import ingest_step, refit_arguments, refit_step, with_time_limit
from bootstrap.resources.uploads import UploadLocations


def schedule_requests(names: Names, locations: UploadLocations) -> list[Request]:
    """Return the request for the schedule; none without one."""
    if names.config.schedule is None:
        return []
    parameters = create_schedule(names, locations, names.config.schedule)
    return [schedule_request(parameters, "starts refits", desired=parameters)]


def schedule_request(parameters: Parameters, purpose: str, desired: Parameters) -> Request:
    """Return the request for a schedule; `desired` are the parameters whose difference requires an update."""
    name = parameters["Name"]

    def find_current(read: ReadApi) -> CurrentState | None:
        """Read the schedule, which may be that of an earlier cluster."""
        found = find_schedule(read, name)
        return CurrentState(found) if found else None

    return Request(
        name=f"schedule {name}",
        service="scheduler",
        operation="create_schedule",
        parameters=parameters,
        purpose=purpose,
        find_current=find_current,
        desired=desired,
        build_update=overwrite_with("update_schedule"),
    )


def create_schedule(names: Names, locations: UploadLocations, expression: str) -> Parameters:
    """Return the schedule; its input is a parameter of the template, the rest is part of it."""
    target, target_input = _target(names, locations)
    return {
        "Name": names.prefixed("refit"),
        "ScheduleExpression": expression,
        "ScheduleExpressionTimezone": "UTC",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "State": "ENABLED",
        "Target": {
            "Arn": f"arn:{names.partition}:scheduler:::aws-sdk:{target}",
            "RoleArn": names.role_arn("scheduler"),
            "Input": json.dumps(target_input),
            "RetryPolicy": {"MaximumRetryAttempts": 3, "MaximumEventAgeInSeconds": 3600},
            "DeadLetterConfig": {"Arn": names.failed_refits_arn},
        },
    }


def _target(names: Names, locations: UploadLocations) -> tuple[str, Parameters]:
    """Return the operation that the schedule calls, and its input; input keys are capitalized for all APIs."""
    config = names.config
    if config.mode == "serverless":
        job = start_job_run(names, locations, "refit", refit_arguments(names), REFIT_TIMEOUT)
        token = {"ClientToken": "<aws.scheduler.execution-id>"}
        return "emrserverless:startJobRun", _capitalize_keys(job) | token
    if config.is_streaming:
        steps = [refit_step(names, locations)]
        return "emr:addJobFlowSteps", {"JobFlowId": "${cluster.JobFlowId}", "Steps": steps}
    steps = [ingest_step(names, locations), refit_step(names, locations)]
    if hours := config.limits.hours:
        steps = [with_time_limit(step, hours) for step in steps]
    request = run_job_flow(names, locations) | {"Steps": steps}
    # An application that hangs would prevent auto-termination.
    del request["AutoTerminationPolicy"]
    request["Instances"] = request["Instances"] | {"KeepJobFlowAliveWhenNoSteps": False}
    return "emr:runJobFlow", request


def _capitalize_keys(value: Any) -> Any:
    """Return a value with capitalized keys; tags stay as they are."""
    if not isinstance(value, dict):
        return value
    return {
        key[0].upper() + key[1:]: item if key == "tags" else _capitalize_keys(item)
        for key, item in value.items()
    }
