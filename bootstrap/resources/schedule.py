"""The refit schedule: EventBridge Scheduler calls EMR's API directly."""

from __future__ import annotations

import json
from typing import Any

from bootstrap.aws.request import Ask, Found, Parameters, Request, put_again
from bootstrap.config.names import Names
from bootstrap.resources.cluster import run_job_flow
from bootstrap.resources.serverless import start_job_run
from bootstrap.resources.steps import ingest_step, refit_step, refit_words
from bootstrap.resources.uploads import Places


def create_schedule(names: Names, places: Places, expression: str) -> Parameters:
    """The request that makes the schedule."""
    target, call = _call(names, places)
    return {
        "Name": names.of("refit"),
        "ScheduleExpression": expression,
        "ScheduleExpressionTimezone": "UTC",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "State": "ENABLED",
        "Target": {
            "Arn": f"arn:{names.partition}:scheduler:::aws-sdk:{target}",
            "RoleArn": names.role("scheduler"),
            "Input": json.dumps(call),
            "RetryPolicy": {"MaximumRetryAttempts": 3, "MaximumEventAgeInSeconds": 3600},
        },
    }


def schedule_requests(names: Names, places: Places) -> list[Request]:
    """The request for the schedule."""
    assert names.description.schedule is not None
    request = create_schedule(names, places, names.description.schedule)

    def look(ask: Ask) -> Found | None:
        answer = ask(
            "scheduler", "get_schedule", {"Name": request["Name"]}, ("ResourceNotFoundException",)
        )
        return Found(answer) if answer else None

    return [
        Request(
            name=f"schedule {request['Name']}",
            service="scheduler",
            operation="create_schedule",
            parameters=request,
            why="starts a refit; one that finds nothing new ends at once",
            look=look,
            wanted=request,
            change=put_again("update_schedule"),
            patient=("ValidationException",),
        )
    ]


def _call(names: Names, places: Places) -> tuple[str, Parameters]:
    """Which operation the schedule calls, and with what; its names begin with a capital, whatever the API's do."""
    d = names.description
    if d.mode == "serverless":
        job = start_job_run(names, places, "refit", refit_words(names))
        token = {"ClientToken": "<aws.scheduler.execution-id>"}
        return "emrserverless:startJobRun", _capitals(job) | token
    if d.endless:
        steps = [refit_step(names, places)]
        return "emr:addJobFlowSteps", {"JobFlowId": "${cluster.JobFlowId}", "Steps": steps}
    steps = [ingest_step(names, places), refit_step(names, places)]
    return "emr:runJobFlow", run_job_flow(names, places) | {"Steps": steps}


def _capitals(value: Any) -> Any:
    """The same with its keys in capitals; tags are the user's words, and stay."""
    if not isinstance(value, dict):
        return value
    return {
        key[0].upper() + key[1:]: inner if key == "tags" else _capitals(inner)
        for key, inner in value.items()
    }
