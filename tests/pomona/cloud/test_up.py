"""Tests for `pomona cloud plan` and `up` in a moto account with IAM enforced."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bootstrap.aws.client import Account
from bootstrap.deploy.plan import all_requests, up
from bootstrap.errors import CloudError
from support.aws.account import ACCOUNT, ADMIN, READ_ACTIONS, REGION, MotoAccount
from support.aws.cluster_configs import VARIANTS, names, uploads
from support.aws.credentials import hide_credentials
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


def test_plan_without_credentials_assumes_an_empty_account(
    pomona: Command, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide_credentials(monkeypatch, workspace)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")  # connection refused
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


def test_plan_needs_only_read_permissions_and_changes_nothing(
    pomona: Command, workspace: Path, account: MotoAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = account.contents()
    use_caller(monkeypatch, account, *READ_ACTIONS)
    assert set(actions(pomona("cloud", "plan", "--json").json).values()) == {"send", "read", "keep"}
    assert account.contents() == before


def test_up_needs_only_the_permissions_of_planned_requests(
    pomona: Command, workspace: Path, account: MotoAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = pomona("cloud", "plan", "--json").json["requests"]
    services = {"emr": "elasticmapreduce"}
    allowed = {
        f"{services.get(one['service'], one['service'])}:{iam_name(one['operation'])}"
        for one in planned
    }
    use_caller(
        monkeypatch, account, *READ_ACTIONS, *allowed
    )  # denies requests that are not in the plan
    done = pomona("cloud", "up", "--yes")
    assert (done.status, done.err) == (0, "")
    assert re.search(r"^cluster: j-[A-Z0-9]{13}$", done.out, re.MULTILINE)
    deployed = account.contents()
    assert deployed["cluster"]["Cluster"]["Name"] == "fruits"
    assert [one["Name"] for one in deployed["steps"]["Steps"]] == ["fruits-ingest"]
    assert {one["Key"].rpartition("/")[2] for one in deployed[f"fruits-data-{ACCOUNT}"]} == {
        "environment.tar.gz", "bootstrap_emr.sh", "model.json", "model.onnx",
    }  # fmt: skip
    assert json.loads(deployed["fruits-refit"]["Target"]["Input"])["JobFlowId"] == "ID"


def iam_name(operation: str) -> str:
    """Return the IAM action of an operation; some of S3 have another name."""
    return {
        "PutPublicAccessBlock": "PutBucketPublicAccessBlock",
        "PutBucketEncryption": "PutEncryptionConfiguration",
        "PutBucketLifecycleConfiguration": "PutLifecycleConfiguration",
    }.get(operation, operation)


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


@pytest.mark.parametrize("more", ["", 'mode = "serverless"\n', 'ingest.mode = "once"\n'])
def test_up_again_changes_nothing(
    more: str,
    pomona: Command,
    workspace: Path,
    account: MotoAccount,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_config(workspace, more)
    assert pomona("cloud", "up", "--yes").status == 0
    deployed = account.contents()
    use_caller(monkeypatch, account, *READ_ACTIONS)  # denies changes
    again = pomona("cloud", "up", "--yes", "--json").json
    assert set(actions(again).values()) == {"keep", "read"}
    assert actions(again) == actions(pomona("cloud", "plan", "--json").json)
    assert account.contents() == deployed


@pytest.mark.parametrize("kind", ["private", "serverless"])
def test_up_resumes_after_interruption_at_each_request(
    kind: str, tmp_path: Path, account: MotoAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = all_requests(names(with_subnet(account, VARIANTS[kind])), uploads(tmp_path))
    for _ in up(requests, Account(REGION)):
        pass
    complete = account.contents()
    account.reset()
    requests = all_requests(names(with_subnet(account, VARIANTS[kind])), uploads(tmp_path))
    use_caller(monkeypatch, account, "*")
    caller, send = Account(REGION), Account.send
    sent = list[str]()

    def interrupted(self: Account, *arguments: Any) -> Any:
        """Send a request, and interrupt before its response is processed."""
        send(self, *arguments)
        sent.append(arguments[1])
        raise KeyboardInterrupt

    monkeypatch.setattr(Account, "send", interrupted)
    while True:
        caller.values.clear()  # like a new process
        try:
            for _ in up(requests, caller):
                pass
        except KeyboardInterrupt:
            assert len(sent) < 60
        else:
            break
    changing = [one.operation for one in requests if not (one.read_only or one.desired == [])]
    assert sent == changing  # each request once, in order
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
    assert "CreateSecurityConfiguration" in done.out  # completed requests are printed
    assert set(account.contents()) & {"cluster", "steps"} == set()
    account.enforce_iam()
    assert pomona("cloud", "up", "--yes").status == 0
    assert account.contents()["cluster"]["Cluster"]["Name"] == "fruits"


def test_up_reverts_manual_changes(
    pomona: Command, workspace: Path, account: MotoAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pomona("cloud", "up", "--yes").status == 0
    deployed = account.contents()
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
    requests = {one["name"]: one for one in pomona("cloud", "plan", "--json").json["requests"]}
    changed = {name for name, one in requests.items() if one["action"] == "change"}
    assert changed == {
        "data bucket: versioning", "role fruits-evaluator: policy", "tunnel: revoke other rules",
    }  # fmt: skip
    assert requests["data bucket: TLS only"]["action"] == "send"
    assert requests["data bucket: versioning"]["differences"] == ["Status: Suspended -> Enabled"]
    assert pomona("cloud", "up", "--yes").status == 0
    assert account.contents() == deployed

    uploaded = [one["Key"] for one in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    (key,) = [one for one in uploaded if one.endswith("/environment.tar.gz")]
    content = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    s3.put_object(Bucket=bucket, Key=key, Body=b"x" * len(content))
    account.enforce_iam()
    assert actions(pomona("cloud", "up", "--yes", "--json").json)[f"file {key}"] == "change"
    account.disable_iam()
    assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == content


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
        assert re.search(r"~ scheduler UpdateSchedule", done.out)
    after = account.contents()
    assert after["cluster"] == deployed["cluster"]
    assert "0.5" in after["fruits-refit"]["Target"]["Input"]


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
        assert re.search(
            r"^ *\d+ ! emr-serverless CreateApplication  application", done.out, re.MULTILINE
        )
        assert "autoStopConfiguration.idleTimeoutMinutes: 60 -> 30" in done.out
        assert "run `pomona cloud down`, then `up`" in done.out
    assert get_application(serverless) == deployed

    account.disable_iam()
    serverless.stop_application(applicationId=deployed["applicationId"])
    account.enforce_iam()
    assert actions(pomona("cloud", "up", "--yes", "--json").json)["application"] == "change"
    changed = get_application(serverless)
    assert changed["maximumCapacity"] == {"cpu": "28 vCPU", "memory": "112 GB"}
    assert changed["autoStopConfiguration"]["idleTimeoutMinutes"] == 30
    assert actions(pomona("cloud", "plan", "--json").json)["application"] == "keep"


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
        assert f"the bucket fruits-{bucket}-{ACCOUNT} exists, but it does not belong to" in error
        assert error.endswith("set another one in [storage], or request this permission")
    assert account.contents() == before
    line = f"{bucket} bucket fruits-{bucket}-{ACCOUNT} (not checked: it cannot be read)"
    account.enforce_iam()
    assert line in pomona("cloud", "down", "--yes").out


def test_bucket_that_another_account_takes_over_gets_no_upload(
    tmp_path: Path, account: MotoAccount
) -> None:
    from moto.s3.models import s3_backends

    requests = all_requests(names(), uploads(tmp_path))
    bucket, caller = f"fruits-data-{ACCOUNT}", Account(REGION)
    with pytest.raises(CloudError, match=rf"or name another bucket if {bucket} does not belong"):
        for planned in up(requests, caller):
            if planned.request.name == "data bucket: lifecycle":  # the last request before uploads
                caller.send("s3", "delete_bucket", {"Bucket": bucket})
                account.create_foreign_bucket(bucket)
    foreign = s3_backends["999999999999"]["aws"].get_bucket(bucket)
    assert not [*foreign.keys]
    assert "policy" not in vars(foreign) or not foreign.policy


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
