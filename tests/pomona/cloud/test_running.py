"""Tests for `pomona cloud status` and `down`: what moto's account holds is told, and what costs by the hour ends."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import pytest

import bootstrap.deploy.teardown
from support.aws_account import ACCOUNT, ADMIN, READ_ACTIONS, MotoAccount
from support.aws_workspace import write_config
from support.cli import Command

pytestmark = pytest.mark.slow
pytest_plugins = ["support.aws_fixtures"]


def only_reading(account: MotoAccount, patch: pytest.MonkeyPatch) -> None:
    """Call from now on as a user who may change nothing."""
    for name, value in account.create_caller("reader", *READ_ACTIONS).items():
        patch.setenv(name, value)
    account.enforce_iam()


def answering(patch: pytest.MonkeyPatch, words: str) -> None:
    """Sit a person at the terminal who types this."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    patch.setattr(sys, "stdin", Terminal(words))


def objects(account: MotoAccount) -> list[str]:
    s3 = account.client("s3", ADMIN)
    return [
        f"{bucket['Name']}/{one['Key']} {one['VersionId']}"
        for bucket in s3.list_buckets()["Buckets"]
        for one in s3.list_object_versions(Bucket=bucket["Name"]).get("Versions", [])
    ]


def small_cluster(account: MotoAccount, owner: str = "fruits") -> None:
    """A cluster as `up` names and tags it, and nothing else: the rest of `up` takes seconds."""
    account.client("emr", ADMIN).run_job_flow(
        Name="fruits",
        Instances={"KeepJobFlowAliveWhenNoSteps": True, "InstanceCount": 1},
        Tags=[{"Key": "pomona", "Value": owner}],
    )


