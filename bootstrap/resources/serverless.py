"""The pipeline on EMR Serverless: an application and its ingestion job."""

from __future__ import annotations

from typing import Any

from bootstrap.aws.request import CurrentState, Parameters, ReadApi, Request
from bootstrap.config.names import Names
from bootstrap.resources.steps import ingest_arguments, serverless_driver
from bootstrap.resources.uploads import UploadLocations

#: Minutes after which a refit is canceled without `limits.hours`, the default of EMR Serverless: a refit that hangs
#: would block later refits.
REFIT_TIMEOUT = 720
_LIVE_JOB_STATES = ["SUBMITTED", "PENDING", "SCHEDULED", "RUNNING", "QUEUED"]


def create_application(names: Names) -> Parameters:
    """Return the parameters that create the application; each node of the limit counts as 4 vCPU and 16 GB."""
    config = names.config
    return {
        "name": config.name,
        "releaseLabel": config.release,
        "type": "SPARK",
        "architecture": "X86_64",
        "maximumCapacity": {
            "cpu": f"{4 * config.limits.nodes} vCPU",
            "memory": f"{16 * config.limits.nodes} GB",
        },
        "autoStartConfiguration": {"enabled": True},
        "autoStopConfiguration": {
            "enabled": True,
            "idleTimeoutMinutes": config.limits.idle_minutes,
        },
        "tags": {"pomona": config.name},
    }


def start_job_run(
    names: Names,
    locations: UploadLocations,
    suffix: str,
    arguments: list[str],
    timeout_minutes: int = 0,
) -> Parameters:
    """Return the parameters that start a job.

    Parameters
    ----------
    names : Names
    locations : UploadLocations
    suffix : str
        Suffix of the job's name.
    arguments : list of str
        Arguments of `pomona`.
    timeout_minutes : int
        Limit of its duration without `limits.hours`; 0: none.
    """
    logs = {"logUri": names.log_uri}
    monitoring: Parameters = {"s3MonitoringConfiguration": logs}
    if names.config.encryption.log_key:
        logs["encryptionKeyArn"] = names.config.encryption.log_key
        # By default, EMR Serverless also keeps the logs for 30 days in its own storage, under its own key.
        monitoring["managedPersistenceMonitoringConfiguration"] = {"enabled": False}
    return {
        "applicationId": "${application.applicationId}",
        "name": names.prefixed(suffix),
        "executionRoleArn": names.role_arn("job"),
        "jobDriver": serverless_driver(names, locations, arguments),
        "configurationOverrides": {"monitoringConfiguration": monitoring},
        # 0: none. Without it, EMR Serverless cancels a batch job after 12 hours.
        "executionTimeoutMinutes": 60 * (names.config.limits.hours or 0) or timeout_minutes,
        "tags": names.tags,
    }


def ingest_job(names: Names, locations: UploadLocations) -> Parameters:
    """Return the ingestion job; a streaming job is restarted after each failure."""
    job = start_job_run(names, locations, "ingest", ingest_arguments(names))
    if names.config.is_streaming:
        retries = {"maxFailedAttemptsPerHour": names.config.ingest.restarts_an_hour}
        return job | {"mode": "STREAMING", "retryPolicy": retries}
    return job | {"mode": "BATCH", "retryPolicy": {"maxAttempts": 3}}


def serverless_requests(names: Names, locations: UploadLocations) -> list[Request]:
    """Return the request for the ingestion job; the application is in a template."""
    job = ingest_job(names, locations)

    states = _LIVE_JOB_STATES + ([] if names.config.is_streaming else ["SUCCESS"])

    def find_job(read: ReadApi) -> CurrentState | None:
        """Find an active job run by name."""
        application_id = {"applicationId": "${application.applicationId}"}
        query = application_id | {"states": states}
        absent_codes = ("ResourceNotFoundException",)
        response = read("emr-serverless", "list_job_runs", query, absent_codes) or {}
        matches = [one for one in response.get("jobRuns", ()) if one.get("name") == job["name"]]
        if not matches:
            return None
        query = application_id | {"jobRunId": matches[0]["id"]}
        run: Any = read("emr-serverless", "get_job_run", query)
        return CurrentState(run["jobRun"]["jobDriver"], {"job.jobRunId": matches[0]["id"]})

    return [
        Request(
            name=f"job {job['name']}",
            service="emr-serverless",
            operation="start_job_run",
            parameters=job,
            purpose="restarted after a failure"
            if names.config.is_streaming
            else "ends when all images are ingested",
            find_current=find_job,
            desired=job["jobDriver"],
            outputs=lambda response: {"job.jobRunId": response["jobRunId"]},
            retry_on=(("ValidationException", "Could not assume runtime role"),),
        ),
    ]
