"""Tests for `pomona cloud clone` and `resize` in a moto account with IAM enforced."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bootstrap.cost.workload import IMAGES_PER_CORE_SECOND
from support.aws.account import ADMIN, READ_ACTIONS, MotoAccount
from support.aws.workspace import make_cloud_workspace, write_config
from support.processes.cli import Command, set_terminal_input

pytest_plugins = ["support.aws.fixtures"]
pytestmark = [pytest.mark.slow, pytest.mark.long]


@pytest.fixture
def account(served: MotoAccount, monkeypatch: pytest.MonkeyPatch) -> MotoAccount:
    """An empty account, and a caller with all permissions."""
    served.reset()
    for name, value in (served.variables | served.create_caller("deployer", "*")).items():
        monkeypatch.setenv(name, value)
    served.enforce_iam()
    return served


@pytest.fixture
def pomona(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    account: MotoAccount,
) -> Command:
    """The command, with a deployed cluster."""
    make_cloud_workspace(tmp_path, monkeypatch)
    command = Command(monkeypatch, capsys)
    assert command("cloud", "up", "--yes").status == 0
    return command


COPIED = ("Name", "ReleaseLabel", "Applications", "LogUri", "ServiceRole", "SecurityConfiguration")
COPIED += ("Configurations", "StepConcurrencyLevel")


def clusters(account: MotoAccount) -> dict[str, Any]:
    """Return each cluster by id, as EMR describes it."""
    account.disable_iam()
    emr, found = account.client("emr", ADMIN), {}
    for one in emr.list_clusters()["Clusters"]:
        where = {"ClusterId": one["Id"]}
        groups = emr.list_instance_groups(**where)["InstanceGroups"]
        found[one["Id"]] = {
            "cluster": emr.describe_cluster(**where)["Cluster"],
            "counts": {g["InstanceGroupType"]: g["RequestedInstanceCount"] for g in groups},
            "types": {g["InstanceType"] for g in groups},
            "limits": emr.get_managed_scaling_policy(**where)["ManagedScalingPolicy"][
                "ComputeLimits"
            ],
            "actions": emr.list_bootstrap_actions(**where)["BootstrapActions"],
            "steps": [step["Name"] for step in emr.list_steps(**where)["Steps"]],
        }
    account.enforce_iam()
    return found


def test_clone_differs_only_in_the_set_values(pomona: Command, account: MotoAccount) -> None:
    ((old, before),) = clusters(account).items()
    done = pomona(
        "cloud",
        "clone",
        "fruits",
        "--set",
        "instances.core=4",
        "--set",
        "instances.type=m6i.2xlarge",
        "--yes",
    )
    assert (done.status, done.err) == (0, "")
    assert f"{old} (fruits) -> a new cluster:" in done.out
    differences = {
        line.strip() for line in done.out.splitlines() if " -> " in line and "(" not in line
    }
    assert differences == {
        "Instances.InstanceGroups.MASTER.InstanceType: m5.xlarge -> m6i.2xlarge",
        "Instances.InstanceGroups.CORE.InstanceType: m5.xlarge -> m6i.2xlarge",
        "Instances.InstanceGroups.CORE.InstanceCount: 2 -> 4",
        "ManagedScalingPolicy.ComputeLimits.MinimumCapacityUnits: 2 -> 4",
        "ManagedScalingPolicy.ComputeLimits.MaximumOnDemandCapacityUnits: 2 -> 4",
        "ManagedScalingPolicy.ComputeLimits.MaximumCoreCapacityUnits: 2 -> 4",
    }  # fmt: skip
    after = clusters(account)
    assert after.pop(old) == before
    ((new, created),) = after.items()
    assert f"cluster: {new}" in done.out
    assert created["counts"] == {"MASTER": 1, "CORE": 4}
    assert created["types"] == {"m6i.2xlarge"}
    assert created["actions"] == before["actions"]
    for key in COPIED:
        assert created["cluster"][key] == before["cluster"][key], key
    for key in (
        "IamInstanceProfile",
        "EmrManagedMasterSecurityGroup",
        "EmrManagedSlaveSecurityGroup",
    ):
        attributes = created["cluster"]["Ec2InstanceAttributes"]
        assert attributes[key] == before["cluster"]["Ec2InstanceAttributes"][key]
    assert (before["steps"], created["steps"]) == (["fruits-ingest"], [])


def test_clone_with_steps_copies_the_steps(pomona: Command, account: MotoAccount) -> None:
    ((old, _),) = clusters(account).items()
    assert pomona("cloud", "clone", old, "--with-steps", "--yes").status == 0
    assert [one["steps"] for one in clusters(account).values()] == [["fruits-ingest"]] * 2


def test_dry_run_sends_nothing(
    pomona: Command, account: MotoAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = clusters(account)
    for name, value in account.create_caller("reader", *READ_ACTIONS).items():
        monkeypatch.setenv(name, value)
    account.enforce_iam()
    answer = pomona(
        "cloud", "clone", "fruits", "--set", "instances.core=4", "--dry-run", "--json"
    ).json
    assert answer["created"] is None
    assert "Instances.InstanceGroups.CORE.InstanceCount: 2 -> 4" in answer["differences"]
    assert answer["request"]["Instances"]["InstanceGroups"][1]["InstanceCount"] == 4
    done = pomona("cloud", "resize", "fruits", "--core", "4", "--dry-run")
    assert "+ emr ModifyInstanceGroups" in done.out
    assert done.out.endswith("nothing was sent\n")
    assert clusters(account) == before


def test_plan_keeps_a_clone_that_matches_the_configuration(
    pomona: Command, account: MotoAccount
) -> None:
    ((old, _),) = clusters(account).items()
    assert pomona("cloud", "clone", "fruits", "--set", "instances.disk_gb=100", "--yes").status == 0
    account.disable_iam()
    account.client("emr", ADMIN).terminate_job_flows(JobFlowIds=[old])
    account.enforce_iam()
    write_config(Path(), "instances.disk_gb = 100\n")
    planned = pomona("cloud", "plan", "--json").json
    requests = {one["name"]: one for one in planned["requests"]}
    assert requests["cluster"]["action"] == "keep"
    assert requests["step fruits-ingest"]["action"] == "send"  # the clone has no steps
    (change,) = planned["stacks"][0]["changes"]  # it must start refits on the clone
    assert (change["name"], change["action"]) == ("Schedule", "modify")


def test_plan_lists_differences_between_cluster_and_configuration(
    pomona: Command, account: MotoAccount
) -> None:
    write_config(Path(), 'instances = {core = 1, type = "m6i.xlarge"}\n')
    requests = {one["name"]: one for one in pomona("cloud", "plan", "--json").json["requests"]}
    assert requests["cluster"]["differences"] == [
        "Instances.InstanceGroups.MASTER.InstanceType: m5.xlarge -> m6i.xlarge",
        "Instances.InstanceGroups.CORE.InstanceType: m5.xlarge -> m6i.xlarge",
        "Instances.InstanceGroups.CORE.InstanceCount: 2 -> 1",
        "ManagedScalingPolicy.ComputeLimits.MinimumCapacityUnits: 2 -> 1",
    ]  # fmt: skip


def test_resize_changes_node_counts_and_scaling_limits(
    pomona: Command, account: MotoAccount
) -> None:
    ((cluster, before),) = clusters(account).items()
    done = pomona("cloud", "resize", "fruits", "--core", 9, "--task", 3, "--yes")
    assert (done.status, done.err) == (0, "")
    ((same, after),) = clusters(account).items()
    assert same == cluster
    assert after["counts"] == {"MASTER": 1, "CORE": 9, "TASK": 3}
    assert after["limits"] == {
        "UnitType": "Instances",
        "MinimumCapacityUnits": 9,
        "MaximumCapacityUnits": 12,
        "MaximumOnDemandCapacityUnits": 9,
        "MaximumCoreCapacityUnits": 9,
    }
    assert after["types"] == before["types"]
    assert "+ emr AddInstanceGroups" in done.out  # the cluster had no task group
    done = pomona("cloud", "resize", "fruits", "--core", 9)
    assert done.out == "fruits: already has this size\n"
    for count in (0, 2):  # the group remains, without nodes
        done = pomona("cloud", "resize", "fruits", "--task", count, "--yes", "--json")
        requests = done.json["requests"]
        assert [one["operation"] for one in requests] == ["modify_instance_groups"]
        ((_, after),) = clusters(account).items()
        assert after["counts"] == {"MASTER": 1, "CORE": 9, "TASK": count}
        if count == 0:  # RunJobFlow rejects a group without nodes
            answer = pomona("cloud", "clone", "fruits", "--dry-run", "--json").json
            groups = answer["request"]["Instances"]["InstanceGroups"]
            assert [one["InstanceRole"] for one in groups] == ["MASTER", "CORE"]
            assert answer["differences"] == []
    assert pomona("cloud", "resize", "fruits", "--nodes", 20, "--json").json["requests"][0]["parameters"][
        "ManagedScalingPolicy"
    ]["ComputeLimits"]["MaximumCapacityUnits"] == 20  # fmt: skip


def test_resize_to_another_instance_type_creates_a_clone(
    pomona: Command, account: MotoAccount
) -> None:
    ((old, before),) = clusters(account).items()
    assert pomona("cloud", "resize", "fruits", "--instance-type", "m5.2xlarge", "--yes").status == 0
    after = clusters(account)
    assert after.pop(old) == before
    (created,) = after.values()
    assert (created["types"], created["counts"]) == ({"m5.2xlarge"}, before["counts"])


STARTS = {
    ("clone", "fruits", "--set", "instances.core=3"): (
        "cluster fruits: 1 primary m5.xlarge (ON_DEMAND), 3 core m5.xlarge (ON_DEMAND)"
    ),
    ("resize", "fruits", "--instance-type", "m6i.xlarge"): (
        "cluster fruits: 1 primary m6i.xlarge (ON_DEMAND), 2 core m6i.xlarge (ON_DEMAND)"
    ),
    ("resize", "fruits", "--core", "5", "--task", "3"): (
        "in cluster fruits: 3 core m5.xlarge (ON_DEMAND), 3 task m5.xlarge (SPOT)"
    ),
}


def test_billed_nodes_start_only_after_confirmation(
    pomona: Command, account: MotoAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = clusters(account)
    for arguments, started in STARTS.items():
        for json_option in ([], ["--json"]):
            done = pomona("cloud", *arguments, *json_option)
            assert done.status == 2
            assert done.err.splitlines()[-1] == (
                f"pomona: {arguments[0]} would start {started}, which is billed: "
                "pass --yes to start without confirmation"
            )
    for arguments, started in STARTS.items():
        for answer in ("n\n", "\n"):
            set_terminal_input(monkeypatch, answer)
            done = pomona("cloud", *arguments)
            assert done.status == 0
            assert f"to start: {started}\n" in done.out
            assert done.out.endswith("nothing was sent\n")
    assert clusters(account) == before
    set_terminal_input(monkeypatch, "")
    fewer = ("cloud", "resize", "fruits", "--core", "1")  # starts no nodes: nothing to ask
    assert pomona(*fewer).status == 0
    for arguments in STARTS:
        set_terminal_input(monkeypatch, "y\n")
        assert pomona("cloud", *arguments).status == 0
    assert len(clusters(account)) == 3


@pytest.fixture
def fleets(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    account: MotoAccount,
) -> Command:
    """The command, with a deployed cluster whose nodes are in instance fleets in two subnets."""
    make_cloud_workspace(tmp_path, monkeypatch)
    account.disable_iam()
    found = account.client("ec2", ADMIN).describe_subnets()["Subnets"]
    subnets = [one["SubnetId"] for one in found][:2]
    account.enforce_iam()
    write_config(
        tmp_path,
        f"network.subnets = {json.dumps(subnets)}\n"
        'instances = {types = ["m5.xlarge", "m6i.xlarge"], task = 3, task_on_demand = 1}\n',
    )
    command = Command(monkeypatch, capsys)
    planned = command("cloud", "plan")
    assert (planned.status, planned.err) == (0, "")
    done = command("cloud", "up", "--yes")
    assert (done.status, done.err) == (0, "")
    return command


def capacities(account: MotoAccount, cluster: str) -> dict[str, tuple[int, int]]:
    """Return the target capacities, On-Demand and Spot, by role."""
    account.disable_iam()
    found = account.client("emr", ADMIN).list_instance_fleets(ClusterId=cluster)["InstanceFleets"]
    account.enforce_iam()
    keys = ("TargetOnDemandCapacity", "TargetSpotCapacity")
    return {one["InstanceFleetType"]: tuple(one.get(key, 0) for key in keys) for one in found}


def test_cluster_with_fleets_is_unchanged_for_plan(fleets: Command, account: MotoAccount) -> None:
    status = fleets("cloud", "status", "--json").json["cluster"]
    assert [(one["role"], one["type"], one["market"], one["requested"]) for one in status["nodes"]] == [
        ("primary", "m6i.xlarge or m5.xlarge", "ON_DEMAND", 1),
        ("core", "m6i.xlarge or m5.xlarge", "ON_DEMAND", 2),
        ("task", "m6i.xlarge or m5.xlarge", "ON_DEMAND", 1),
        ("task", "m6i.xlarge or m5.xlarge", "SPOT", 2),
    ]  # fmt: skip
    account.disable_iam()
    emr = account.client("emr", ADMIN)
    emr.remove_tags(ResourceId=status["id"], TagKeys=["pomona:request"])  # compare each setting
    account.enforce_iam()
    requests = {one["name"]: one for one in fleets("cloud", "plan", "--json").json["requests"]}
    assert (requests["cluster"]["action"], requests["cluster"]["differences"]) == ("keep", [])
    write_config(Path(), 'instances.types = ["m5.xlarge"]\n')
    requests = {one["name"]: one for one in fleets("cloud", "plan", "--json").json["requests"]}
    assert requests["cluster"]["action"] == "differs"


def test_resize_changes_capacities_of_fleets(fleets: Command, account: MotoAccount) -> None:
    cluster = fleets("cloud", "status", "--json").json["cluster"]["id"]
    assert capacities(account, cluster) == {"MASTER": (1, 0), "CORE": (2, 0), "TASK": (1, 2)}
    for options, expected in (
        (("--task", 6), {"MASTER": (1, 0), "CORE": (2, 0), "TASK": (1, 5)}),
        (("--core", 3), {"MASTER": (1, 0), "CORE": (3, 0), "TASK": (1, 5)}),
        (("--task", 0), {"MASTER": (1, 0), "CORE": (3, 0), "TASK": (0, 0)}),
        (("--task", 2), {"MASTER": (1, 0), "CORE": (3, 0), "TASK": (0, 2)}),
    ):
        done = fleets("cloud", "resize", "fruits", *options, "--yes")
        assert (done.status, done.err) == (0, "")
        assert "+ emr ModifyInstanceFleet" in done.out
        assert capacities(account, cluster) == expected


def test_resize_adds_a_task_fleet(fleets: Command, account: MotoAccount) -> None:
    fleets("cloud", "down", "--yes")
    write_config(Path(), 'instances.types = ["m5.xlarge", "m6i.xlarge"]\n')
    assert fleets("cloud", "up", "--yes").status == 0
    cluster = fleets("cloud", "status", "--json").json["cluster"]["id"]
    assert capacities(account, cluster) == {"MASTER": (1, 0), "CORE": (2, 0)}
    done = fleets("cloud", "resize", "fruits", "--task", 2, "--yes")
    assert "+ emr AddInstanceFleet" in done.out
    assert capacities(account, cluster)["TASK"] == (0, 2)


def test_clone_of_a_cluster_with_fleets(fleets: Command, account: MotoAccount) -> None:
    done = fleets("cloud", "clone", "fruits", "--dry-run", "--json").json
    assert done["differences"] == []
    assert len(done["request"]["Instances"]["Ec2SubnetIds"]) == 2
    types = 'instances.types=["c6i.xlarge", "c7i.xlarge"]'
    done = fleets(
        "cloud", "clone", "fruits", "--set", types, "--set", "instances.task=1", "--yes", "--json"
    ).json
    assert capacities(account, done["created"]) == {
        "MASTER": (1, 0),
        "CORE": (2, 0),
        "TASK": (1, 0),
    }
    assert "Instances.InstanceFleets.TASK.TargetSpotCapacity: 2 -> 0" in done["differences"]
    fleet = done["request"]["Instances"]["InstanceFleets"][1]
    assert [one["InstanceType"] for one in fleet["InstanceTypeConfigs"]] == [
        "c6i.xlarge",
        "c7i.xlarge",
    ]


def test_clone_has_the_limit_of_hours_until_down(pomona: Command, account: MotoAccount) -> None:
    write_config(Path(), "limits.hours = 5\n")
    assert pomona("cloud", "up", "--yes").status == 0
    done = pomona("cloud", "clone", "fruits", "--dry-run")
    assert "terminated" not in done.out
    done = pomona("cloud", "clone", "fruits", "--yes")
    assert (done.status, done.err) == (0, "")
    assert "it is terminated after 5 hours" in done.out
    (created,) = [line[9:] for line in done.out.splitlines() if line.startswith("cluster: ")]
    account.disable_iam()
    scheduler = account.client("scheduler", ADMIN)
    scheduler.create_schedule(
        Name="fruits-end-of-another",
        ScheduleExpression="rate(1 day)",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={
            "Arn": "arn:aws:scheduler:::aws-sdk:emr:terminateJobFlows",
            "RoleArn": "arn:aws:iam::123456789012:role/other",
            "DeadLetterConfig": {"Arn": "arn:aws:sqs:eu-west-1:123456789012:other"},
        },
    )
    found = {one["Name"] for one in scheduler.list_schedules()["Schedules"]}
    assert found == {
        "fruits-refit", "fruits-end", f"fruits-end-{created}", "fruits-end-of-another"
    }  # fmt: skip
    target = scheduler.get_schedule(Name=f"fruits-end-{created}")["Target"]
    assert json.loads(target["Input"]) == {"JobFlowIds": [created]}
    account.enforce_iam()
    done = pomona("cloud", "down", "--yes")
    assert (done.status, done.err) == (0, "")
    account.disable_iam()
    left = [one["Name"] for one in scheduler.list_schedules()["Schedules"]]
    assert left == ["fruits-end-of-another"]


WORKLOAD = ("--images", "10e6", "--a-day", "1e6")


def hours(images: int, cores: int) -> float:
    return images / (IMAGES_PER_CORE_SECOND * cores) / 3600


def test_resize_estimates_workload_before_and_after(pomona: Command, account: MotoAccount) -> None:
    done = pomona("cloud", "resize", "fruits", "--core", 4, "--nodes", 21, *WORKLOAD, "--dry-run")
    assert (done.status, done.err) == (0, "")
    lines = done.out.splitlines()
    at = lines.index("estimate:")
    assert any("InstanceCount: 4" in line for line in lines[:at])  # after the changes
    formula = "nodes * 4 cores, without 1 node for driver and refits"
    assert (
        lines[at + 1]
        == f"    images per second and core: measured, or --rate = {IMAGES_PER_CORE_SECOND}"
    )
    assert lines[at + 2 : at + 4] == [
        f"    before: ingestion cores, maximum: 8 {formula} = 28",
        f"    after:  ingestion cores, maximum: 21 {formula} = 80",
    ]
    assert lines[-1] == "nothing was sent"
    answer = pomona(
        "cloud", "resize", "fruits", "--core", 4, "--nodes", 21, *WORKLOAD, "--yes", "--json"
    ).json
    before, after = answer["estimate"]["before"], answer["estimate"]["after"]
    assert before["hours"] == pytest.approx(hours(10_000_000, 28))  # 7 of 8 nodes ingest
    assert after["hours"] == pytest.approx(hours(10_000_000, 80))  # 20 of 21
    assert (before["nodes"], after["nodes"]) == (2, 4)
    assert before["hours_per_day"] == pytest.approx(hours(1_000_000, 4))
    assert after["hours_per_day"] == pytest.approx(hours(1_000_000, 12))
    ((_, cluster),) = clusters(account).items()
    assert cluster["counts"]["CORE"] == 4


def test_resize_estimate_uses_cores_and_price_of_instance_type(pomona: Command) -> None:
    table = """currency = "USD"
        [instances."m5.xlarge"]
        ec2_hour = 2
        emr_hour = 0.5
        [instances."m5.2xlarge"]
        ec2_hour = 5
        emr_hour = 1
        [storage]
        s3_gb_month = 0
        ebs_gb_month = 0
        [requests]
        get_1000 = 0
        list_1000 = 0
    """
    Path("prices.toml").write_text(table)
    arguments = ("cloud", "resize", "fruits", "--instance-type", "m5.2xlarge", "--dry-run")
    found = pomona(*arguments, "--a-day", "1e6", "--prices", "prices.toml", "--json").json[
        "estimate"
    ]
    assert found["before"]["hours_per_day"] == pytest.approx(hours(1_000_000, 4))
    assert found["after"]["hours_per_day"] == pytest.approx(hours(1_000_000, 8))
    assert found["before"]["cost"]["per_month"] == pytest.approx(
        730 * 3 * 2.5
    )  # one is the primary
    assert found["after"]["cost"]["per_month"] == pytest.approx(730 * 3 * 6)
    done = pomona(*arguments, "--a-day", "1e6", "--prices", "prices.toml")
    assert "    after:  per hour: 2 nodes m5.2xlarge, On-Demand: " in done.out


def test_invalid_estimate_option_is_rejected_before_requests(
    pomona: Command, account: MotoAccount
) -> None:
    before = clusters(account)
    Path("prices.toml").write_text('currency = "USD"\n')
    for arguments, message in {
        "--core 4 --images many": "--images many: give a whole number, such as 10e6",
        "--core 4 --prices prices.toml": "--prices prices.toml: give --images or --a-day with it",
        "--core 4 --images 1 --prices none.toml": "none.toml: no such file or directory; specify a price table",
        "--core 4 --images 1 --prices prices.toml": "ec2_hour is missing; enter a price",
        "--instance-type m5.metal --images 1": "m5.metal: the number of cores cannot be derived",
    }.items():
        assert message in pomona("cloud", "resize", "fruits", *arguments.split()).error_line, (
            arguments
        )
    assert clusters(account) == before


def test_resize_without_workload_names_estimate_options(pomona: Command) -> None:
    for change in (("--core", 4), ("--instance-type", "m5.2xlarge")):
        done = pomona("cloud", "resize", "fruits", *change, "--dry-run")
        (line,) = [line for line in done.out.splitlines() if line.startswith("estimate")]
        assert "--images and --a-day" in line
        assert pomona("cloud", "resize", "fruits", *change, "--dry-run", "--json").json["estimate"] is None  # fmt: skip


ERRORS = {
    "clone unknown": (1, "unknown: no such cluster is running; `pomona cloud up` creates one"),
    "clone fruits --set core": (2, "--set core: write KEY=VALUE, such as instances.core=4"),
    "clone fruits --set region=us-east-1": (1, "region: cannot be set here; allowed: name, instan"),
    "clone fruits --set instances.core=many": (1, "instances.core is 'many'; it must be a whole"),
    "resize fruits": (2, "give --core, --task, --nodes or --instance-type"),
    "resize fruits --core 0": (1, "instances.core is 0; it must be a whole number, 1 to 1000"),
}


def test_serverless_mode_is_rejected(pomona: Command) -> None:
    write_config(Path(), 'mode = "serverless"\n')
    for arguments in (("resize", "fruits", "--core", 3), ("clone", "fruits")):
        error = pomona("cloud", *arguments).error_line
        assert 'cluster.toml: mode is "serverless", which has no nodes' in error


def test_error_is_one_line(pomona: Command, account: MotoAccount) -> None:
    before = clusters(account)
    for arguments, (status, message) in ERRORS.items():
        done = pomona("cloud", *arguments.split())
        assert done.status == status, arguments
        assert message in done.error_line
    assert clusters(account) == before
