"""Find a run: a step of the cluster, or a job run of the application."""

from __future__ import annotations

from dataclasses import dataclass

from bootstrap.aws.describe_cluster import find_cluster
from bootstrap.aws.describe_serverless import newest_application, recent_jobs
from bootstrap.aws.request import Ask, Parameters
from bootstrap.config.names import Names
from bootstrap.errors import CloudError
from bootstrap.monitor.status import recent_steps

#: States in which nothing more is logged.
OVER = {"COMPLETED", "CANCELLED", "FAILED", "INTERRUPTED", "SUCCESS"}


@dataclass(frozen=True)
class Run:
    """One step or job whose logs are asked for.

    Parameters
    ----------
    name, id, state : str
    prefix : str
        In the log bucket, where all of its cluster or job lies.
    where : dict
        How its state is asked for: parameters of `describe_step` or `get_job_run`.
    serverless : bool
    """

    name: str
    id: str
    state: str
    prefix: str
    where: Parameters
    serverless: bool

    def over(self, ask: Ask) -> bool:
        """Whether it is over by now."""
        if self.serverless:
            return (ask("emr-serverless", "get_job_run", self.where) or {})["jobRun"][
                "state"
            ] in OVER
        return (ask("emr", "describe_step", self.where) or {})["Step"]["Status"]["State"] in OVER


def find_run(names: Names, ask: Ask, wanted: str, among: str | None = None) -> Run:
    """The newest step or job of this name or id.

    Parameters
    ----------
    names : Names
    ask : callable
    wanted : str
        ``ingest``, ``refit``, or an id.
    among : str or None
        Name or id of the cluster or application; None: the description's newest.

    Raises
    ------
    CloudError
        Where there is none; it says which there are.
    """
    called, among = (wanted, names.of(wanted)), among or names.description.name
    root = names.log_uri.removeprefix(f"s3://{names.log}/")
    if names.description.mode == "serverless":
        application = newest_application(ask, among)
        if application is None:
            raise CloudError(f"no application {among}: `pomona cloud up` makes one")
        where = {"applicationId": application["id"]}
        jobs = recent_jobs(ask, application["id"], most=None)
        for job in sorted(jobs, key=lambda one: str(one.get("createdAt")), reverse=True):
            if job["id"] in called or job.get("name") in called:
                prefix = f"{root}applications/{application['id']}/jobs/{job['id']}/"
                asked = where | {"jobRunId": job["id"]}
                return Run(str(job.get("name")), job["id"], job["state"], prefix, asked, True)
        raise CloudError(_none(wanted, [str(job.get("name") or job["id"]) for job in jobs]))
    cluster = find_cluster(ask, among, live=False)
    if cluster is None:
        raise CloudError(f"no cluster {among}: `pomona cloud up` makes one")
    steps = recent_steps(ask, cluster["Id"], most=None)
    for step in steps:
        if step["Id"] in called or step["Name"] in called:
            asked = {"ClusterId": cluster["Id"], "StepId": step["Id"]}
            prefix = f"{root}{cluster['Id']}/"
            return Run(step["Name"], step["Id"], step["Status"]["State"], prefix, asked, False)
    raise CloudError(_none(wanted, [step["Name"] for step in steps]))


def _none(wanted: str, there: list[str]) -> str:
    told = ", ".join(sorted(set(there))) or "none"
    return f"no step or job {wanted}; there are: {told}"
