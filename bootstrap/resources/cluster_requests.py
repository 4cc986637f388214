"""The requests that create the cluster and add its steps, each with a check of the current state."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from bootstrap.aws.describe_cluster import (
    cluster_tags,
    find_cluster,
    normalize_request,
    request_from_cluster,
)
from bootstrap.aws.request import CurrentState, Parameters, ReadApi, Request
from bootstrap.config.names import Names
from bootstrap.resources.cluster import (
    REQUEST_HASH_TAG,
    request_hash,
    run_job_flow,
)
from bootstrap.resources.schedule import schedule_request
from bootstrap.resources.steps import ingest_step, refit_step
from bootstrap.resources.uploads import UploadLocations

#: How EMR rejects a role that has not propagated yet; terraform-provider-aws retries the same two errors.
_PROPAGATION_ERRORS = (
    ("ValidationException", "Invalid InstanceProfile"),
    ("AccessDeniedException", "Failed to authorize instance profile"),
)


def cluster_requests(names: Names, locations: UploadLocations) -> list[Request]:
    """Return the requests for the cluster and its steps."""
    steps = [ingest_step(names, locations)]
    if not names.config.is_streaming:
        steps.append(refit_step(names, locations))
    return [
        _cluster(names, run_job_flow(names, locations)),
        *(_add_step(names, step) for step in steps),
        *([hour_limit(names)] if names.config.limits.hours else []),
    ]


def _cluster(names: Names, request: Parameters) -> Request:
    def find_current(read: ReadApi) -> CurrentState | None:
        """Find a running cluster of this name and the request that created it."""
        cluster = find_cluster(read, names.config.name)
        if cluster is None:
            return None
        same = cluster_tags(cluster).get(REQUEST_HASH_TAG) == request_hash(request)
        current = request if same else request_from_cluster(read, cluster)
        return CurrentState(normalize_request(current), {"cluster.JobFlowId": cluster["Id"]})

    return Request(
        name="cluster",
        service="emr",
        operation="run_job_flow",
        parameters=request,
        purpose="one primary node, On-Demand core nodes, task nodes that are mostly Spot"
        if names.config.instances.task_on_demand
        else "one primary node, On-Demand core nodes, Spot task nodes",
        find_current=find_current,
        desired=normalize_request(request),
        outputs=lambda response: {"cluster.JobFlowId": response["JobFlowId"]},
        retry_on=_PROPAGATION_ERRORS,
    )


def hour_limit(names: Names, clone: str | None = None) -> Request:
    """Return the request for the schedule that terminates the cluster, or a clone with this ID, without this machine.

    The stream cannot end the cluster: with refits every hour it is never idle, and a step may hang.
    """
    assert names.config.limits.hours is not None
    end = datetime.now(UTC) + timedelta(hours=names.config.limits.hours)
    target = {
        "Arn": f"arn:{names.partition}:scheduler:::aws-sdk:emr:terminateJobFlows",
        "Input": json.dumps({"JobFlowIds": [clone or "${cluster.JobFlowId}"]}),
    }
    parameters = {
        "Name": names.prefixed(f"end-{clone}" if clone else "end"),
        "ScheduleExpression": f"at({end:%Y-%m-%dT%H:%M:%S})",
        "ScheduleExpressionTimezone": "UTC",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "ActionAfterCompletion": "DELETE",
        "Target": {
            **target,
            "RoleArn": names.role_arn("scheduler"),
            "RetryPolicy": {"MaximumRetryAttempts": 3, "MaximumEventAgeInSeconds": 3600},
            "DeadLetterConfig": {"Arn": names.failed_refits_arn},
        },
    }
    purpose = f"terminates the cluster after limits.hours ({names.config.limits.hours})"
    return schedule_request(parameters, purpose, desired={"Target": target})


def _add_step(names: Names, step: Parameters) -> Request:
    is_streaming = names.config.is_streaming
    states = ["PENDING", "RUNNING"] + ([] if is_streaming else ["COMPLETED"])

    def find_current(read: ReadApi) -> CurrentState | None:
        """Find the arguments of an active step of this name."""
        query = {"ClusterId": "${cluster.JobFlowId}", "StepStates": states}
        response = read("emr", "list_steps", query) or {}
        steps = [one for one in response["Steps"] if one["Name"] == step["Name"]]
        return CurrentState(list(steps[0]["Config"]["Args"])) if steps else None

    ingest_purpose = (
        "YARN restarts it after a failure"
        if is_streaming
        else "ingests the existing images, then ends"
    )
    return Request(
        name=f"step {step['Name']}",
        service="emr",
        operation="add_job_flow_steps",
        parameters={"JobFlowId": "${cluster.JobFlowId}", "Steps": [step]},
        purpose=ingest_purpose if step["Name"].endswith("ingest") else "after the ingestion",
        find_current=find_current,
        desired=step["HadoopJarStep"]["Args"],
    )