def test_the_state_of_a_cluster_is_what_aws_says(
    pomona: Command, workspace: Path, account: MotoAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pomona("cloud", "up").status == 0
    emr = account.client("emr", ADMIN)
    (listed,) = emr.list_clusters()["Clusters"]
    cluster = emr.describe_cluster(ClusterId=listed["Id"])["Cluster"]
    (step,) = emr.list_steps(ClusterId=listed["Id"])["Steps"]
    only_reading(account, monkeypatch)
    answer = pomona("cloud", "status", "--json").json
    told = answer["cluster"]
    assert (told["id"], told["state"]) == (listed["Id"], cluster["Status"]["State"])
    assert told["primary"] == cluster["MasterPublicDnsName"]
    assert [(one["id"], one["name"], one["state"]) for one in told["steps"]] == [
        (step["Id"], "fruits-ingest", step["Status"]["State"])
    ]
    nodes = {one["role"]: (one["requested"], one["type"], one["market"]) for one in told["nodes"]}
    assert nodes["primary"] == (1, "m5.xlarge", "ON_DEMAND")
    assert nodes["core"] == (2, "m5.xlarge", "ON_DEMAND")
    assert answer["schedule"]["expression"] == "rate(1 hour)"
    lines = pomona("cloud", "status").out
    for word in (listed["Id"], step["Id"], "fruits-ingest RUNNING", "rate(1 hour), ENABLED"):
        assert word in lines


def test_the_state_of_jobs_is_what_aws_says(
    pomona: Command, workspace: Path, account: MotoAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config(workspace, 'mode = "serverless"\n')
    assert pomona("cloud", "up").status == 0
    serverless = account.client("emr-serverless", ADMIN)
    (application,) = serverless.list_applications()["applications"]
    (job,) = serverless.list_job_runs(applicationId=application["id"])["jobRuns"]
    only_reading(account, monkeypatch)
    told = pomona("cloud", "status", "--json").json["application"]
    assert (told["id"], told["state"]) == (application["id"], application["state"])
    assert [(one["id"], one["state"]) for one in told["jobs"]] == [(job["id"], "RUNNING")]
    assert f"{job['id']} fruits-ingest RUNNING" in pomona("cloud", "status").out


def test_of_two_clusters_of_one_name_both_are_told_and_ended(
    pomona: Command, workspace: Path, account: MotoAccount
) -> None:
    small_cluster(account)
    small_cluster(account)
    emr = account.client("emr", ADMIN)
    listed = sorted(emr.list_clusters()["Clusters"], key=_created)
    told = pomona("cloud", "status", "--json").json["cluster"]
    assert [*told["other_clusters"], told["id"]] == [one["Id"] for one in listed]
    assert f"also live    {listed[0]['Id']}, with the same name" in pomona("cloud", "status").out
    assert pomona("cloud", "down", "--yes").status == 0
    states = {one["Status"]["State"] for one in emr.list_clusters()["Clusters"]}
    assert states == {"TERMINATED"}


def _created(cluster: Any) -> Any:
    return cluster["Status"]["Timeline"]["CreationDateTime"]


@pytest.mark.parametrize("more", ["", 'mode = "serverless"\n'])
def test_in_an_empty_account_nothing_runs(
    more: str, pomona: Command, workspace: Path, account: MotoAccount
) -> None:
    write_config(workspace, more)
    assert "none: `pomona cloud up` creates one" in pomona("cloud", "status").out
    done = pomona("cloud", "down", "--yes")
    assert (done.status, done.err) == (0, "")
    assert "nothing is running" in done.out


def test_a_cluster_that_has_ended_is_still_told(
    pomona: Command, workspace: Path, account: MotoAccount
) -> None:
    small_cluster(account)
    assert pomona("cloud", "down", "--yes").status == 0
    answer = pomona("cloud", "status", "--json").json
    assert answer["cluster"]["state"] == "TERMINATED"
    assert answer["cluster"]["ended_at"]
    assert answer["schedule"] is None


def test_down_ends_cluster_and_schedule_and_leaves_every_object(
    pomona: Command, workspace: Path, account: MotoAccount
) -> None:
    assert pomona("cloud", "up").status == 0
    before = objects(account)
    assert any("/environment.tar.gz" in one for one in before)
    answer = pomona("cloud", "down", "--yes", "--json").json
    emr, scheduler = account.client("emr", ADMIN), account.client("scheduler", ADMIN)
    states = [one["Status"]["State"] for one in emr.list_clusters()["Clusters"]]
    assert states == ["TERMINATED"]
    assert scheduler.list_schedules()["Schedules"] == []
    assert objects(account) == before
    assert [one.split()[0] for one in answer["terminated"]] == ["schedule", "cluster"]
    retained = " ".join(answer["retained"])
    roles = account.client("iam", ADMIN).list_roles()["Roles"]
    ours = [one["RoleName"] for one in roles if one["RoleName"].startswith("fruits-")]
    groups = account.client("ec2", ADMIN).describe_security_groups()["SecurityGroups"]
    ours += [one["GroupName"] for one in groups if one["GroupName"].startswith("fruits-")]
    assert len(ours) > 5
    for name in [f"fruits-data-{ACCOUNT}", f"fruits-log-{ACCOUNT}", *ours]:
        assert name in retained
    assert pomona("cloud", "up").status == 0  # and all of it can be made again
    states = [one["Status"]["State"] for one in emr.list_clusters()["Clusters"]]
    assert sorted(states) == ["RUNNING", "TERMINATED"]


def test_down_ends_jobs_and_application(
    pomona: Command, workspace: Path, account: MotoAccount
) -> None:
    write_config(workspace, 'mode = "serverless"\n')
    assert pomona("cloud", "up").status == 0
    before = objects(account)
    serverless = account.client("emr-serverless", ADMIN)
    (application,) = serverless.list_applications()["applications"]
    write_config(workspace)  # the mode has been changed since: what it made ends all the same
    done = pomona("cloud", "down", "--yes")
    assert (done.status, done.err) == (0, "")
    jobs = serverless.list_job_runs(applicationId=application["id"])["jobRuns"]
    assert [one["state"] for one in jobs] == ["CANCELLED"]
    state = serverless.get_application(applicationId=application["id"])["application"]["state"]
    assert state == "TERMINATED"
    assert objects(account) == before
    assert "nothing is running" in pomona("cloud", "down", "--yes").out


def test_an_application_that_does_not_stop_is_told(
    pomona: Command, workspace: Path, account: MotoAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    import moto.emrserverless.models as models

    write_config(workspace, 'mode = "serverless"\n')
    assert pomona("cloud", "up").status == 0
    monkeypatch.setattr(bootstrap.deploy.teardown, "STOP_TIMEOUT", 0.1)
    monkeypatch.setattr(bootstrap.deploy.teardown, "POLL_INTERVAL", 0.05)
    backend: Any = models.EMRServerlessBackend
    with monkeypatch.context() as patch:
        patch.setattr(backend, "stop_application", lambda *_, **__: None)
        done = pomona("cloud", "down", "--yes")
    assert done.status == 1
    assert "it is STARTED after 0 s; run `pomona cloud down` again" in done.err
    assert pomona("cloud", "down", "--yes").status == 0


@pytest.mark.parametrize(("words", "ended"), [("n\n", False), ("\n", False), ("y\n", True)])
def test_down_asks(
    words: str,
    ended: bool,
    pomona: Command,
    workspace: Path,
    account: MotoAccount,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small_cluster(account)
    answering(monkeypatch, words)
    done = pomona("cloud", "down")
    assert done.status == 0
    assert f"retained: data bucket fruits-data-{ACCOUNT}" in done.out
    assert ("nothing was terminated" in done.out) == (not ended)
    (cluster,) = account.client("emr", ADMIN).list_clusters()["Clusters"]
    assert (cluster["Status"]["State"] == "TERMINATED") == ended


def test_down_does_not_guess_where_nobody_answers(
    pomona: Command, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    done = pomona("cloud", "down")
    assert done.status == 2
    assert done.error_line.endswith("which needs a terminal: pass --yes")
    answering(monkeypatch, "y\n")
    assert pomona("cloud", "down", "--json").status == 2


def test_what_another_has_made_under_the_name_is_left(
    pomona: Command, workspace: Path, account: MotoAccount
) -> None:
    small_cluster(account, "other")
    serverless = account.client("emr-serverless", ADMIN)
    serverless.create_application(name="fruits", releaseLabel="emr-7.13.0", type="SPARK")
    assert "nothing is running" in pomona("cloud", "down", "--yes").out
    (cluster,) = account.client("emr", ADMIN).list_clusters()["Clusters"]
    assert cluster["Status"]["State"] == "WAITING"


def test_a_caller_who_may_not_end_is_told(
    pomona: Command, workspace: Path, account: MotoAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_cluster(account)
    only_reading(account, monkeypatch)
    done = pomona("cloud", "down", "--yes")
    assert done.status == 1
    assert done.err.startswith("pomona: emr terminate_job_flows: ")
    assert "request this permission" in done.err
