"""Tests for the checks before a cluster is started, on moto."""

from __future__ import annotations

from pathlib import Path

import pytest

from bootstrap.aws.client import Account
from bootstrap.deploy.preflight import check_cluster
from support.aws.account import ADMIN, REGION, VCPU_QUOTAS, MotoAccount
from support.aws.cluster_configs import names
from support.aws.workspace import write_config
from support.processes.cli import Command

pytest_plugins = ["support.aws.fixtures"]
pytestmark = pytest.mark.slow

ON_DEMAND, SPOT = VCPU_QUOTAS
INCREASE = "request an increase in Service Quotas, or set fewer [instances] or a smaller type"


def instances(instance_type: str, core: int = 2, task: int = 0) -> str:
    return f'instances = {{type = "{instance_type}", core = {core}, task = {task}}}\n'


@pytest.mark.parametrize(
    ("more", "quotas", "problem"),
    [
        (
            instances("m9z.xlarge"),
            {},
            "instances.type is m9z.xlarge, which is not offered in eu-west-1: set another type",
        ),
        (
            instances("m8id.xlarge"),
            {},
            "instances.type is m8id.xlarge, which is not offered in eu-west-1a, the zone of the subnet: "
            "set another type, or a [network] subnet in eu-west-1b or eu-west-1c",
        ),
        (
            "",
            {ON_DEMAND: 11.0},
            f"3 On-Demand nodes of m5.xlarge have 12 vCPUs, and the On-Demand quota L-1216C47A allows 11: {INCREASE}",
        ),
        (
            instances("c5.2xlarge", task=2),
            {SPOT: 15.0},
            f"2 Spot nodes of c5.2xlarge have 16 vCPUs, and the Spot quota L-34B43A08 allows 15: {INCREASE}",
        ),
        (
            instances("m5.xlarge", task=2) + "limits = {nodes = 4, core = 4}\n",
            {SPOT: 7.0},
            f"2 Spot nodes of m5.xlarge have 8 vCPUs, and the Spot quota L-34B43A08 allows 7: {INCREASE}",
        ),
        (instances("c5.2xlarge", task=2), {SPOT: 16.0, ON_DEMAND: 24.0}, None),
        ("limits = {nodes = 2, core = 2}\n", {SPOT: 0.0, ON_DEMAND: 12.0}, None),
        ('mode = "serverless"\n' + instances("m9z.xlarge"), {ON_DEMAND: 0.0}, None),
    ],
    ids=["unknown type", "zone", "On-Demand", "Spot", "limits", "equal", "no Spot", "serverless"],
)
def test_problems_name_the_value_and_the_remedy(
    more: str,
    quotas: dict[str, float],
    problem: str | None,
    account: MotoAccount,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for code, value in quotas.items():
        monkeypatch.setitem(VCPU_QUOTAS, code, value)
    findings = check_cluster(names(more), Account(REGION).read)
    assert findings.problems == ([problem] if problem else [])


def test_limits_of_scaling_beyond_a_quota_are_noted(
    account: MotoAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(VCPU_QUOTAS, SPOT, 23.0)
    findings = check_cluster(names(), Account(REGION).read)
    assert (findings.problems, findings.notes) == ([], [
        "[limits] allow 6 Spot nodes of m5.xlarge with 24 vCPUs, and the Spot quota L-34B43A08 allows 23: "
        "the cluster scales only to the quota",
    ])  # fmt: skip
    monkeypatch.setitem(VCPU_QUOTAS, SPOT, 24.0)
    assert check_cluster(names(), Account(REGION).read).notes == []


def test_what_cannot_be_checked_is_noted(
    account: MotoAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    findings = check_cluster(names(instances("g4dn.xlarge")), Account(REGION).read)
    assert findings.notes == ["g4dn.xlarge: the vCPU quotas of its family are not checked"]
    with monkeypatch.context() as patch:
        patch.delitem(VCPU_QUOTAS, SPOT)
        findings = check_cluster(names(), Account(REGION).read)
    assert findings.notes == ["the Spot quota L-34B43A08 is not checked: AWS returns none"]
    for denied, allowed in (
        ("ec2 describe_instance_type_offerings", ["ec2:DescribeSubnets"]),
        ("service-quotas get_service_quota", ["ec2:Describe*"]),
    ):
        caller = account.create_caller(denied.replace(" ", "-"), "elasticmapreduce:List*", *allowed)
        for name, value in caller.items():
            monkeypatch.setenv(name, value)
        account.enforce_iam()
        findings = check_cluster(names(), Account(REGION).read)
        assert findings.problems == []
        (note,) = findings.notes
        assert note.startswith(f"m5.xlarge: zone and vCPU quotas could not be checked: {denied}: ")


def test_problem_stops_plan_and_up_before_anything_is_sent(
    pomona: Command, workspace: Path, account: MotoAccount
) -> None:
    problem = "instances.type is m9z.xlarge, which is not offered in eu-west-1: set another type"
    write_config(workspace, instances("m9z.xlarge"))
    for command in ("plan", "up --yes"):
        done = pomona("cloud", *command.split())
        assert (done.status, done.err) == (1, f"pomona: {problem}\n")
    assert pomona("cloud", "plan", "--json").json["problems"] == [problem]
    assert not account.sent


def test_running_cluster_is_not_checked(
    account: MotoAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(VCPU_QUOTAS, ON_DEMAND, 0.0)
    assert check_cluster(names(), Account(REGION).read).problems
    nodes = {"KeepJobFlowAliveWhenNoSteps": True, "InstanceCount": 1}
    account.client("emr", ADMIN).run_job_flow(Name="fruits", Instances=nodes)
    assert check_cluster(names(), Account(REGION).read).problems == []
