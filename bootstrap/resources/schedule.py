"""The refit schedule: EventBridge Scheduler calls EMR's API directly, and a queue receives the calls that failed."""

from __future__ import annotations

import json
from typing import Any

from bootstrap.aws.describe_queue import queue_attributes
from bootstrap.aws.request import CurrentState, Parameters, ReadApi, Request, overwrite_with
from bootstrap.config.names import Names
from bootstrap.resources.cluster import run_job_flow
from bootstrap.resources.serverless import start_job_run
from bootstrap.resources.steps import ingest_step, refit_arguments, refit_step
from bootstrap.resources.uploads import UploadLocations


def create_schedule(names: Names, locations: UploadLocations, expression: str) -> Parameters:
    """Return the parameters that create the schedule."""
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


def schedule_requests(names: Names, locations: UploadLocations) -> list[Request]:
    """Return the requests for the queue of failed starts and the schedule."""
    assert names.config.schedule is not None
    request = create_schedule(names, locations, names.config.schedule)

    def find_current(read: ReadApi) -> CurrentState | None:
        response = read(
            "scheduler", "get_schedule", {"Name": request["Name"]}, ("ResourceNotFoundException",)
        )
        return CurrentState(response) if response else None

    return [
        _failed_refits(names),
        Request(
            name=f"schedule {request['Name']}",
            service="scheduler",
            operation="create_schedule",
            parameters=request,
            purpose="starts a refit; without new data it ends immediately",
            find_current=find_current,
            desired=request,
            build_update=overwrite_with("update_schedule"),
            retry_on=(("ValidationException", "must allow AWS EventBridge Scheduler to assume"),),
        ),
    ]


#: Attributes of the queue: messages are kept for the maximum of 14 days, and encrypted.
_QUEUE_ATTRIBUTES = {"MessageRetentionPeriod": "1209600", "SqsManagedSseEnabled": "true"}


def _failed_refits(names: Names) -> Request:
    def find_current(read: ReadApi) -> CurrentState | None:
        """Read the attributes of the queue."""
        found = queue_attributes(read, names.failed_refits, *_QUEUE_ATTRIBUTES)
        return CurrentState(found[1], {"queue.QueueUrl": found[0]}) if found else None

    def set_attributes(_parameters: Parameters, current: CurrentState) -> tuple[str, Parameters]:
        query = {"QueueUrl": current.values["queue.QueueUrl"], "Attributes": _QUEUE_ATTRIBUTES}
        return "set_queue_attributes", query

    return Request(
        name=f"queue {names.failed_refits}",
        service="sqs",
        operation="create_queue",
        parameters={
            "QueueName": names.failed_refits,
            "Attributes": _QUEUE_ATTRIBUTES,
            "tags": {"pomona": names.config.name},
        },
        purpose="receives the starts of refits that failed, with AWS's reason",
        find_current=find_current,
        desired=_QUEUE_ATTRIBUTES,
        build_update=set_attributes,
    )


def _target(names: Names, locations: UploadLocations) -> tuple[str, Parameters]:
    """Return the operation that the schedule calls, and its input; input keys are capitalized for all APIs."""
    config = names.config
    if config.mode == "serverless":
        job = start_job_run(names, locations, "refit", refit_arguments(names))
        token = {"ClientToken": "<aws.scheduler.execution-id>"}
        return "emrserverless:startJobRun", _capitalize_keys(job) | token
    if config.is_streaming:
        steps = [refit_step(names, locations)]
        return "emr:addJobFlowSteps", {"JobFlowId": "${cluster.JobFlowId}", "Steps": steps}
    steps = [ingest_step(names, locations), refit_step(names, locations)]
    return "emr:runJobFlow", run_job_flow(names, locations) | {"Steps": steps}


def _capitalize_keys(value: Any) -> Any:
    """Return a value with capitalized keys; tags stay as they are."""
    if not isinstance(value, dict):
        return value
    return {
        key[0].upper() + key[1:]: item if key == "tags" else _capitalize_keys(item)
        for key, item in value.items()
    }
