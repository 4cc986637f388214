"""Tests for `pomona cloud plan` and `up` in a moto account with IAM enforced."""

from __future__ import annotations

import json
import re
from itertools import permutations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bootstrap.aws.client import Account
from bootstrap.deploy.plan import requests_after_stack, up
from bootstrap.errors import CloudError
from support.aws.account import ACCOUNT, ADMIN, READ_ACTIONS, REGION, MotoAccount
from support.aws.cluster_configs import VARIANTS, names, uploads
from support.aws.credentials import hide_credentials
from support.aws.deploy import deploy
from support.aws.workspace import write_config, write_environment
from support.processes.cli import Command, set_terminal_input

pytest_plugins = ["support.aws.fixtures"]
pytestmark = pytest.mark.slow


@pytest.fixture
def account(served: MotoAccount, monkeypatch: pytest.MonkeyPatch) -> MotoAccount:
    served.reset()
    for name, value in served.variables.items():
        monkeypatch.setenv(name, value)
    use_caller(monkeypatch, served, "*")
    return served


def use_caller(patch: pytest.MonkeyPatch, account: MotoAccount, *actions: str) -> None:
    """Use the credentials of a new user with only these permissions, and enforce them."""
    use_caller.number += 1  # type: ignore[attr-defined]
    caller = account.create_caller(f"caller-{use_caller.number}", *actions)  # type: ignore[attr-defined]
    for name, value in caller.items():
        patch.setenv(name, value)
    account.enforce_iam()


use_caller.number = 0  # type: ignore[attr-defined]


def actions(response: Any) -> dict[str, str]:
    return {one["name"]: one["action"] for one in response["requests"]}


def changes(response: Any) -> dict[str, str]:
    """Return the action for each resource of the stacks."""
    return {one["name"]: one["action"] for stack in response["stacks"] for one in stack["changes"]}


def stacks(account: MotoAccount) -> dict[str, str]:
    """Return the state of each stack, and check that no change set has been left."""
    account.disable_iam()
    client = account.client("cloudformation", ADMIN)
    found = {one["StackName"]: one["StackStatus"] for one in client.describe_stacks()["Stacks"]}
    for name in found:
        left = client.list_change_sets(StackName=name)["Summaries"]
        assert {one["ExecutionStatus"] for one in left} <= {"EXECUTE_COMPLETE", "AVAILABLE"}
    account.enforce_iam()
    return found


