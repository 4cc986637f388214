"""Tests for `pomona cloud status` and `down` in a moto account."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

import bootstrap.deploy.teardown
from support.aws.account import ACCOUNT, ADMIN, READ_ACTIONS, REGION, MotoAccount
from support.aws.workspace import write_config
from support.processes.cli import Command, set_terminal_input

pytestmark = [pytest.mark.slow, pytest.mark.long]
pytest_plugins = ["support.aws.fixtures"]


def restrict_to_reading(account: MotoAccount, patch: pytest.MonkeyPatch) -> None:
    """Use the credentials of a user with read-only permissions, and enforce them."""
    for name, value in account.create_caller("reader", *READ_ACTIONS).items():
        patch.setenv(name, value)
    account.enforce_iam()


def objects(account: MotoAccount) -> list[str]:
    s3 = account.client("s3", ADMIN)
    return [
        f"{bucket['Name']}/{one['Key']} {one['VersionId']}"
        for bucket in s3.list_buckets()["Buckets"]
        for one in s3.list_object_versions(Bucket=bucket["Name"]).get("Versions", [])
    ]


def create_minimal_cluster(account: MotoAccount, owner: str = "fruits") -> None:
    """Create only a cluster, with the name and tag that `up` sets."""
    account.client("emr", ADMIN).run_job_flow(
        Name="fruits",
        Instances={"KeepJobFlowAliveWhenNoSteps": True, "InstanceCount": 1},
        Tags=[{"Key": "pomona", "Value": owner}],
    )


def test_status_of_cluster_equals_emr_response(
    pomona: Command, workspace: Path, account: MotoAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pomona("cloud", "up", "--yes").status == 0
    emr = account.client("emr", ADMIN)
    (listed,) = emr.list_clusters()["Clusters"]
    cluster = emr.describe_cluster(ClusterId=listed["Id"])["Cluster"]
    (step,) = emr.list_steps(ClusterId=listed["Id"])["Steps"]
    restrict_to_reading(account, monkeypatch)
    answer = pomona("cloud", "status", "--json").json
    status = answer["cluster"]
    assert (status["id"], status["state"]) == (listed["Id"], cluster["Status"]["State"])
    assert status["primary"] == cluster["MasterPublicDnsName"]
    assert [(one["id"], one["name"], one["state"]) for one in status["steps"]] == [
        (step["Id"], "fruits-ingest", step["Status"]["State"])
    ]
    nodes = {one["role"]: (one["requested"], one["type"], one["market"]) for one in status["nodes"]}
    assert nodes["primary"] == (1, "m5.xlarge", "ON_DEMAND")
    assert nodes["core"] == (2, "m5.xlarge", "ON_DEMAND")
    assert answer["schedule"]["expression"] == "rate(1 hour)"
    lines = pomona("cloud", "status").out
    for text in (listed["Id"], step["Id"], "fruits-ingest RUNNING", "rate(1 hour), ENABLED"):
        assert text in lines


def test_status_of_jobs_equals_emr_serverless_response(
    pomona: Command, workspace: Path, account: MotoAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config(workspace, 'mode = "serverless"\n')
    assert pomona("cloud", "up", "--yes").status == 0
    serverless = account.client("emr-serverless", ADMIN)
    (application,) = serverless.list_applications()["applications"]
    (job,) = serverless.list_job_runs(applicationId=application["id"])["jobRuns"]
    restrict_to_reading(account, monkeypatch)
    status = pomona("cloud", "status", "--json").json["application"]
    assert (status["id"], status["state"]) == (application["id"], application["state"])
    assert [(one["id"], one["state"]) for one in status["jobs"]] == [(job["id"], "RUNNING")]
    assert f"{job['id']} fruits-ingest RUNNING" in pomona("cloud", "status").out


def test_two_clusters_with_one_name_are_listed_and_terminated(
    pomona: Command, workspace: Path, account: MotoAccount
) -> None:
    create_minimal_cluster(account)
    create_minimal_cluster(account)
    emr = account.client("emr", ADMIN)
    listed = sorted(emr.list_clusters()["Clusters"], key=_created)
    status = pomona("cloud", "status", "--json").json["cluster"]
    assert [*status["other_clusters"], status["id"]] == [one["Id"] for one in listed]
    assert f"also live    {listed[0]['Id']}, with the same name" in pomona("cloud", "status").out
    assert pomona("cloud", "down", "--yes").status == 0
    states = {one["Status"]["State"] for one in emr.list_clusters()["Clusters"]}
    assert states == {"TERMINATED"}


def _created(cluster: Any) -> Any:
    return cluster["Status"]["Timeline"]["CreationDateTime"]


@pytest.mark.parametrize("more", ["", 'mode = "serverless"\n'])
def test_status_and_down_of_empty_account(
    more: str, pomona: Command, workspace: Path, account: MotoAccount
) -> None:
    write_config(workspace, more)
    assert "none: `pomona cloud up` creates one" in pomona("cloud", "status").out
    done = pomona("cloud", "down", "--yes")
    assert (done.status, done.err) == (0, "")
    assert "nothing is running" in done.out
    assert "retained" not in done.out


def test_down_lists_only_retained_resources_that_exist(
    pomona: Command, workspace: Path, account: MotoAccount
) -> None:
    bucket = f"fruits-data-{ACCOUNT}"
    location = {"LocationConstraint": REGION}
    account.client("s3", ADMIN).create_bucket(Bucket=bucket, CreateBucketConfiguration=location)
    create_minimal_cluster(account)
    write_config(workspace, 'mode = "serverless"\n')  # the mode has changed since `up`
    (retained,) = pomona("cloud", "down", "--yes", "--json").json["retained"]
    assert retained.startswith(f"data bucket {bucket}: ")


def test_down_terminates_cluster_if_stack_cannot_be_read(
    pomona: Command, workspace: Path, account: MotoAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_minimal_cluster(account)
    actions = ("elasticmapreduce:*", "emr-serverless:*", "scheduler:*", "sts:*")
    for name, value in account.create_caller("operator", *actions).items():
        monkeypatch.setenv(name, value)
    account.enforce_iam()
    done = pomona("cloud", "down", "--yes")
    assert done.status == 1  # the schedule could start another one
    assert "pomona: cloudformation describe_stacks: " in done.err
    account.disable_iam()
    (cluster,) = account.client("emr", ADMIN).list_clusters()["Clusters"]
    assert cluster["Status"]["State"] == "TERMINATED"


def test_status_shows_terminated_cluster(
    pomona: Command, workspace: Path, account: MotoAccount
) -> None:
    create_minimal_cluster(account)
    assert pomona("cloud", "down", "--yes").status == 0
    answer = pomona("cloud", "status", "--json").json
    assert answer["cluster"]["state"] == "TERMINATED"
    assert answer["cluster"]["ended_at"]
    assert answer["schedule"] is None


def test_down_terminates_cluster_and_schedule_and_keeps_objects(
    pomona: Command, workspace: Path, account: MotoAccount
) -> None:
    assert pomona("cloud", "up", "--yes").status == 0
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
    names = [one["RoleName"] for one in roles if one["RoleName"].startswith("fruits-")]
    groups = account.client("ec2", ADMIN).describe_security_groups()["SecurityGroups"]
    names += [one["GroupName"] for one in groups if one["GroupName"].startswith("fruits-")]
    assert len(names) > 5
    for name in (f"fruits-data-{ACCOUNT}", f"fruits-log-{ACCOUNT}", "stack fruits-long-lived"):
        assert name in retained
    assert pomona("cloud", "up", "--yes").status == 0  # deploys again
    states = [one["Status"]["State"] for one in emr.list_clusters()["Clusters"]]
    assert sorted(states) == ["RUNNING", "TERMINATED"]


def test_down_terminates_jobs_and_application(
    pomona: Command, workspace: Path, account: MotoAccount
) -> None:
    write_config(workspace, 'mode = "serverless"\n')
    assert pomona("cloud", "up", "--yes").status == 0
    before = objects(account)
    serverless = account.client("emr-serverless", ADMIN)
    (application,) = serverless.list_applications()["applications"]
    write_config(workspace)  # the mode has changed since the deployment
    done = pomona("cloud", "down", "--yes")
    assert (done.status, done.err) == (0, "")
    jobs = serverless.list_job_runs(applicationId=application["id"])["jobRuns"]
    assert [one["state"] for one in jobs] == ["CANCELLED"]
    state = serverless.get_application(applicationId=application["id"])["application"]["state"]
    assert state == "STOPPED"
    assert objects(account) == before
    assert "nothing is running" in pomona("cloud", "down", "--yes").out


def test_down_reports_application_that_does_not_stop(
    pomona: Command, workspace: Path, account: MotoAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    import moto.emrserverless.models as models

    write_config(workspace, 'mode = "serverless"\n')
    assert pomona("cloud", "up", "--yes").status == 0
    monkeypatch.setattr(bootstrap.deploy.teardown, "STOP_TIMEOUT", 0.1)
    monkeypatch.setattr(bootstrap.deploy.teardown, "POLL_INTERVAL", 0.05)
    backend: Any = models.EMRServerlessBackend
    with monkeypatch.context() as patch:
        patch.setattr(backend, "stop_application", lambda *_, **__: None)
        done = pomona("cloud", "down", "--all", "--yes")
    assert done.status == 1
    assert "it is STARTED after 0 s; run `pomona cloud down` again" in done.err
    assert pomona("cloud", "down", "--all", "--yes").status == 0


def test_down_all_deletes_the_stacks_and_keeps_the_buckets(
    pomona: Command, workspace: Path, account: MotoAccount
) -> None:
    assert pomona("cloud", "up", "--yes").status == 0
    ec2 = account.client("ec2", ADMIN)
    named = [{"Name": "group-name", "Values": ["fruits-primary", "fruits-workers"]}]
    first, second = ec2.describe_security_groups(Filters=named)["SecurityGroups"]
    for group, other in ((first, second), (second, first)):  # as EMR does
        pair = [{"GroupId": other["GroupId"]}]
        rule = {"IpProtocol": "tcp", "FromPort": 0, "ToPort": 65535, "UserIdGroupPairs": pair}
        ec2.authorize_security_group_ingress(GroupId=group["GroupId"], IpPermissions=[rule])
    before = objects(account)
    answer = pomona("cloud", "down", "--all", "--yes", "--json").json
    assert answer["terminated"][-1] == "stack fruits-long-lived"
    assert [one.partition(":")[0] for one in answer["retained"]] == [
        f"data bucket fruits-data-{ACCOUNT}",
        f"log bucket fruits-log-{ACCOUNT}",
    ]
    assert objects(account) == before
    roles = account.client("iam", ADMIN).list_roles()["Roles"]
    assert not [one for one in roles if one["RoleName"].startswith("fruits-")]
    assert ec2.describe_security_groups(Filters=named)["SecurityGroups"] == []
    assert account.client("cloudformation", ADMIN).describe_stacks()["Stacks"] == []
    assert "nothing is running" in pomona("cloud", "down", "--all", "--yes").out


def test_down_all_reports_the_resource_that_cannot_be_deleted(
    pomona: Command, workspace: Path, account: MotoAccount
) -> None:
    assert pomona("cloud", "up", "--yes").status == 0
    iam, policy = account.client("iam", ADMIN), {"RoleName": "fruits-evaluator", "PolicyName": "x"}
    allow = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}
    document = {"Version": "2012-10-17", "Statement": [allow]}
    iam.put_role_policy(**policy, PolicyDocument=json.dumps(document))
    done = pomona("cloud", "down", "--all", "--yes")
    assert done.status == 1
    assert "stack fruits-long-lived: EvaluatorRole (AWS::IAM::Role): " in done.err
    assert "must delete policies first" in done.err
    states = account.client("cloudformation", ADMIN).describe_stacks()["Stacks"]
    assert [one["StackStatus"] for one in states] == ["DELETE_FAILED"]
    iam.delete_role_policy(**policy)
    assert pomona("cloud", "down", "--all", "--yes").status == 0  # deletes what is left


def test_down_reports_the_endpoint_that_emr_leaves_on_a_private_subnet(
    pomona: Command, workspace: Path, account: MotoAccount
) -> None:
    assert pomona("cloud", "up", "--yes").status == 0
    ec2 = account.client("ec2", ADMIN)
    named = [{"Name": "group-name", "Values": ["fruits-primary"]}]
    (group,) = ec2.describe_security_groups(Filters=named)["SecurityGroups"]
    service = "aws.api.eu-west-1.emr-service-cell01"
    own, other = (
        ec2.create_vpc_endpoint(
            VpcId=group["VpcId"], ServiceName=service, VpcEndpointType="Interface",
            SecurityGroupIds=groups,
        )["VpcEndpoint"]["VpcEndpointId"]
        for groups in ([group["GroupId"]], [])
    )  # fmt: skip
    delete = f"`aws ec2 delete-vpc-endpoints --region eu-west-1 --vpc-endpoint-ids {own}`"
    retained = pomona("cloud", "down", "--yes", "--json").json["retained"]
    (line,) = [one for one in retained if "VPC endpoint" in one]
    assert line.startswith(f"VPC endpoint {own} ({service}): billed by the hour; if no other")
    assert line.endswith(delete)
    done = pomona("cloud", "down", "--all", "--yes")
    assert done.status == 1
    assert delete in done.err
    assert "run `pomona cloud down --all` again" in done.err
    states = account.client("cloudformation", ADMIN).describe_stacks()["Stacks"]
    assert [one["StackStatus"] for one in states] == ["UPDATE_COMPLETE"]  # nothing was tried
    ec2.delete_vpc_endpoints(VpcEndpointIds=[own])
    assert pomona("cloud", "down", "--all", "--yes").status == 0
    assert other in [one["VpcEndpointId"] for one in ec2.describe_vpc_endpoints()["VpcEndpoints"]]


@pytest.mark.parametrize(("answer", "terminated"), [("n\n", False), ("\n", False), ("y\n", True)])
def test_down_requires_confirmation(
    answer: str,
    terminated: bool,
    pomona: Command,
    workspace: Path,
    account: MotoAccount,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    create_minimal_cluster(account)
    account.client("s3", ADMIN).create_bucket(
        Bucket=f"fruits-data-{ACCOUNT}",
        CreateBucketConfiguration={"LocationConstraint": REGION},
    )
    set_terminal_input(monkeypatch, answer)
    done = pomona("cloud", "down")
    assert done.status == 0
    assert f"retained: data bucket fruits-data-{ACCOUNT}" in done.out
    assert ("nothing was terminated" in done.out) == (not terminated)
    (cluster,) = account.client("emr", ADMIN).list_clusters()["Clusters"]
    assert (cluster["Status"]["State"] == "TERMINATED") == terminated


def test_down_without_terminal_requires_yes_option(
    pomona: Command, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    done = pomona("cloud", "down")
    assert done.status == 2
    assert done.error_line.endswith("which needs a terminal: pass --yes")
    set_terminal_input(monkeypatch, "y\n")
    assert pomona("cloud", "down", "--json").status == 2


def test_down_keeps_resources_with_the_tag_of_another_deployment(
    pomona: Command, workspace: Path, account: MotoAccount
) -> None:
    create_minimal_cluster(account, "other")
    serverless = account.client("emr-serverless", ADMIN)
    serverless.create_application(name="fruits", releaseLabel="emr-7.13.0", type="SPARK")
    assert "nothing is running" in pomona("cloud", "down", "--yes").out
    (cluster,) = account.client("emr", ADMIN).list_clusters()["Clusters"]
    assert cluster["Status"]["State"] == "WAITING"


def test_down_without_permission_is_reported(
    pomona: Command, workspace: Path, account: MotoAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_minimal_cluster(account)
    restrict_to_reading(account, monkeypatch)
    done = pomona("cloud", "down", "--yes")
    assert done.status == 1
    assert done.err.startswith("pomona: emr terminate_job_flows: ")
    assert "request this permission" in done.err
