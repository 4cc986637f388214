"""Find a run: a step of the cluster, or a job run of the application."""

from __future__ import annotations

from dataclasses import dataclass

from bootstrap.aws.describe_cluster import find_cluster
from bootstrap.aws.describe_serverless import newest_application, recent_jobs
from bootstrap.aws.request import Parameters, ReadApi
from bootstrap.config.names import Names
from bootstrap.errors import CloudError
from bootstrap.monitor.status import recent_steps

#: States after which no more log lines are written.
FINISHED_STATES = {"COMPLETED", "CANCELLED", "FAILED", "INTERRUPTED", "SUCCESS"}


@dataclass(frozen=True)
class Run:
    """A step or job whose logs are read.

    Parameters
    ----------
    name, id, state : str
    prefix : str
        Prefix in the log bucket of its cluster or job.
    query : dict
        Parameters of `describe_step` or `get_job_run`.
    serverless : bool
    """

    name: str
    id: str
    state: str
    prefix: str
    query: Parameters
    serverless: bool

    def is_finished(self, read: ReadApi) -> bool:
        """Return whether the run has finished."""
        if self.serverless:
            response = read("emr-serverless", "get_job_run", self.query) or {}
            return response["jobRun"]["state"] in FINISHED_STATES
        response = read("emr", "describe_step", self.query) or {}
        return response["Step"]["Status"]["State"] in FINISHED_STATES


def find_run(names: Names, read: ReadApi, name_or_id: str, within: str | None = None) -> Run:
    """Return the newest step or job with this name or ID.

    Parameters
    ----------
    names : Names
    read : callable
    name_or_id : str
        ``ingest``, ``refit`` or an ID.
    within : str or None
        Name or ID of the cluster or application; None: the newest of the configuration.

    Raises
    ------
    CloudError
        If there is none; the message lists the existing ones.
    """
    accepted, within = (name_or_id, names.prefixed(name_or_id)), within or names.config.name
    root = names.log_uri.removeprefix(f"s3://{names.log_bucket}/")
    if names.config.mode == "serverless":
        application = newest_application(read, within)
        if application is None:
            raise CloudError(f"no application {within}: `pomona cloud up` creates one")
        jobs = recent_jobs(read, application["id"], limit=None)
        for job in sorted(jobs, key=lambda one: str(one.get("createdAt")), reverse=True):
            if job["id"] in accepted or job.get("name") in accepted:
                prefix = f"{root}applications/{application['id']}/jobs/{job['id']}/"
                query = {"applicationId": application["id"], "jobRunId": job["id"]}
                return Run(str(job.get("name")), job["id"], job["state"], prefix, query, True)
        raise CloudError(
            _not_found_message(name_or_id, [str(job.get("name") or job["id"]) for job in jobs])
        )
    cluster = find_cluster(read, within, live=False)
    if cluster is None:
        raise CloudError(f"no cluster {within}: `pomona cloud up` creates one")
    steps = recent_steps(read, cluster["Id"], limit=None)
    for step in steps:
        if step["Id"] in accepted or step["Name"] in accepted:
            query = {"ClusterId": cluster["Id"], "StepId": step["Id"]}
            prefix = f"{root}{cluster['Id']}/"
            return Run(step["Name"], step["Id"], step["Status"]["State"], prefix, query, False)
    raise CloudError(_not_found_message(name_or_id, [step["Name"] for step in steps]))


def _not_found_message(name_or_id: str, existing: list[str]) -> str:
    listing = ", ".join(sorted(set(existing))) or "none"
    return f"no step or job {name_or_id}; there are: {listing}"
