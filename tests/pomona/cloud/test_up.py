"""Tests for `pomona cloud plan` and `up`, in an account of moto's with IAM enforced, through the command."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from bootstrap.aws.client import Account
from bootstrap.deploy.plan import all_requests, up
from support.aws_account import ACCOUNT, ADMIN, READ_ACTIONS, REGION, MotoAccount
from support.aws_workspace import write_config, write_environment
from support.cli import Command
from support.cluster_configs import VARIANTS, names, uploads

pytest_plugins = ["support.aws_fixtures"]
pytestmark = pytest.mark.slow


@pytest.fixture
def account(served: MotoAccount, monkeypatch: pytest.MonkeyPatch) -> MotoAccount:
    served.reset()
    for name, value in served.variables.items():
        monkeypatch.setenv(name, value)
    become(monkeypatch, served, "*")
    return served


def become(patch: pytest.MonkeyPatch, account: MotoAccount, *actions: str) -> None:
    """Call as a new user from now on, who may do this and nothing else."""
    become.number += 1  # type: ignore[attr-defined]
    caller = account.create_caller(f"caller-{become.number}", *actions)  # type: ignore[attr-defined]
    for name, value in caller.items():
        patch.setenv(name, value)
    account.enforce_iam()


become.number = 0  # type: ignore[attr-defined]


def actions(answer: Any) -> dict[str, str]:
    return {one["name"]: one["action"] for one in answer["requests"]}


def test_without_credentials_the_plan_is_for_an_empty_account(
    pomona: Command, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(workspace / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(workspace / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")  # where nobody answers
    done = pomona("cloud", "plan")
    assert (done.status, done.err) == (0, "")
    assert "note: no credentials: planned for an empty account, 000000000000" in done.out
    assert re.search(
        r"^ *1 \+ s3 CreateBucket  log bucket: holds the EMR logs$", done.out, re.MULTILINE
    )
    answer = pomona("cloud", "plan", "--json").json
    assert answer["account"] is None
    assert [one["number"] for one in answer["requests"]] == [*range(1, len(answer["requests"]) + 1)]
    assert pomona("cloud", "up").error_line.startswith("pomona: no credentials: set them as ")


def test_the_plan_sends_nothing_that_changes_anything(
    pomona: Command, workspace: Path, account: MotoAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = account.contents()
    become(monkeypatch, account, *READ_ACTIONS)
    assert set(actions(pomona("cloud", "plan", "--json").json).values()) == {"send", "read", "keep"}
    assert account.contents() == before


def test_up_makes_what_the_plan_says_and_nothing_else(
    pomona: Command, workspace: Path, account: MotoAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = pomona("cloud", "plan", "--json").json["requests"]
    services = {"emr": "elasticmapreduce"}
    allowed = {
        f"{services.get(one['service'], one['service'])}:{iam_name(one['operation'])}"
        for one in planned
    }
    become(monkeypatch, account, *READ_ACTIONS, *allowed)  # what the plan leaves out is refused
    done = pomona("cloud", "up")
    assert (done.status, done.err) == (0, "")
    assert re.search(r"^cluster: j-[A-Z0-9]{13}$", done.out, re.MULTILINE)
    made = account.contents()
    assert made["cluster"]["Cluster"]["Name"] == "fruits"
    assert [one["Name"] for one in made["steps"]["Steps"]] == ["fruits-ingest"]
    assert {one["Key"].rpartition("/")[2] for one in made[f"fruits-data-{ACCOUNT}"]} == {
        "environment.tar.gz", "bootstrap_emr.sh", "submit.py", "fenced-log-store.jar", "model.json", "model.onnx",
    }  # fmt: skip
    assert json.loads(made["fruits-refit"]["Target"]["Input"])["JobFlowId"] == "ID"


def iam_name(operation: str) -> str:
    """How IAM calls an operation of S3; the others have one name."""
    return {
        "PutPublicAccessBlock": "PutBucketPublicAccessBlock",
        "PutBucketEncryption": "PutEncryptionConfiguration",
        "PutBucketLifecycleConfiguration": "PutLifecycleConfiguration",
    }.get(operation, operation)


@pytest.mark.parametrize("more", ["", 'mode = "serverless"\n', 'ingest.mode = "once"\n'])
def test_run_twice_it_changes_nothing(
    more: str,
    pomona: Command,
    workspace: Path,
    account: MotoAccount,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_config(workspace, more)
    assert pomona("cloud", "up").status == 0
    made = account.contents()
    become(monkeypatch, account, *READ_ACTIONS)  # whatever would change anything is refused
    again = pomona("cloud", "up", "--json").json
    assert set(actions(again).values()) == {"keep", "read"}
    assert actions(again) == actions(pomona("cloud", "plan", "--json").json)
    assert account.contents() == made


@pytest.mark.parametrize("kind", ["private", "serverless"])
def test_interrupted_after_any_request_it_goes_on(
    kind: str, tmp_path: Path, account: MotoAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = all_requests(names(with_a_subnet(account, VARIANTS[kind])), uploads(tmp_path))
    for _ in up(asked, Account(REGION)):
        pass
    whole = account.contents()
    account.reset()
    asked = all_requests(names(with_a_subnet(account, VARIANTS[kind])), uploads(tmp_path))
    become(monkeypatch, account, "*")
    caller, send = Account(REGION), Account.send
    sent = list[str]()

    def interrupted(self: Account, *words: Any) -> Any:
        """Send one request, and end before its answer is seen."""
        send(self, *words)
        sent.append(words[1])
        raise KeyboardInterrupt

    monkeypatch.setattr(Account, "send", interrupted)
    while True:
        caller.values.clear()  # as of a new process
        try:
            for _ in up(asked, caller):
                pass
        except KeyboardInterrupt:
            assert len(sent) < 60
        else:
            break
    changing = [one.operation for one in asked if not (one.read_only or one.desired == [])]
    assert sent == changing  # each once, in order
    assert account.contents() == whole


def with_a_subnet(account: MotoAccount, more: str) -> str:
    """The description with a subnet that this account has, where it names a network."""
    ec2 = account.client("ec2", ADMIN)
    account.disable_iam()
    subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    account.enforce_iam()
    return more.replace("network = {", f'network = {{subnet = "{subnet}", ')


def test_an_interrupted_command_is_typed_again(
    pomona: Command, workspace: Path, account: MotoAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = Account.send

    def interrupted(self: Account, service: str, operation: str, *words: Any) -> Any:
        if operation == "run_job_flow":
            raise KeyboardInterrupt
        return send(self, service, operation, *words)

    with monkeypatch.context() as patch:
        patch.setattr(Account, "send", interrupted)
        done = pomona("cloud", "up")
    assert done.status != 0
    assert "CreateSecurityConfiguration" in done.out  # what was done has been told
    assert set(account.contents()) & {"cluster", "steps"} == set()
    account.enforce_iam()
    assert pomona("cloud", "up").status == 0
    assert account.contents()["cluster"]["Cluster"]["Name"] == "fruits"


def test_what_was_changed_by_hand_is_set_right(
    pomona: Command, workspace: Path, account: MotoAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pomona("cloud", "up").status == 0
    made = account.contents()
    s3, iam, ec2 = (account.client(one, ADMIN) for one in ("s3", "iam", "ec2"))
    bucket = f"fruits-data-{ACCOUNT}"
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
    s3.delete_bucket_policy(Bucket=bucket)
    document = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}],
    }
    iam.put_role_policy(
        RoleName="fruits-evaluator", PolicyName="pomona", PolicyDocument=json.dumps(document)
    )
    named = [{"Name": "group-name", "Values": ["fruits-tunnel"]}]
    (group,) = ec2.describe_security_groups(Filters=named)["SecurityGroups"]
    ranges = [{"CidrIp": "0.0.0.0/0"}]
    everyone = [{"IpProtocol": "tcp", "FromPort": 9443, "ToPort": 9443, "IpRanges": ranges}]
    ec2.authorize_security_group_ingress(GroupId=group["GroupId"], IpPermissions=everyone)
    account.enforce_iam()
    told = {one["name"]: one for one in pomona("cloud", "plan", "--json").json["requests"]}
    changed = {name for name, one in told.items() if one["action"] == "change"}
    assert changed == {
        "data bucket: versioning", "role fruits-evaluator: policy", "tunnel: revoke other rules",
    }  # fmt: skip
    assert told["data bucket: TLS only"]["action"] == "send"
    assert told["data bucket: versioning"]["differences"] == ["Status: Suspended -> Enabled"]
    assert pomona("cloud", "up").status == 0
    assert account.contents() == made


def test_what_a_running_cluster_cannot_take_over_is_told_and_left(
    pomona: Command, workspace: Path, account: MotoAccount
) -> None:
    assert pomona("cloud", "up").status == 0
    made = account.contents()
    account.enforce_iam()
    write_config(workspace, "instances = {core = 1}\nrefit.variance = 0.5\n")
    for command in ("plan", "up"):
        done = pomona("cloud", command)
        assert (done.status, done.err) == (0, "")
        assert re.search(r"^ *\d+ ! emr RunJobFlow  cluster", done.out, re.MULTILINE)
        assert "`pomona cloud clone` creates a new one" in done.out
        assert re.search(r"~ scheduler UpdateSchedule", done.out)
    after = account.contents()
    assert after["cluster"] == made["cluster"]
    assert "0.5" in after["fruits-refit"]["Target"]["Input"]


def test_an_application_is_changed_where_it_has_stopped_and_left_where_it_runs(
    pomona: Command, workspace: Path, account: MotoAccount
) -> None:
    def described(client: Any) -> dict[str, Any]:
        account.disable_iam()
        (found,) = client.list_applications()["applications"]
        told: dict[str, Any] = client.get_application(applicationId=found["id"])["application"]
        account.enforce_iam()
        return told

    write_config(workspace, 'mode = "serverless"\n')
    assert pomona("cloud", "up").status == 0
    serverless = account.client("emr-serverless", ADMIN)
    made = described(serverless)
    write_config(workspace, 'mode = "serverless"\nlimits = {nodes = 7, idle_minutes = 30}\n')
    for command in ("plan", "up"):
        done = pomona("cloud", command)
        assert (done.status, done.err) == (0, "")
        assert re.search(
            r"^ *\d+ ! emr-serverless CreateApplication  application", done.out, re.MULTILINE
        )
        assert "autoStopConfiguration.idleTimeoutMinutes: 60 -> 30" in done.out
        assert "run `pomona cloud down`, then `up`" in done.out
    assert described(serverless) == made

    account.disable_iam()
    serverless.stop_application(applicationId=made["applicationId"])
    account.enforce_iam()
    assert actions(pomona("cloud", "up", "--json").json)["application"] == "change"
    changed = described(serverless)
    assert changed["maximumCapacity"] == {"cpu": "28 vCPU", "memory": "112 GB"}
    assert changed["autoStopConfiguration"]["idleTimeoutMinutes"] == 30
    assert actions(pomona("cloud", "plan", "--json").json)["application"] == "keep"


def test_a_request_without_tls_is_refused_and_with_it_answered(
    pomona: Command, workspace: Path, account: MotoAccount
) -> None:
    import os

    assert pomona("cloud", "up").status == 0
    caller = {name: os.environ[name] for name in ADMIN}
    asked = {"Bucket": f"fruits-data-{ACCOUNT}", "Key": "lake/models/mobilenet-1/model.onnx"}
    content = account.client("s3", caller).get_object(**asked)["Body"].read()
    assert content == b"placeholder for a network"
    with pytest.raises(Exception, match="403"):
        account.client("s3", caller, tls=False).get_object(**asked)


def test_a_caller_who_may_not_is_told_which_request_it_was(
    pomona: Command, workspace: Path, account: MotoAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    become(monkeypatch, account, *READ_ACTIONS, "s3:*")
    done = pomona("cloud", "up")
    assert done.status == 1
    assert len(done.err.splitlines()) == 1
    assert done.err.startswith("pomona: iam create_service_linked_role: ")
    assert "request this permission" in done.err


def test_another_account_is_not_touched(
    pomona: Command, workspace: Path, account: MotoAccount
) -> None:
    before = account.contents()
    account.enforce_iam()
    write_config(workspace, 'account = "999999999999"\n')
    for command in ("plan", "up"):
        told = pomona("cloud", command).error_line
        assert f"belong to account {ACCOUNT}, but the configuration is for 999999999999" in told
    assert account.contents() == before


def test_what_is_not_there_stops_up_before_it_begins(
    pomona: Command, workspace: Path, account: MotoAccount
) -> None:
    (workspace / "code" / "submit.py").unlink()
    before = account.contents()
    account.enforce_iam()
    assert "submit.py: missing: reinstall Pomona" in pomona("cloud", "up").error_line
    assert account.contents() == before


def test_the_plan_says_what_up_makes_first(
    pomona: Command, workspace: Path, account: MotoAccount
) -> None:
    (workspace / "environment.tar.gz").unlink()
    done = pomona("cloud", "plan")
    assert "environment.tar.gz: `up` builds it first" in done.out
    assert "/pomona/${version}/submit.py" in done.out
    write_environment(workspace / "environment.tar.gz", ("sources ", "sources 0"))
    done = pomona("cloud", "plan")
    assert "environment.tar.gz: contains another version of Pomona or of its p" in done.out
    assert "/pomona/${version}/submit.py" in done.out
