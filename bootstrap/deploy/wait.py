"""Wait until the cluster or the ingestion job is usable; report AWS's reason if it fails."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from bootstrap.aws.client import Account
from bootstrap.aws.describe_cluster import LIVE, failure_reason, find_cluster
from bootstrap.aws.describe_serverless import newest_application, recent_jobs
from bootstrap.aws.request import Parameters, ReadApi
from bootstrap.config.names import Names
from bootstrap.errors import CloudError

#: Seconds between polls, and until `wait_until_usable` gives up. EMR starts most clusters in 5 to 15 minutes.
POLL_INTERVAL, START_TIMEOUT = 15.0, 2700.0
_USABLE_CLUSTER, _USABLE_JOB = ("RUNNING", "WAITING"), ("RUNNING", "SUCCESS")
_FAILED_JOB = ("FAILED", "CANCELLING", "CANCELLED")


@dataclass(frozen=True)
class _StartState:
    """State of a cluster or job that starts; `failure` is AWS's reason if it failed."""

    name: str
    state: str
    usable: bool
    failure: str | None


def wait_until_usable(names: Names, account: Account, report: Callable[[str], None]) -> str:
    """Wait until the cluster has started or the ingestion job runs; return its state.

    Parameters
    ----------
    names : Names
    account : Account
        After `up`: with the ID of the cluster, or of the application and its job.
    report : callable
        Receives the state after each poll.

    Raises
    ------
    CloudError
        If the cluster or the job fails, or is not usable after `START_TIMEOUT` seconds.
    """
    find = _job_state if names.config.mode == "serverless" else _cluster_state
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        start = find(account)
        if start.failure:
            raise CloudError(f"{start.failure}; correct the cause, and run `pomona cloud up` again")
        if start.usable:
            return start.state
        if time.monotonic() > deadline:
            raise CloudError(
                f"{start.name} is still {start.state} after {START_TIMEOUT / 60:.0f} minutes and continues to start: "
                "`pomona cloud status` shows its state, and `pomona cloud up` waits again"
            )
        report(f"{start.name}: {start.state}")
        time.sleep(POLL_INTERVAL)


def previous_failure(names: Names, read: ReadApi) -> str | None:
    """Return why the last cluster or ingestion job failed; None if it did not, or if another one has started."""
    if names.config.mode == "serverless":
        application = newest_application(read, names.config.name)
        job = _ingest_job(names, read, application["id"]) if application else None
        return _job_failure(job) if job and job["state"] == "FAILED" else None
    cluster = find_cluster(read, names.config.name)
    if cluster is None:
        cluster = find_cluster(read, names.config.name, live=False)
    return failure_reason(cluster) if cluster else None


def _cluster_state(account: Account) -> _StartState:
    cluster_id = account.values["cluster.JobFlowId"]
    response = account.read("emr", "describe_cluster", {"ClusterId": cluster_id}) or {}
    cluster: Parameters = response["Cluster"]
    state = str(cluster["Status"]["State"])
    failure = failure_reason(cluster)
    if failure is None and state not in LIVE:
        failure = f"cluster {cluster_id} was terminated while it started"
    return _StartState(
        name=f"cluster {cluster_id}", state=state, usable=state in _USABLE_CLUSTER, failure=failure
    )


def _job_state(account: Account) -> _StartState:
    query = {
        "applicationId": account.values["application.applicationId"],
        "jobRunId": account.values["job.jobRunId"],
    }
    job: Parameters = (account.read("emr-serverless", "get_job_run", query) or {})["jobRun"]
    state = str(job["state"])
    failure = _job_failure(job) if state in _FAILED_JOB else None
    return _StartState(
        name=f"job {query['jobRunId']}", state=state, usable=state in _USABLE_JOB, failure=failure
    )


def _ingest_job(names: Names, read: ReadApi, application_id: str) -> Parameters | None:
    """Return the newest ingestion job among the newest jobs of an application."""
    name = names.prefixed("ingest")
    jobs = [job for job in recent_jobs(read, application_id, 50) if job.get("name") == name]
    return max(jobs, key=lambda job: str(job.get("createdAt"))) if jobs else None


def _job_failure(job: Parameters) -> str:
    reason = " ".join(str(job.get("stateDetails") or "AWS gives no reason").split())
    return f"job {job.get('id') or job['jobRunId']} is {job['state']}: {reason}"
