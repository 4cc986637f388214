"""Tests for the schedule: it calls EMR's own API with a request that is valid there."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bootstrap.aws.client import operation_model
from bootstrap.aws.validation import validation_errors
from bootstrap.resources.schedule import create_schedule
from bootstrap.resources.uploads import UploadLocations
from support.cluster_configs import VARIANTS, names


def schedule(kind: str) -> dict[str, Any]:
    found = names(VARIANTS[kind])
    return create_schedule(found, UploadLocations(found, "v1"), "rate(1 hour)")


def as_the_api_has_it(value: Any, shape: Any) -> Any:
    """Names of members in the case of the API's model: the scheduler begins them all with a capital."""
    if shape.type_name == "structure":
        members = {name.lower(): name for name in shape.members}
        told = {members[key.lower()]: inner for key, inner in value.items()}
        assert all(key[0].isupper() for key in value)
        return {key: as_the_api_has_it(inner, shape.members[key]) for key, inner in told.items()}
    if shape.type_name == "list":
        return [as_the_api_has_it(inner, shape.member) for inner in value]
    return value


@pytest.mark.parametrize(
    ("kind", "target", "service", "operation"),
    [
        ("stream", "emr:addJobFlowSteps", "emr", "add_job_flow_steps"),
        ("once", "emr:runJobFlow", "emr", "run_job_flow"),
        ("serverless", "emrserverless:startJobRun", "emr-serverless", "start_job_run"),
        ("serverless once", "emrserverless:startJobRun", "emr-serverless", "start_job_run"),
    ],
)
def test_what_it_calls_is_a_valid_request(
    kind: str, target: str, service: str, operation: str
) -> None:
    made = schedule(kind)["Target"]
    assert made["Arn"] == f"arn:aws:scheduler:::aws-sdk:{target}"
    assert made["RoleArn"] == "arn:aws:iam::123456789012:role/fruits-scheduler"
    call = as_the_api_has_it(
        json.loads(made["Input"]), operation_model(service, operation).input_shape
    )
    assert validation_errors(service, operation, call) == ""


def test_it_refits_beside_a_stream_and_does_all_of_it_where_there_is_none() -> None:
    (step,) = json.loads(schedule("stream")["Target"]["Input"])["Steps"]
    lake = "s3://fruits-data-123456789012/lake"
    assert step["HadoopJarStep"]["Args"][-4:] == ["refit", lake, "--variance", "0.95"]
    steps = json.loads(schedule("once")["Target"]["Input"])["Steps"]
    assert [one["Name"] for one in steps] == ["fruits-ingest", "fruits-refit"]
    job = json.loads(schedule("serverless")["Target"]["Input"])
    assert job["JobDriver"]["SparkSubmit"]["EntryPointArguments"] == [
        "refit",
        lake,
        "--variance",
        "0.95",
    ]


def test_a_fault_that_passes_is_tried_again_within_the_hour() -> None:
    policy = schedule("stream")["Target"]["RetryPolicy"]
    assert policy["MaximumRetryAttempts"] > 0
    assert policy["MaximumEventAgeInSeconds"] <= 3600


def test_the_same_job_is_not_started_twice_for_one_event() -> None:
    call = json.loads(schedule("serverless")["Target"]["Input"])
    assert call["ClientToken"] == "<aws.scheduler.execution-id>"
