"""Tests for `pomona cloud policy` on moto, which enforces the printed policy."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from support.aws.account import ACCOUNT, ADMIN, REGION, MotoAccount
from support.aws.authorization import authorize_resources
from support.aws.cluster_configs import VARIANTS
from support.aws.credentials import hide_credentials
from support.aws.workspace import write_config
from support.processes.cli import Command

pytest_plugins = ["support.aws.fixtures"]

DATA = f"fruits-data-{ACCOUNT}"
TAG = {"Key": "pomona", "Value": "fruits"}
BOUNDARY = f"arn:aws:iam::{ACCOUNT}:policy/limit"
#: The configuration at first, and its changes for a second `up`, which also changes the schedule.
CONFIGS = {
    "stream": (
        'network = {ssh_key = "mine", ssh_from = ["192.0.2.1/32"]}\n',
        'network = {ssh_key = "mine", ssh_from = ["192.0.2.2/32"]}\n',
    ),
    "serverless": (f'{VARIANTS["serverless"]}roles.boundary = "{BOUNDARY}"\n',) * 2,
}
#: One tag is changed, one removed and one added, by these requests of CloudFormation.
TAGS = ('tags = {team = "fruits", cost = "1"}\n', 'tags = {team = "trees", owner = "me"}\n')
TAG_REQUESTS = {
    "stream": {"tag_role", "untag_role", "tag_queue", "untag_queue", "delete_tags"},
    "serverless": {"tag_role", "untag_role", "tag_resource", "untag_resource"},
}


def use_policy(
    patch: pytest.MonkeyPatch, account: MotoAccount, documents: list[Any]
) -> dict[str, str]:
    """Use a new user with exactly these policies; enforce IAM."""
    account.disable_iam()
    caller = account.create_caller("deployer", "sts:GetCallerIdentity")
    iam = account.client("iam", ADMIN)
    for number, document in enumerate(documents):
        text = json.dumps(document)
        iam.put_user_policy(UserName="deployer", PolicyName=f"p{number}", PolicyDocument=text)
    for name, value in caller.items():
        patch.setenv(name, value)
    authorize_resources(patch)
    account.enforce_iam()
    return caller


def print_policies(pomona: Command) -> list[Any]:
    done = pomona("cloud", "policy")
    assert (done.status, done.err) == (0, "")
    return done.json if isinstance(done.json, list) else [done.json]


def _other(listed: Any) -> Any:
    """Return the cluster or application of others in a response."""
    (found,) = [
        one
        for one in listed.get("Clusters") or listed["applications"]
        if (one.get("Name") or one["name"]) == "other"
    ]
    return found


def _other_job_run(serverless: Any) -> str:
    """Return the ARN of the job run of others."""
    application = _other(serverless.list_applications())["id"]
    (job_run,) = serverless.list_job_runs(applicationId=application)["jobRuns"]
    return str(job_run["arn"])


def _group(ec2: Any, name: str) -> str:
    """Return the ID of a security group."""
    (found,) = ec2.describe_security_groups(GroupNames=[name])["SecurityGroups"]
    return str(found["GroupId"])


NEIGHBORS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "create a role without the boundary": (
        "iam",
        lambda iam: iam.create_role(RoleName="fruits-job", AssumeRolePolicyDocument="{}"),
    ),
    "add a policy to a role without the boundary": (
        "iam",
        lambda iam: iam.put_role_policy(
            RoleName="fruits-job", PolicyName="pomona", PolicyDocument="{}"
        ),
    ),
    "read another bucket": ("s3", lambda s3: s3.get_object(Bucket="another", Key="a")),
    "list another bucket": ("s3", lambda s3: s3.list_objects_v2(Bucket="another")),
    "create another bucket": (
        "s3",
        lambda s3: s3.create_bucket(
            Bucket="more", CreateBucketConfiguration={"LocationConstraint": REGION}
        ),
    ),
    "delete another bucket": ("s3", lambda s3: s3.delete_bucket(Bucket="another")),
    "delete the data bucket": ("s3", lambda s3: s3.delete_bucket(Bucket=DATA)),
    "remove its policy": ("s3", lambda s3: s3.delete_bucket_policy(Bucket=DATA)),
    "write a row": ("s3", lambda s3: s3.put_object(Bucket=DATA, Key="lake/features/a", Body=b"")),
    "read a row": ("s3", lambda s3: s3.get_object(Bucket=DATA, Key="lake/features/a")),
    "delete an upload": ("s3", lambda s3: s3.delete_object(Bucket=DATA, Key="pomona/v1/submit.py")),
    "list buckets": ("s3", lambda s3: s3.list_buckets()),
    "create a user": ("iam", lambda iam: iam.create_user(UserName="mallory")),
    "create another role": (
        "iam",
        lambda iam: iam.create_role(RoleName="fruits-nodes2", AssumeRolePolicyDocument="{}"),
    ),
    "change another role": (
        "iam",
        lambda iam: iam.put_role_policy(RoleName="admin", PolicyName="pomona", PolicyDocument="{}"),
    ),
    "delete another role": ("iam", lambda iam: iam.delete_role(RoleName="admin")),
    "attach another policy": (
        "iam",
        lambda iam: iam.attach_role_policy(
            RoleName="fruits-nodes2", PolicyArn="arn:aws:iam::aws:policy/AdministratorAccess"
        ),
    ),
    "read another stack": (
        "cloudformation",
        lambda stacks: stacks.describe_stack_events(StackName="fruits"),
    ),
    "delete another stack": (
        "cloudformation",
        lambda stacks: stacks.delete_stack(StackName="fruits-long-lived-2"),
    ),
    "create another stack": (
        "cloudformation",
        lambda stacks: stacks.create_change_set(
            StackName="other", ChangeSetName="other", ChangeSetType="CREATE", TemplateBody="{}"
        ),
    ),
    "add another role to the profile": (
        "iam",
        lambda iam: iam.add_role_to_instance_profile(
            InstanceProfileName="fruits-nodes", RoleName="admin"
        ),
    ),
    "create another service-linked role": (
        "iam",
        lambda iam: iam.create_service_linked_role(AWSServiceName="autoscaling.amazonaws.com"),
    ),
    "create another cluster": (
        "emr",
        lambda emr: emr.run_job_flow(
            Name="fruits", ServiceRole="fruits-service", JobFlowRole="fruits-nodes",
            ReleaseLabel="emr-7.13.0", Tags=[{"Key": "pomona", "Value": "other"}],
            Instances={"MasterInstanceType": "m5.xlarge", "InstanceCount": 1},
        ),
    ),
    "pass another role to a cluster": (
        "emr",
        lambda emr: emr.run_job_flow(
            Name="fruits", ServiceRole="fruits-service", JobFlowRole="admin",
            ReleaseLabel="emr-7.13.0", Tags=[TAG],
            Instances={"MasterInstanceType": "m5.xlarge", "InstanceCount": 1},
        ),
    ),
    "terminate another cluster": (
        "emr",
        lambda emr: emr.terminate_job_flows(JobFlowIds=[_other(emr.list_clusters())["Id"]]),
    ),
    "tag another application": (
        "emr-serverless",
        lambda emr: emr.tag_resource(
            resourceArn=_other(emr.list_applications())["arn"], tags={"team": "fruits"}
        ),
    ),
    "take over another application": (
        "emr-serverless",
        lambda emr: emr.tag_resource(
            resourceArn=_other(emr.list_applications())["arn"], tags={"pomona": "fruits"}
        ),
    ),
    "take over another job run": (
        "emr-serverless",
        lambda emr: emr.tag_resource(
            resourceArn=_other_job_run(emr), tags={"pomona": "fruits"}
        ),
    ),
    "stop another application": (
        "emr-serverless",
        lambda emr: emr.stop_application(applicationId=_other(emr.list_applications())["id"]),
    ),
    "create a security group": (
        "ec2",
        lambda ec2: ec2.create_security_group(
            GroupName="fruits-more", Description="more",
            TagSpecifications=[{"ResourceType": "security-group", "Tags": [TAG]}],
        ),
    ),
    "open a security group": (
        "ec2",
        lambda ec2: ec2.authorize_security_group_ingress(
            GroupId=_group(ec2, "fruits-tagged"),
            IpPermissions=[{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22}],
        ),
    ),
    "tag a security group": (
        "ec2",
        lambda ec2: ec2.create_tags(Resources=[_group(ec2, "default")], Tags=[TAG]),
    ),
    "delete a security group": (
        "ec2",
        lambda ec2: ec2.delete_security_group(GroupId=_group(ec2, "fruits-tagged")),
    ),
    "revoke a rule of another security group": (
        "ec2",
        lambda ec2: ec2.revoke_security_group_ingress(
            GroupId=_group(ec2, "default"), IpPermissions=[{"IpProtocol": "-1"}]
        ),
    ),
    "open another security group": (
        "ec2",
        lambda ec2: ec2.authorize_security_group_ingress(
            GroupId=_group(ec2, "default"),
            IpPermissions=[{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22}],
        ),
    ),
    "create another queue": ("sqs", lambda sqs: sqs.create_queue(QueueName="fruits")),
    "delete another schedule": (
        "scheduler",
        lambda scheduler: scheduler.delete_schedule(Name="fruits-refit2"),
    ),
    "pass another role to a schedule": (
        "scheduler",
        lambda scheduler: scheduler.create_schedule(
            Name="fruits-refit", ScheduleExpression="rate(1 hour)",
            FlexibleTimeWindow={"Mode": "OFF"},
            Target={"Arn": "arn:aws:scheduler:::aws-sdk:emr:runJobFlow",
                    "RoleArn": f"arn:aws:iam::{ACCOUNT}:role/admin"},
        ),
    ),
    "delete another security group": (
        "ec2",
        lambda ec2: ec2.delete_security_group(GroupId=_group(ec2, "default")),
    ),
    "start an instance": (
        "ec2",
        lambda ec2: ec2.run_instances(ImageId="ami-12345678", MinCount=1, MaxCount=1),
    ),
}  # fmt: skip


#: Requests of CloudFormation with the credentials of the deployer, for the security group of another deployment.
NEIGHBORS_BY_CLOUDFORMATION: dict[str, Callable[..., Any]] = {
    "open": lambda ec2, group: ec2.authorize_security_group_ingress(
        GroupId=group, IpPermissions=[{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22}]
    ),
    "close": lambda ec2, group: ec2.revoke_security_group_ingress(
        GroupId=group, IpPermissions=[{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22}]
    ),
    "take over": lambda ec2, group: ec2.create_tags(Resources=[group], Tags=[TAG]),
    "remove the tag": lambda ec2, group: ec2.delete_tags(
        Resources=[group], Tags=[{"Key": "pomona"}]
    ),
    "delete": lambda ec2, group: ec2.delete_security_group(GroupId=group),
}


def assert_denied(name: str, call: Callable[[Any], Any], client: Any) -> None:
    with pytest.raises(ClientError) as caught:
        call(client)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403, name


def create_others(account: MotoAccount) -> None:
    """Create what belongs to others, a log, and security groups with the tag of the configuration and of another.

    The role of the jobs loses its permissions boundary.
    """
    account.disable_iam()
    location = {"LocationConstraint": REGION}
    s3 = account.client("s3", ADMIN)
    s3.create_bucket(Bucket="another", CreateBucketConfiguration=location)
    s3.put_object(Bucket=f"fruits-log-{ACCOUNT}", Key="emr/a", Body=b"a log")
    iam = account.client("iam", ADMIN)
    iam.create_role(RoleName="admin", AssumeRolePolicyDocument="{}")
    with suppress(iam.exceptions.NoSuchEntityException):  # only EMR Serverless has the role
        iam.delete_role_permissions_boundary(RoleName="fruits-job")
    serverless = account.client("emr-serverless", ADMIN)
    application = serverless.create_application(
        name="other", releaseLabel="emr-7.13.0", type="SPARK", tags={"pomona": "other"}
    )["applicationId"]
    serverless.start_job_run(
        applicationId=application,
        clientToken="other",
        executionRoleArn=f"arn:aws:iam::{ACCOUNT}:role/admin",
        tags={"pomona": "other"},
    )
    nodes = {"KeepJobFlowAliveWhenNoSteps": True, "InstanceCount": 1}
    tags = [{"Key": "pomona", "Value": "other"}]
    account.client("emr", ADMIN).run_job_flow(Name="other", Instances=nodes, Tags=tags)
    for name, tag in (("fruits-tagged", TAG), ("other-tagged", tags[0])):
        account.client("ec2", ADMIN).create_security_group(
            GroupName=name,
            Description="tagged",
            TagSpecifications=[{"ResourceType": "security-group", "Tags": [tag]}],
        )
    account.enforce_iam()


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["stream", "serverless"])
def test_commands_work_and_neighboring_calls_are_denied_with_exactly_this_policy(
    kind: str,
    pomona: Command,
    workspace: Path,
    account: MotoAccount,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = (more + tags for more, tags in zip(CONFIGS[kind], TAGS, strict=True))
    write_config(workspace, first)
    caller = use_policy(monkeypatch, account, print_policies(pomona))
    commands = ["plan", "up --yes", "status", "changed", "plan", "up --yes"]
    if kind == "stream":
        commands += ["resize fruits --core 3 --task 1 --nodes 9 --yes"]
        commands += ["clone fruits --set instances.core=1 --yes"]
    else:  # only a stopped application is changed
        commands += ["down --yes", "up --yes"]
    for command in [*commands, "down --yes --all", "up --yes", "down --yes"]:
        if command == "changed":  # `up` then updates the schedule
            write_config(workspace, second + "refit.variance = 0.5\n")
            continue
        done = pomona("cloud", *command.split())
        assert (command, done.status, done.err) == (command, 0, "")
        assert "not checked" not in done.out
        assert "not be checked" not in done.out
    assert TAG_REQUESTS[kind] <= {one.operation for one in account.sent}
    monkeypatch.setattr("support.aws.rules.violations", lambda *_: [])
    create_others(account)
    s3 = account.client("s3", caller)
    assert s3.get_object(Bucket=f"fruits-log-{ACCOUNT}", Key="emr/a")["Body"].read() == b"a log"
    for name, (service, call) in NEIGHBORS.items():
        assert_denied(name, call, account.client(service, caller))
    ec2 = account.client("ec2", caller, called_via="cloudformation.amazonaws.com")
    group = _group(account.client("ec2", caller), "other-tagged")
    for name, send in NEIGHBORS_BY_CLOUDFORMATION.items():
        assert_denied(name, partial(send, group=group), ec2)
    service, call = NEIGHBORS["take over another application"]
    by_cloudformation = account.client(service, caller, called_via="cloudformation.amazonaws.com")
    assert_denied("take over another application", call, by_cloudformation)


def test_policy_of_a_configuration_with_account_needs_no_credentials(
    pomona: Command, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide_credentials(monkeypatch, workspace)
    error = pomona("cloud", "policy")
    assert error.status == 2
    assert "cluster.toml: account is missing, and there are no credentials" in error.error_line
    write_config(workspace, 'account = "999999999999"\n')
    documents = print_policies(pomona)
    assert "arn:aws:s3:::fruits-data-999999999999" in json.dumps(documents)
    parts = [
        pomona("cloud", "policy", "--part", number).json for number in range(1, len(documents) + 1)
    ]
    assert parts == documents
    done = pomona("cloud", "policy", "--part", len(documents) + 1)
    assert (
        done.error_line == f"pomona: --part {len(documents) + 1}: it must be 1 to {len(documents)}"
    )
