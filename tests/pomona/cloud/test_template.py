"""Tests for `pomona cloud template`: settings are defaults, and moto creates from it what `up` creates."""

from __future__ import annotations

import ast
import json
import warnings
from pathlib import Path
from typing import Any

import pytest

from bootstrap.resources.iam_policies import normalize_policy
from bootstrap.resources.stack import read_template
from support.aws.account import ACCOUNT, ADMIN, MotoAccount
from support.aws.cloudformation import parse_template
from support.aws.cluster_configs import MINIMAL, VARIANTS
from support.aws.workspace import write_config
from support.processes.cli import Command

pytest_plugins = ["support.aws.fixtures"]

#: Types that moto's CloudFormation skips, with a warning. tests/bootstrap/ compares their requests with those of
#: `plan`, or applies the rules to them.
SKIPPED_TYPES = {
    "AWS::S3::BucketPolicy",
    "AWS::SQS::QueuePolicy",
    "AWS::Scheduler::Schedule",
}
SSH = 'network = {ssh_key = "mine", ssh_from = ["192.0.2.1/32", "198.51.100.0/24"]}\n'
OPTIONS = {"NotifyObjects": "true", "RefitInput": "{}"}


def test_template_without_configuration_lists_required_parameters(
    pomona: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, required in (("long-lived", "Name, DataBucket, LogBucket"), ("serverless", "Name")):
        done = pomona("cloud", "template", "--name", name)
        first, _, text = done.out.partition("\n")
        assert first == f"# Parameters: no cluster.toml; to be given: {required}"
        assert text == read_template(name)
    (tmp_path / "cluster.toml").write_text(MINIMAL)
    assert (
        pomona("cloud", "template")
        .out.partition("\n")[0]
        .endswith("defaults of cluster.toml; to be given: DataBucket, LogBucket")
    )


def test_template_name_must_exist(pomona: Command) -> None:
    done = pomona("cloud", "template", "--name", "buckets")
    assert done.status == 2
    assert done.error_line == "pomona: --name buckets: it must be long-lived or serverless"


def test_template_defaults_are_settings_of_configuration(
    pomona: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other.toml").write_text(
        MINIMAL
        + f'account = "{ACCOUNT}"\nevaluator.principals = ["arn:aws:iam::{ACCOUNT}:user/a"]\n'
        'storage.lake = "a/b/"\nnetwork.subnet = "subnet-0123456789abcdef0"\nlimits.nodes = 20\n'
    )
    printed = pomona("cloud", "template", "-f", str(tmp_path / "other.toml")).out
    assert printed.startswith(
        f"# Parameters: defaults of {tmp_path}/other.toml; to be given: VpcId\n"
    )
    declared = parse_template(printed)["Parameters"]
    expected = {
        "Name": "fruits",
        "DataBucket": f"fruits-data-{ACCOUNT}",
        "LakeKey": "a/b",
        "LakeParentArns": f"arn:aws:s3:::fruits-data-{ACCOUNT}/a",
        "EvaluatorPrincipals": f"arn:aws:iam::{ACCOUNT}:user/a",
        "ScheduleExpression": "rate(1 hour)",
        "LogDays": "90",
        "AlarmAddress": "",
    }
    assert {name: declared[name]["Default"] for name in expected} == expected
    assert "Default" not in declared["VpcId"]
    other = pomona("cloud", "template", "--name", "serverless", "-f", str(tmp_path / "other.toml"))
    declared = parse_template(other.out)["Parameters"]
    assert declared["MaximumCpu"]["Default"] == "80 vCPU"
    assert declared["MaximumMemory"]["Default"] == "320 GB"


@pytest.fixture
def drop_absent_items(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make moto drop the items of lists that are AWS::NoValue; it keeps None."""
    from moto.cloudformation import parsing

    clean = parsing.clean_json

    def clean_json(value: Any, resources: Any) -> Any:
        result = clean(value, resources)
        return [one for one in result if one is not None] if isinstance(result, list) else result

    monkeypatch.setattr(parsing, "clean_json", clean_json)


def create_stack(account: MotoAccount, template: str, given: dict[str, str]) -> list[str]:
    """Create a stack, and return the types of resources that moto skipped."""
    vpcs = account.client("ec2", ADMIN).describe_vpcs()["Vpcs"]
    given |= {"VpcId": next(one["VpcId"] for one in vpcs if one["IsDefault"])}
    client = account.client("cloudformation", ADMIN)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        client.create_stack(
            StackName="fruits",
            TemplateBody=template,
            Parameters=[{"ParameterKey": key, "ParameterValue": given[key]} for key in given],
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )
    (stack,) = client.describe_stacks(StackName="fruits")["Stacks"]
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    texts = [str(one.message) for one in caught]
    return [text.split()[3] for text in texts if text.startswith("Tried to parse ")]


def document(value: Any) -> Any:
    """Return a document that moto returns as JSON or, if its CloudFormation created it, as a literal of Python."""
    if not isinstance(value, str):
        return value
    return json.loads(value) if '"' in value else ast.literal_eval(value)


def own_tags(resource: dict[str, Any]) -> dict[str, str]:
    """Return the tags that CloudFormation does not set itself."""
    tags = {one["Key"]: one["Value"] for one in resource.get("Tags", ())}
    return {key: value for key, value in tags.items() if not key.startswith("aws:")}


def created(account: MotoAccount) -> dict[str, Any]:
    """Return what both moto's CloudFormation and `up` create, without IDs.

    Of a bucket, moto's CloudFormation applies only the encryption; it ignores ManagedPolicyArns of a role. Its server
    does not return a security configuration that a stack created.
    """
    account.disable_iam()
    s3, iam, ec2 = (account.client(service, ADMIN) for service in ("s3", "iam", "ec2"))
    sqs = account.client("sqs", ADMIN)
    result: dict[str, Any] = {}
    for bucket in s3.list_buckets()["Buckets"]:
        encryption = s3.get_bucket_encryption(Bucket=bucket["Name"])
        result[bucket["Name"]] = encryption["ServerSideEncryptionConfiguration"]
    for listed in iam.list_roles()["Roles"]:
        role = iam.get_role(RoleName=listed["RoleName"])["Role"]
        if role["Path"].startswith("/aws-service-role/"):
            continue
        inline = iam.get_role_policy(RoleName=role["RoleName"], PolicyName="pomona")
        documents = [role["AssumeRolePolicyDocument"], inline["PolicyDocument"]]
        policies = [normalize_policy(document(one)) for one in documents]
        result[role["Arn"]] = [*policies, role["Description"], own_tags(role)]
    for profile in iam.list_instance_profiles()["InstanceProfiles"]:
        result[profile["Arn"]] = [one["RoleName"] for one in profile["Roles"]]
    groups = ec2.describe_security_groups()["SecurityGroups"]
    names = {one["GroupId"]: one["GroupName"] for one in groups}
    for group in groups:
        rules = [
            (
                rule["FromPort"],
                [one["CidrIp"] for one in rule["IpRanges"]],
                sorted(names[one["GroupId"]] for one in rule["UserIdGroupPairs"]),
            )
            for rule in group["IpPermissions"]
        ]
        result[f"group {group['GroupName']}"] = [
            group["Description"],
            own_tags(group),
            sorted(rules),
        ]
    for url in sqs.list_queues(QueueNamePrefix="fruits-refit").get("QueueUrls", ()):
        attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        kept = ("MessageRetentionPeriod", "SqsManagedSseEnabled")
        result["queue"] = [url.rpartition("/")[2], *(attributes[key].lower() for key in kept)]
    return result


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["stream", "serverless"])
def test_stack_creates_what_up_creates(
    pomona: Command, workspace: Path, account: MotoAccount, drop_absent_items: None, variant: str
) -> None:
    write_config(workspace, f'account = "{ACCOUNT}"\n{VARIANTS[variant]}{SSH}')
    done = pomona("cloud", "up", "--yes")
    assert done.status == 0, done.err
    by_requests = created(account)
    applications = account.client("emr-serverless", ADMIN).list_applications()["applications"]
    given = {"ApplicationId": applications[0]["id"]} if applications else {}
    account.reset()
    template = pomona("cloud", "template").out
    skipped = create_stack(account, template, given | (OPTIONS if variant == "stream" else {}))
    by_stack = created(account)
    if variant == "stream":
        assert set(skipped) == SKIPPED_TYPES
    assert len(by_stack) >= 6
    assert by_stack == by_requests
