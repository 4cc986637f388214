"""Find the EMR Serverless application of a configuration and its job runs."""

from __future__ import annotations

from bootstrap.aws.request import Ask, Parameters

#: States of an application that is there.
THERE = ["CREATING", "CREATED", "STARTING", "STARTED", "STOPPING", "STOPPED"]
#: States of a job that is not over.
UNDER_WAY = ["SUBMITTED", "PENDING", "SCHEDULED", "RUNNING", "QUEUED", "CANCELLING"]
#: Steps and jobs that are told, the newest first: a schedule makes thousands.
RECENT = 10


def newest_application(ask: Ask, name: str) -> Parameters | None:
    """The newest application of this name or id that is there."""
    answer = ask("emr-serverless", "list_applications", {"states": THERE}) or {}
    found = [one for one in answer.get("applications", ()) if name in (one["name"], one["id"])]
    return max(found, key=lambda one: str(one.get("createdAt"))) if found else None


def recent_jobs(ask: Ask, application_id: str, most: int | None = RECENT) -> list[Parameters]:
    """Jobs of an application, the newest first."""
    asked = {"applicationId": application_id} | _at_most(most)
    answer = ask("emr-serverless", "list_job_runs", asked) or {}
    jobs: list[Parameters] = answer.get("jobRuns", [])
    return jobs


def live_jobs(ask: Ask, application_id: str) -> list[Parameters]:
    """Jobs of an application that are not over."""
    asked = {"applicationId": application_id, "states": UNDER_WAY}
    answer = ask("emr-serverless", "list_job_runs", asked) or {}
    jobs: list[Parameters] = answer.get("jobRuns", [])
    return jobs


def _at_most(most: int | None) -> Parameters:
    return {"PaginationConfig": {"MaxItems": most}} if most else {}
