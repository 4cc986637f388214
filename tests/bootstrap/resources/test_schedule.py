"""Tests for `bootstrap.resources.schedule`: the target of the schedule is a valid request."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from bootstrap.aws.client import operation_model
from bootstrap.aws.validation import validation_errors
from bootstrap.resources.schedule import create_schedule
from bootstrap.resources.uploads import UploadLocations
from support.aws.cluster_configs import VARIANTS, names


def schedule(variant: str, more: str = "") -> dict[str, Any]:
    config_names = names(VARIANTS[variant] + more)
    return create_schedule(config_names, UploadLocations(config_names, "v1"), "rate(1 hour)")


def with_member_names(value: Any, shape: Any) -> Any:
    """Return the value with the member names of the API model; EventBridge Scheduler capitalizes all of them."""
    if shape.type_name == "structure":
        members = {name.lower(): name for name in shape.members}
        renamed = {members[key.lower()]: item for key, item in value.items()}
        assert all(key[0].isupper() for key in value)
        return {key: with_member_names(item, shape.members[key]) for key, item in renamed.items()}
    if shape.type_name == "list":
        return [with_member_names(item, shape.member) for item in value]
    return value


@pytest.mark.parametrize(
    ("variant", "target", "service", "operation"),
    [
        ("stream", "emr:addJobFlowSteps", "emr", "add_job_flow_steps"),
        ("once", "emr:runJobFlow", "emr", "run_job_flow"),
        ("serverless", "emrserverless:startJobRun", "emr-serverless", "start_job_run"),
        ("serverless once", "emrserverless:startJobRun", "emr-serverless", "start_job_run"),
    ],
)
def test_target_is_valid_request(variant: str, target: str, service: str, operation: str) -> None:
    scheduled = schedule(variant)["Target"]
    assert scheduled["Arn"] == f"arn:aws:scheduler:::aws-sdk:{target}"
    assert scheduled["RoleArn"] == "arn:aws:iam::123456789012:role/fruits-scheduler"
    request = with_member_names(
        json.loads(scheduled["Input"]), operation_model(service, operation).input_shape
    )
    assert validation_errors(service, operation, request) == ""


def test_target_is_refit_or_whole_pipeline() -> None:
    (step,) = json.loads(schedule("stream")["Target"]["Input"])["Steps"]
    lake = "s3://fruits-data-123456789012/lake"
    # A rate starts its first refit at once, when there may be no rows yet.
    refit = ["refit", lake, "--variance", "0.95", "--skip-empty"]
    assert step["HadoopJarStep"]["Args"][-5:] == refit
    steps = json.loads(schedule("once")["Target"]["Input"])["Steps"]
    assert [one["Name"] for one in steps] == ["fruits-ingest", "fruits-refit"]
    assert steps[1]["HadoopJarStep"]["Args"][-4:] == refit[:-1]  # it follows the ingestion
    job = json.loads(schedule("serverless")["Target"]["Input"])
    assert job["JobDriver"]["SparkSubmit"]["EntryPointArguments"] == refit
    job = json.loads(schedule("serverless once")["Target"]["Input"])
    assert job["JobDriver"]["SparkSubmit"]["EntryPointArguments"] == refit


def test_steps_of_scheduled_clusters_end_after_limit_of_hours() -> None:
    """No schedule can terminate these clusters: their IDs are not known in advance."""

    def steps(more: str = "") -> list[dict[str, Any]]:
        target = schedule("once", more)["Target"]
        found: list[dict[str, Any]] = json.loads(target["Input"])["Steps"]
        return found

    limited, unlimited = steps("limits.hours = 12\n"), steps()
    assert len(limited) == 2
    for with_limit, without in zip(limited, unlimited, strict=True):
        prefix = with_limit["HadoopJarStep"]["Args"][:2]
        assert prefix == ["timeout", "12h"]
        assert with_limit["HadoopJarStep"]["Args"][2:] == without["HadoopJarStep"]["Args"]
        assert subprocess.run([*prefix, "true"], check=False).returncode == 0
    (refit,) = json.loads(schedule("stream", "limits.hours = 12\n")["Target"]["Input"])["Steps"]
    assert refit["HadoopJarStep"]["Args"][0] == "spark-submit"  # the cluster has a limit


def test_scheduled_cluster_terminates_after_its_steps() -> None:
    """If it terminated when idle, an application that hangs would keep it, also after its step has failed."""
    request = json.loads(schedule("once")["Target"]["Input"])
    assert request["Instances"]["KeepJobFlowAliveWhenNoSteps"] is False
    # The role of the schedule may not apply auto-termination policies.
    assert "AutoTerminationPolicy" not in request


def test_retry_policy_ends_within_an_hour() -> None:
    policy = schedule("stream")["Target"]["RetryPolicy"]
    assert policy["MaximumRetryAttempts"] > 0
    assert policy["MaximumEventAgeInSeconds"] <= 3600


def test_client_token_is_execution_id() -> None:
    request = json.loads(schedule("serverless")["Target"]["Input"])
    assert request["ClientToken"] == "<aws.scheduler.execution-id>"
