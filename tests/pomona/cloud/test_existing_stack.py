"""Tests for `stack = "name"`: a stack that a platform team has deployed is read, and never changed or deleted."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from bootstrap.aws.client import Account
from bootstrap.config.loader import parse_config
from bootstrap.config.names import Names
from bootstrap.deploy.deployment import later_parameters
from bootstrap.deploy.stacks import StackSpec, deploy_stack
from bootstrap.resources.stack import read_template, template_parameters
from bootstrap.resources.template import template_body
from support.aws.account import ACCOUNT, ADMIN, REGION, MotoAccount
from support.aws.authorization import authorize_resources
from support.aws.cluster_configs import MINIMAL
from support.aws.workspace import write_config
from support.processes.cli import Command

pytest_plugins = ["support.aws.fixtures"]
pytestmark = [pytest.mark.slow, pytest.mark.long]

STACK = 'stack = "platform"\n'
BUCKETS = {"data_bucket": "platform-data", "log_bucket": "platform-logs"}


def deploy_platform_stack(account: MotoAccount, more: str = "", **changed: str) -> None:
    """Deploy the template as another team does: under another name, with buckets of other names."""
    config = parse_config((MINIMAL + more).encode())
    storage = dataclasses.replace(config.storage, **BUCKETS)
    names = Names(dataclasses.replace(config, storage=storage), ACCOUNT)
    known = template_parameters("long-lived", names)
    parameters = {key: value for key, value in known.items() if value is not None}
    parameters |= later_parameters(names, "", {}) | changed
    body = template_body(read_template("long-lived"), parameters)
    account.disable_iam()
    deploy_stack(
        StackSpec("platform", body, parameters, names.tags), Account(REGION), lambda _: None
    )
    account.sent.clear()


def events(account: MotoAccount) -> list[str]:
    account.disable_iam()
    client = account.client("cloudformation", ADMIN)
    assert [one["StackName"] for one in client.describe_stacks()["Stacks"]] == ["platform"]
    return [
        one["EventId"] for one in client.describe_stack_events(StackName="platform")["StackEvents"]
    ]


def schedules(account: MotoAccount) -> dict[str, Any]:
    client = account.client("scheduler", ADMIN)
    found = [one["Name"] for one in client.list_schedules()["Schedules"]]
    return {name: client.get_schedule(Name=name) for name in found}


def test_commands_use_the_stack_and_do_not_change_it(
    pomona: Command, workspace: Path, account: MotoAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy_platform_stack(account, "limits.hours = 2\n")
    before = events(account)
    write_config(workspace, STACK + "limits.hours = 2\n")
    planned = pomona("cloud", "plan")
    assert (planned.status, planned.err) == (0, "")
    assert "stack platform: existing, not changed" in planned.out
    assert "+ scheduler CreateSchedule  schedule fruits-refit: starts refits" in planned.out
    done = pomona("cloud", "up", "--yes", "--json").json
    assert [one["action"] for one in done["requests"] if "schedule" in one["name"]] == ["send"] * 2
    emr = account.client("emr", ADMIN)
    (cluster,) = emr.list_clusters()["Clusters"]
    described = emr.describe_cluster(ClusterId=cluster["Id"])["Cluster"]
    groups = account.client("ec2", ADMIN).describe_security_groups(GroupNames=["fruits-primary"])
    used = described["Ec2InstanceAttributes"]["EmrManagedMasterSecurityGroup"]
    assert used == groups["SecurityGroups"][0]["GroupId"]
    assert described["LogUri"].endswith("//platform-logs/emr/")
    uploaded = account.client("s3", ADMIN).list_objects_v2(Bucket="platform-data")["Contents"]
    assert any(one["Key"].endswith("/environment.tar.gz") for one in uploaded)
    started = schedules(account)
    assert set(started) == {"fruits-refit", "fruits-end"}
    assert json.loads(started["fruits-refit"]["Target"]["Input"])["JobFlowId"] == cluster["Id"]
    again = pomona("cloud", "up", "--yes", "--json").json
    assert {one["action"] for one in again["requests"]} == {"keep", "read"}
    write_config(workspace, STACK + 'limits.hours = 2\nrefit.schedule = "rate(2 hours)"\n')
    again = pomona("cloud", "up", "--yes", "--json").json
    assert [one["operation"] for one in again["requests"] if one["action"] == "change"] == [
        "UpdateSchedule"
    ]
    assert schedules(account)["fruits-refit"]["ScheduleExpression"] == "rate(2 hours)"
    done = pomona("cloud", "down", "--yes", "--all")
    assert (done.status, done.err) == (0, "")
    assert "terminated: schedule fruits-refit" in done.out
    assert "retained: stack platform: no command changes or deletes it" in done.out
    assert schedules(account) == {}
    assert emr.list_clusters()["Clusters"][0]["Status"]["State"] == "TERMINATED"
    assert events(account) == before
    assert not [one for one in account.sent if one.service == "cloudformation"]


@pytest.mark.parametrize(
    ("more", "changed", "problem"),
    [
        ("", None, "line 4: stack is 'platform', and there is no such stack in eu-west-1: correct the name"),
        (
            'storage.lake = "tables/"\n',
            {},
            "cluster.toml, line 4: stack platform has 'lake' as LakeKey, but the configuration requires 'tables'",
        ),
        ("", {"RefitInput": "{}"}, "stack platform creates a schedule, whose input `up` cannot update"),
        ("limits.hours = 3\n", {}, "stack platform has no LimitHours, and so lacks permissions for limits.hours"),
        (
            "",
            {"ScheduleExpression": ""},
            "stack platform has no ScheduleExpression, and so lacks permissions for refit.schedule",
        ),
    ],
)  # fmt: skip
def test_stack_that_does_not_fit_stops_plan_and_up(
    more: str,
    changed: dict[str, str] | None,
    problem: str,
    pomona: Command,
    workspace: Path,
    account: MotoAccount,
) -> None:
    if changed is not None:
        deploy_platform_stack(account, **changed)
    write_config(workspace, STACK + more)
    for command in ("plan", "up --yes"):
        done = pomona("cloud", *command.split())
        assert done.status == 1
        assert problem in done.err
    assert not account.sent
    assert pomona("cloud", "down", "--yes").status == 0


def test_independent_parameters_of_the_stack_may_differ(
    pomona: Command, workspace: Path, account: MotoAccount
) -> None:
    deploy_platform_stack(account, LogDays="7", ScheduleExpression="rate(1 day)", LimitHours="9")
    write_config(workspace, STACK)
    assert pomona("cloud", "plan").status == 0


def test_application_of_the_stack_is_used(
    pomona: Command, workspace: Path, account: MotoAccount
) -> None:
    account.disable_iam()
    serverless = account.client("emr-serverless", ADMIN)
    application = serverless.create_application(
        name="fruits", releaseLabel="emr-7.13.0", type="SPARK", tags={"pomona": "fruits"}
    )["applicationId"]
    # moto knows no application without a job.
    role = f"arn:aws:iam::{ACCOUNT}:role/other"
    serverless.start_job_run(applicationId=application, executionRoleArn=role, name="other")
    deploy_platform_stack(account, 'mode = "serverless"\n', ApplicationId=application)
    before = events(account)
    write_config(workspace, STACK + 'mode = "serverless"\n')
    done = pomona("cloud", "up", "--yes", "--json")
    assert done.status == 0, done.err
    assert done.json["application"] == application
    target = schedules(account)["fruits-refit"]["Target"]
    assert json.loads(target["Input"])["ApplicationId"] == application
    assert pomona("cloud", "down", "--yes").status == 0
    assert schedules(account) == {}
    assert events(account) == before


def test_policy_suffices_and_does_not_allow_to_change_the_stack(
    pomona: Command, workspace: Path, account: MotoAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy_platform_stack(account, "limits.hours = 2\n")
    write_config(
        workspace,
        STACK
        + 'limits.hours = 2\nstorage = {data_bucket = "platform-data", log_bucket = "platform-logs"}\n',
    )
    document = pomona("cloud", "policy").json
    documents = document if isinstance(document, list) else [document]
    statements = [one for document in documents for one in document["Statement"]]
    actions = {action for one in statements for action in one["Action"]}
    assert {one for one in actions if one.startswith("cloudformation:")} == {
        "cloudformation:DescribeStacks"
    }
    assert not {"iam:CreateRole", "s3:CreateBucket", "ec2:CreateSecurityGroup"} & actions
    (stacks,) = [one for one in statements if "cloudformation:DescribeStacks" in one["Action"]]
    assert stacks["Resource"] == [f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/platform/*"]
    caller = account.create_caller("deployer-of-cluster", "sts:GetCallerIdentity")
    iam = account.client("iam", ADMIN)
    for number, one in enumerate(documents):
        iam.put_user_policy(
            UserName="deployer-of-cluster", PolicyName=f"p{number}", PolicyDocument=json.dumps(one)
        )
    for name, value in caller.items():
        monkeypatch.setenv(name, value)
    authorize_resources(monkeypatch)
    account.enforce_iam()
    for command in ("plan", "up --yes", "status", "up --yes", "down --yes --all"):
        done = pomona("cloud", *command.split())
        assert (command, done.status, done.err) == (command, 0, "")
        assert "not checked" not in done.out
