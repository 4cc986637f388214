"""Find the EMR Serverless application of a configuration and its job runs."""

from __future__ import annotations

from bootstrap.aws.request import Parameters, ReadApi

#: States of an application that has not been terminated.
EXISTING_STATES = ["CREATING", "CREATED", "STARTING", "STARTED", "STOPPING", "STOPPED"]
#: States in which an application is not billed, and can be changed and deleted.
STOPPED_STATES = ("CREATED", "STOPPED")
#: States of a job that has not finished.
ACTIVE_JOB_STATES = ["SUBMITTED", "PENDING", "SCHEDULED", "RUNNING", "QUEUED", "CANCELLING"]
#: Number of steps or jobs to list; a schedule creates thousands.
DEFAULT_LIMIT = 10


def newest_application(read: ReadApi, name: str) -> Parameters | None:
    """Return the newest existing application with this name or ID."""
    response = read("emr-serverless", "list_applications", {"states": EXISTING_STATES}) or {}
    matches = [one for one in response.get("applications", ()) if name in (one["name"], one["id"])]
    return max(matches, key=lambda one: str(one.get("createdAt"))) if matches else None


def application_state(read: ReadApi, application_id: str) -> str:
    """Return the state of an application."""
    response = read("emr-serverless", "get_application", {"applicationId": application_id}) or {}
    return str(response["application"]["state"])


def recent_jobs(
    read: ReadApi, application_id: str, limit: int | None = DEFAULT_LIMIT
) -> list[Parameters]:
    """Return the newest jobs of an application, the newest first."""
    query = {"applicationId": application_id} | limit_items(limit)
    response = read("emr-serverless", "list_job_runs", query) or {}
    jobs: list[Parameters] = response.get("jobRuns", [])
    return jobs


def active_jobs(read: ReadApi, application_id: str) -> list[Parameters]:
    """Return the jobs of an application that have not finished."""
    query = {"applicationId": application_id, "states": ACTIVE_JOB_STATES}
    response = read("emr-serverless", "list_job_runs", query) or {}
    jobs: list[Parameters] = response.get("jobRuns", [])
    return jobs


def limit_items(limit: int | None) -> Parameters:
    """Return the pagination parameters for at most `limit` items; None: all."""
    return {"PaginationConfig": {"MaxItems": limit}} if limit else {}