@pytest.mark.parametrize(
    ("region", "partition"), [("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")]
)
def test_plan_without_credentials_uses_the_partition_of_the_region(
    region: str, partition: str, pomona: Command, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide_credentials(monkeypatch, workspace)
    file = workspace / "cluster.toml"
    file.write_text(file.read_text().replace("eu-west-1", region) + 'roles.path = "/teams/"\n')
    done = pomona("cloud", "plan")
    assert done.status == 0, done.err
    assert f"arn:{partition}:iam::000000000000:role/teams/fruits-service" in done.out
    assert "arn:aws:" not in done.out


def test_plan_without_credentials_assumes_an_empty_account(
    pomona: Command, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide_credentials(monkeypatch, workspace)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")  # connection refused
    done = pomona("cloud", "plan")
    assert (done.status, done.err) == (0, "")
    assert "note: no credentials: planned for an empty account, 000000000000" in done.out
    assert re.search(
        r"^    \+ add AWS::S3::Bucket  Logs: stores the EMR logs$", done.out, re.MULTILINE
    )
    answer = pomona("cloud", "plan", "--json").json
    assert answer["account"] is None
    assert [one["number"] for one in answer["requests"]] == [*range(1, len(answer["requests"]) + 1)]
    assert all(one["purpose"] for one in answer["stacks"][0]["changes"])
    assert pomona("cloud", "up").error_line.startswith("pomona: no credentials: set them as ")


@pytest.mark.long
def test_plan_shows_a_change_set_and_leaves_nothing(
    pomona: Command, workspace: Path, account: MotoAccount
) -> None:
    before = account.contents()
    account.enforce_iam()
    planned = pomona("cloud", "plan", "--json").json
    assert set(actions(planned).values()) == {"send", "read"}
    assert set(changes(planned).values()) == {"add"}
    assert {"Data", "NodesRole", "PrimaryGroup", "Schedule"} <= changes(planned).keys()
    assert stacks(account) == {}
    assert account.contents() == before
    account.enforce_iam()
    assert pomona("cloud", "up", "--yes").status == 0
    write_config(workspace, 'refit.schedule = "never"\nstorage.log_days = 7\n')
    deployed = account.contents()
    account.enforce_iam()
    planned = pomona("cloud", "plan", "--json").json
    assert changes(planned) == {
        "Logs": "modify", "Schedule": "remove", "SchedulerRole": "remove", "RefitFailures": "remove",
    }  # fmt: skip
    assert account.contents() == deployed


def test_plan_without_permission_for_change_sets_lists_the_templates(
    pomona: Command, workspace: Path, account: MotoAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_caller(monkeypatch, account, *READ_ACTIONS)
    done = pomona("cloud", "plan")
    assert (done.status, done.err) == (0, "")
    assert "stack fruits-long-lived: resources of the template: cloudformation create_" in done.out
    assert "+ add AWS::S3::Bucket  Data: stores images, lake and uploads" in done.out


def test_up_deploys_the_stack_the_cluster_and_the_schedule(
    pomona: Command, workspace: Path, account: MotoAccount
) -> None:
    done = pomona("cloud", "up", "--yes")
    assert (done.status, done.err) == (0, "")
    assert re.search(r"^cluster: j-[A-Z0-9]{13}$", done.out, re.MULTILINE)
    assert f"next: aws s3 sync YOUR_IMAGES s3://fruits-data-{ACCOUNT}/images/" in done.out
    assert stacks(account) == {"fruits-long-lived": "UPDATE_COMPLETE"}  # created, then the schedule
    deployed = account.contents()
    assert deployed["cluster"]["Cluster"]["Name"] == "fruits"
    assert [one["Name"] for one in deployed["steps"]["Steps"]] == ["fruits-ingest"]
    assert {one["Key"].rpartition("/")[2] for one in deployed[f"fruits-data-{ACCOUNT}"]} == {
        "environment.tar.gz", "bootstrap_emr.sh", "model.json", "model.onnx",
    }  # fmt: skip
    assert json.loads(deployed["fruits-refit"]["Target"]["Input"])["JobFlowId"] == "ID"


@pytest.mark.parametrize("answer", ["n\n", "\n", "y\n"])
def test_up_asks_before_it_starts_a_cluster(
    answer: str,
    pomona: Command,
    workspace: Path,
    account: MotoAccount,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = account.contents()
    set_terminal_input(monkeypatch, answer)
    done = pomona("cloud", "up")
    assert done.status == 0
    assert re.search(
        r"^to start: cluster fruits: 1 primary \S+ \(ON_DEMAND\), \d+ core", done.out, re.M
    )
    if answer != "y\n":
        assert "nothing was created or started" in done.out
        assert account.contents() == before
        return
    assert account.contents()["cluster"]["Cluster"]["Name"] == "fruits"
    set_terminal_input(monkeypatch, "")
    again = pomona("cloud", "up")  # the cluster is running: nothing to ask
    assert (again.status, "to start" in again.out) == (0, False)


@pytest.mark.parametrize(
    ("more", "started"),
    [("", "cluster fruits"), ('mode = "serverless"\n', "job fruits-ingest on EMR Serverless")],
)
@pytest.mark.parametrize("json_option", [[], ["--json"]])
def test_up_without_terminal_requires_yes_option(
    more: str,
    started: str,
    json_option: list[str],
    pomona: Command,
    workspace: Path,
    account: MotoAccount,
) -> None:
    write_config(workspace, more)
    before = account.contents()
    done = pomona("cloud", "up", *json_option)
    assert done.status == 2
    assert f"up would start {started}" in done.error_line
    assert "pass --yes" in done.error_line
    assert account.contents() == before


@pytest.mark.long
@pytest.mark.parametrize("more", ["", 'mode = "serverless"\n', 'ingest.mode = "once"\n'])
def test_up_again_changes_nothing(
    more: str, pomona: Command, workspace: Path, account: MotoAccount
) -> None:
    write_config(workspace, more)
    assert pomona("cloud", "up", "--yes").status == 0
    deployed, before = account.contents(), stacks(account)
    again = pomona("cloud", "up", "--yes", "--json").json
    assert set(actions(again).values()) == {"keep", "read"}
    assert changes(again) == {}
    planned = pomona("cloud", "plan", "--json").json
    assert (actions(again), changes(planned)) == (actions(planned), {})
    assert stacks(account) == before
    assert account.contents() == deployed


@pytest.mark.long
@pytest.mark.parametrize("kind", ["private", "serverless"])
def test_up_resumes_after_interruption_at_each_request(
    kind: str, tmp_path: Path, account: MotoAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    config_names = names(with_subnet(account, VARIANTS[kind]))
    deploy(config_names, uploads(tmp_path), Account(REGION))
    complete = account.contents()
    account.reset()
    config_names = names(with_subnet(account, VARIANTS[kind]))
    use_caller(monkeypatch, account, "*")
    caller, send = Account(REGION), Account.send
    sent = list[str]()

    def interrupted(self: Account, *arguments: Any) -> Any:
        """Send a request, and interrupt before its response is processed."""
        response = send(self, *arguments)
        sent.append(arguments[1])
        if arguments[1].endswith("_change_set") and arguments[1] != "execute_change_set":
            return response  # each attempt creates and deletes one, and would get no further
        raise KeyboardInterrupt

    monkeypatch.setattr(Account, "send", interrupted)
    while True:
        caller.values.clear()  # like a new process
        try:
            deploy(config_names, uploads(tmp_path), caller)
        except KeyboardInterrupt:
            assert len(sent) < 90
        else:
            break
    started = [one for one in sent if one in ("run_job_flow", "start_job_run")]
    assert len(started) == 1
    assert account.contents() == complete


def with_subnet(account: MotoAccount, more: str) -> str:
    """Return the configuration with a private subnet of this account if it has a network section."""
    ec2 = account.client("ec2", ADMIN)
    account.disable_iam()
    subnet, vpc = (ec2.describe_subnets()["Subnets"][0][key] for key in ("SubnetId", "VpcId"))
    table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
    account.enforce_iam()
    return more.replace("network = {", f'network = {{subnet = "{subnet}", ')


def test_interrupted_up_is_completed_by_rerunning_it(
    pomona: Command, workspace: Path, account: MotoAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = Account.send

    def interrupted(self: Account, service: str, operation: str, *arguments: Any) -> Any:
        if operation == "run_job_flow":
            raise KeyboardInterrupt
        return send(self, service, operation, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Account, "send", interrupted)
        done = pomona("cloud", "up", "--yes")
    assert done.status != 0
    assert "AWS::S3::Bucket  Data" in done.out  # what is complete is printed
    assert set(account.contents()) & {"cluster", "steps"} == set()
    account.enforce_iam()
    assert pomona("cloud", "up", "--yes").status == 0
    assert account.contents()["cluster"]["Cluster"]["Name"] == "fruits"


def test_changed_upload_is_sent_again(
    pomona: Command, workspace: Path, account: MotoAccount
) -> None:
    assert pomona("cloud", "up", "--yes").status == 0
    account.disable_iam()
    s3, bucket = account.client("s3", ADMIN), f"fruits-data-{ACCOUNT}"
    uploaded = [one["Key"] for one in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    (key,) = [one for one in uploaded if one.endswith("/environment.tar.gz")]
    content = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    s3.put_object(Bucket=bucket, Key=key, Body=b"x" * len(content))
    account.enforce_iam()
    assert actions(pomona("cloud", "up", "--yes", "--json").json)[f"file {key}"] == "change"
    account.disable_iam()
    assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == content


def test_up_reports_the_first_failed_resource_and_the_next_up_replaces_the_stack(
    pomona: Command, workspace: Path, account: MotoAccount
) -> None:
    account.disable_iam()
    iam = account.client("iam", ADMIN)
    iam.create_role(RoleName="fruits-evaluator", AssumeRolePolicyDocument="{}")
    account.enforce_iam()
    done = pomona("cloud", "up", "--yes")
    assert done.status == 1
    assert len(done.err.splitlines()) == 1
    assert "stack fruits-long-lived: EvaluatorRole (AWS::IAM::Role): " in done.err
    assert "Role with name fruits-evaluator already exists. (ROLLBACK_COMPLETE)" in done.err
    assert stacks(account) == {"fruits-long-lived": "ROLLBACK_COMPLETE"}
    done = pomona("cloud", "plan")
    assert (
        "stack fruits-long-lived: a previous creation failed: `up` deletes the stack first"
        in done.out
    )
    account.disable_iam()
    iam.delete_role(RoleName="fruits-evaluator")
    account.enforce_iam()
    done = pomona("cloud", "up", "--yes")
    assert (done.status, done.err) == (0, "")
    assert "a previous creation failed (ROLLBACK_COMPLETE); deleting the stack first" in done.out
    assert stacks(account) == {"fruits-long-lived": "UPDATE_COMPLETE"}


@pytest.mark.long
def test_up_imports_buckets_that_exist(
    pomona: Command, workspace: Path, account: MotoAccount
) -> None:
    assert pomona("cloud", "up", "--yes").status == 0
    account.disable_iam()
    s3, image = account.client("s3", ADMIN), {"Bucket": f"fruits-data-{ACCOUNT}", "Key": "images/a"}
    s3.put_object(**image, Body=b"an image")
    account.enforce_iam()
    assert pomona("cloud", "down", "--all", "--yes").status == 0
    assert stacks(account) == {}
    planned = changes(pomona("cloud", "plan", "--json").json)
    imported = {name for name, action in planned.items() if action == "import"}
    assert imported == {"Data", "DataPolicy", "Logs", "LogsPolicy"}
    done = pomona("cloud", "up", "--yes")
    assert (done.status, done.err) == (0, "")
    assert "> import AWS::S3::Bucket  Data" in done.out
    account.disable_iam()
    assert s3.get_object(**image)["Body"].read() == b"an image"


@pytest.mark.parametrize("rejections", [1, 2])
def test_up_waits_until_the_name_of_a_deleted_queue_is_free(
    rejections: int,
    pomona: Command,
    workspace: Path,
    account: MotoAccount,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from moto.sqs.exceptions import SQSException
    from moto.sqs.models import SQSBackend

    message = "You must wait 60 seconds after deleting a queue before you can create another with the same name."
    rejected, create = list[str](), SQSBackend.create_queue

    def create_queue(self: SQSBackend, name: str, *arguments: Any, **more: Any) -> Any:
        if len(rejected) < rejections:
            rejected.append(name)
            raise SQSException("AWS.SimpleQueueService.QueueDeletedRecently", message)
        return create(self, name, *arguments, **more)

    monkeypatch.setattr(SQSBackend, "create_queue", create_queue)
    monkeypatch.setattr("bootstrap.deploy.stacks.QUEUE_DELAY", 0.0)
    done = pomona("cloud", "up", "--yes")
    assert (
        "stack fruits-long-lived: SQS accepts the name of a deleted queue only after 60 s"
        in done.out
    )
    assert rejected == ["fruits-refit-failures"] * rejections
    if rejections == 1:
        assert (done.status, done.err) == (0, "")
    else:
        assert done.status == 1
        assert message in done.err


@pytest.mark.long
def test_up_keeps_running_cluster_and_reports_its_differences(
    pomona: Command, workspace: Path, account: MotoAccount
) -> None:
    assert pomona("cloud", "up", "--yes").status == 0
    deployed = account.contents()
    account.enforce_iam()
    write_config(workspace, "instances = {core = 1}\nrefit.variance = 0.5\n")
    for command in ("plan", "up"):
        done = pomona("cloud", command)
        assert (done.status, done.err) == (0, "")
        assert re.search(r"^ *\d+ ! emr RunJobFlow  cluster", done.out, re.MULTILINE)
        assert "`pomona cloud clone` creates a new one" in done.out
        assert re.search(r"~ modify AWS::Scheduler::Schedule", done.out)
    after = account.contents()
    assert after["cluster"] == deployed["cluster"]
    assert "0.5" in after["fruits-refit"]["Target"]["Input"]


@pytest.mark.long
def test_up_updates_application_only_if_stopped(
    pomona: Command, workspace: Path, account: MotoAccount
) -> None:
    def get_application(client: Any) -> dict[str, Any]:
        account.disable_iam()
        (found,) = client.list_applications()["applications"]
        application: dict[str, Any] = client.get_application(applicationId=found["id"])[
            "application"
        ]
        account.enforce_iam()
        return application

    write_config(workspace, 'mode = "serverless"\n')
    assert pomona("cloud", "up", "--yes").status == 0
    serverless = account.client("emr-serverless", ADMIN)
    deployed = get_application(serverless)
    write_config(workspace, 'mode = "serverless"\nlimits = {nodes = 7, idle_minutes = 30}\n')
    for command in ("plan", "up"):
        done = pomona("cloud", command)
        assert (done.status, done.err) == (0, "")
        assert "stack fruits-serverless: the application is STARTED and cannot be" in done.out
        assert "run `pomona cloud down`, then `up`" in done.out
    assert get_application(serverless) == deployed

    account.disable_iam()
    serverless.stop_application(applicationId=deployed["applicationId"])
    account.enforce_iam()
    assert changes(pomona("cloud", "up", "--yes", "--json").json)["Application"] == "modify"
    changed = get_application(serverless)
    assert changed["maximumCapacity"] == {"cpu": "28 vCPU", "memory": "112 GB"}
    assert changed["autoStopConfiguration"]["idleTimeoutMinutes"] == 30
    assert changes(pomona("cloud", "plan", "--json").json) == {}


def test_up_rejects_the_replacement_of_a_resource_with_a_fixed_name(
    pomona: Command, workspace: Path, account: MotoAccount
) -> None:
    assert pomona("cloud", "up", "--yes").status == 0
    deployed = account.contents()
    write_config(workspace, 'roles.path = "/teams/"\n')
    reason = "ServiceRole cannot be replaced, because it has a custom name (changed: Path"
    planned = pomona("cloud", "plan")
    assert (planned.status, planned.err) == (0, "")
    assert f"stack fruits-long-lived: {reason}" in planned.out
    assert "! replace AWS::IAM::Role  NodesRole" in planned.out
    failed = pomona("cloud", "up", "--yes")
    assert failed.status == 1
    assert len(failed.err.splitlines()) == 1
    assert failed.err.startswith(f"pomona: stack fruits-long-lived: {reason}")
    assert "`pomona cloud down --all`, which keeps the data, and then `up`" in failed.err
    assert stacks(account) == {"fruits-long-lived": "UPDATE_COMPLETE"}
    assert account.contents() == deployed


@pytest.mark.long
def test_up_in_another_mode_removes_the_groups_of_a_terminated_cluster(
    pomona: Command, workspace: Path, account: MotoAccount
) -> None:
    def groups() -> list[Any]:
        account.disable_iam()
        found = account.client("ec2", ADMIN).describe_security_groups()["SecurityGroups"]
        account.enforce_iam()
        return [one["GroupId"] for one in found if one["GroupName"].startswith("fruits-")]

    assert pomona("cloud", "up", "--yes").status == 0
    for group, other in permutations(groups(), 2):  # EMR refers to a group from the others
        rule = {"IpProtocol": "tcp", "FromPort": 0, "ToPort": 65535}
        account.disable_iam()
        account.client("ec2", ADMIN).authorize_security_group_ingress(
            GroupId=group, IpPermissions=[rule | {"UserIdGroupPairs": [{"GroupId": other}]}]
        )
        account.enforce_iam()
    write_config(workspace, 'mode = "serverless"\n')
    expected = r"stack fruits-long-lived: cluster j-\w+ is \w+ and uses security groups that would be removed"
    assert re.search(expected, pomona("cloud", "plan").out)
    failed = pomona("cloud", "up", "--yes")
    assert (failed.status, len(failed.err.splitlines())) == (1, 1)
    assert re.search(expected, failed.err)
    assert len(groups()) == 3
    assert pomona("cloud", "down", "--yes").status == 0
    done = pomona("cloud", "up", "--yes")
    assert (done.status, done.err) == (0, "")
    assert groups() == []


def test_bucket_policy_denies_requests_without_tls(
    pomona: Command, workspace: Path, account: MotoAccount
) -> None:
    import os

    assert pomona("cloud", "up", "--yes").status == 0
    caller = {name: os.environ[name] for name in ADMIN}
    location = {"Bucket": f"fruits-data-{ACCOUNT}", "Key": "lake/models/mobilenet-1/model.onnx"}
    content = account.client("s3", caller).get_object(**location)["Body"].read()
    assert content == b"placeholder for a network"
    with pytest.raises(Exception, match="403"):
        account.client("s3", caller, tls=False).get_object(**location)


def test_missing_permission_error_names_the_request(
    pomona: Command, workspace: Path, account: MotoAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_caller(monkeypatch, account, *READ_ACTIONS, "s3:*")
    done = pomona("cloud", "up", "--yes")
    assert done.status == 1
    assert len(done.err.splitlines()) == 1
    assert done.err.startswith("pomona: iam create_service_linked_role: ")
    assert "request this permission" in done.err
    # CloudFormation creates resources with the permissions of the caller.
    more = ("iam:CreateServiceLinkedRole", "ec2:CreateTags", "cloudformation:*")
    use_caller(monkeypatch, account, *READ_ACTIONS, "s3:*", *more)
    done = pomona("cloud", "up", "--yes")
    assert done.status == 1
    assert "(AWS::IAM::Role): " in done.err
    assert "iam:CreateRole" in done.err


def test_credentials_of_another_account_are_rejected(
    pomona: Command, workspace: Path, account: MotoAccount
) -> None:
    before = account.contents()
    account.enforce_iam()
    write_config(workspace, 'account = "999999999999"\n')
    for command in ("plan", "up"):
        error = pomona("cloud", command).error_line
        assert f"belong to account {ACCOUNT}, but the configuration is for 999999999999" in error
    assert account.contents() == before


@pytest.mark.parametrize("bucket", ["data", "log"])
def test_bucket_of_another_account_stops_up_before_the_first_request(
    bucket: str, pomona: Command, workspace: Path, account: MotoAccount
) -> None:
    account.create_foreign_bucket(f"fruits-{bucket}-{ACCOUNT}")
    before = account.contents()
    account.enforce_iam()
    for command in (["plan"], ["up", "--yes"]):
        error = pomona("cloud", *command).error_line
        assert (
            f"storage.{bucket}_bucket is 'fruits-{bucket}-{ACCOUNT}' by default: the bucket exists, but"
            in error
        )
        assert error.endswith("name another bucket, or request this permission")
    assert account.contents() == before
    line = f"{bucket} bucket fruits-{bucket}-{ACCOUNT} (not checked: it cannot be read)"
    account.enforce_iam()
    assert line in pomona("cloud", "down", "--yes").out


def test_bucket_that_another_account_takes_over_gets_no_upload(
    tmp_path: Path, account: MotoAccount
) -> None:
    from moto.s3.models import s3_backends

    bucket, caller = f"fruits-data-{ACCOUNT}", Account(REGION)
    account.create_foreign_bucket(bucket)
    with pytest.raises(CloudError, match=rf"or name another bucket if {bucket} does not belong"):
        [*up(requests_after_stack(names(), uploads(tmp_path)), caller)]
    foreign = s3_backends["999999999999"]["aws"].get_bucket(bucket)
    assert not [*foreign.keys]


def test_missing_code_file_stops_up_before_the_first_request(
    pomona: Command, workspace: Path, account: MotoAccount
) -> None:
    (workspace / "code" / "submit.py").unlink()
    before = account.contents()
    account.enforce_iam()
    assert "submit.py: missing: reinstall Pomona" in pomona("cloud", "up").error_line
    assert account.contents() == before


def test_plan_reports_environment_that_up_builds(
    pomona: Command, workspace: Path, account: MotoAccount
) -> None:
    (workspace / "environment.tar.gz").unlink()
    done = pomona("cloud", "plan")
    assert "environment.tar.gz: `up` builds it first" in done.out
    assert "/pomona/${version}/bootstrap_emr.sh" in done.out
    write_environment(workspace / "environment.tar.gz", ("sources ", "sources 0"))
    done = pomona("cloud", "plan")
    assert "environment.tar.gz: contains another version of Pomona or of its p" in done.out
    assert "/pomona/${version}/bootstrap_emr.sh" in done.out


@pytest.mark.long
def test_failed_start_is_reported_and_cluster_that_starts_is_not_started_again(
    pomona: Command, workspace: Path, account: MotoAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    from moto.emr.models import Cluster, emr_backends

    reason = {"Code": "VALIDATION_ERROR", "Message": "The subnet has no free addresses"}
    starting = {"State": "STARTING", "StateChangeReason": {}}
    failed = {"State": "TERMINATED_WITH_ERRORS", "StateChangeReason": reason}
    status, now = Cluster.status.fget, starting

    def change_status(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(Cluster, "status", property(lambda one: {**status(one), **now}))

    def fail(_seconds: float) -> None:
        nonlocal now
        now = failed
        for backend in emr_backends[ACCOUNT].values():  # moto keeps clusters in another region
            for one in backend.clusters.values():
                one.state = failed["State"]

    clock = SimpleNamespace(sleep=fail, monotonic=lambda: 0.0)
    monkeypatch.setattr("bootstrap.deploy.wait.time", clock)
    with monkeypatch.context() as patch:
        change_status(patch)
        assert pomona("cloud", "up", "--yes", "--no-wait").status == 0
        done = pomona("cloud", "up", "--yes")
        assert done.status == 1
        message = "failed: VALIDATION_ERROR: The subnet has no free addresses"
        assert message in done.err
        account.disable_iam()
        (cluster,) = account.client("emr", ADMIN).list_clusters()["Clusters"]  # only one
        account.enforce_iam()
        assert f"cluster {cluster['Id']} {message}" in pomona("cloud", "plan").out
        done = pomona("cloud", "up", "--no-wait", "--yes")
        assert f"note: cluster {cluster['Id']} {message}" in done.out
    account.disable_iam()
    assert len(account.client("emr", ADMIN).list_clusters()["Clusters"]) == 2
