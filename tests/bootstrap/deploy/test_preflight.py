"""Tests for the checks before a cluster is started, on moto."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import boto3
import pytest

from bootstrap.aws.client import Account
from bootstrap.deploy.preflight import check_cluster
from bootstrap.errors import CloudError
from support.aws.account import ACCOUNT, ADMIN, REGION, VCPU_QUOTAS, MotoAccount
from support.aws.cluster_configs import names
from support.aws.workspace import write_config
from support.processes.cli import Command

pytest_plugins = ["support.aws.fixtures"]
pytestmark = pytest.mark.slow

ON_DEMAND, SPOT, SERVERLESS = VCPU_QUOTAS
INCREASE = "request an increase in Service Quotas, or reduce the counts in [instances], or set a smaller type"
UNSUPPORTED = (
    "which EMR does not support in eu-west-1 with emr-7.13.0: set a type that "
    "`aws emr list-supported-instance-types` lists"
)


def instances(instance_type: str, core: int = 2, task: int = 0) -> str:
    return f'instances = {{type = "{instance_type}", core = {core}, task = {task}}}\n'


@pytest.mark.parametrize(
    ("more", "quotas", "problem"),
    [
        (
            instances("m9z.xlarge"),
            {},
            f"cluster.toml, line 3: instances.type is m9z.xlarge, {UNSUPPORTED}",
        ),
        (
            instances("t3.xlarge"),  # EC2 offers it, and EMR does not support it
            {},
            f"cluster.toml, line 3: instances.type is t3.xlarge, {UNSUPPORTED}",
        ),
        (
            instances("p3.2xlarge"),
            {},
            "cluster.toml, line 3: instances.type is p3.2xlarge, which is not offered in eu-west-1: set another type",
        ),
        (
            instances("r8a.xlarge"),
            {},
            "cluster.toml, line 3: instances.type is r8a.xlarge, which is not offered in eu-west-1a, the "
            "Availability Zone of the subnet: set another type, or a [network] subnet in eu-west-1b or eu-west-1c",
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
    ids=[
        "unknown type",
        "not in EMR",
        "region",
        "zone",
        "On-Demand",
        "Spot",
        "limits",
        "equal",
        "no Spot",
        "serverless",
    ],
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


def test_types_of_fleets_are_checked_in_each_zone(
    account: MotoAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    subnets = {
        one["AvailabilityZone"]: one["SubnetId"]
        for one in account.client("ec2", ADMIN).describe_subnets()["Subnets"]
    }
    two = f'network.subnets = ["{subnets["eu-west-1a"]}", "{subnets["eu-west-1b"]}"]\n'
    read = Account(REGION).read
    for types, problems, notes in (
        ('"m5.xlarge", "m5.2xlarge"', [], []),
        (
            '"m5.xlarge", "m9z.xlarge"',
            [f"cluster.toml, line 3: instances.types has m9z.xlarge, {UNSUPPORTED}"],
            [],
        ),
        (
            '"m5.xlarge", "r8a.xlarge"',
            [],
            ["r8a.xlarge is not offered in eu-west-1a: EMR starts only the other types there"],
        ),
        (
            '"r8a.xlarge"',
            [
                "cluster.toml, line 4: network.subnets has a subnet in eu-west-1a, which offers none of r8a.xlarge: "
                "remove it"
            ],
            ["r8a.xlarge is not offered in eu-west-1a: EMR starts only the other types there"],
        ),
    ):
        findings = check_cluster(names(f"instances.types = [{types}]\n{two}"), read)
        assert (findings.problems, findings.notes) == (problems, notes)
    monkeypatch.setitem(VCPU_QUOTAS, ON_DEMAND, 31.0)
    more = 'instances = {types = ["m5.xlarge", "m5.2xlarge"], task = 3, task_on_demand = 1}\n'
    assert check_cluster(names(more + two), read).problems == [
        f"4 On-Demand nodes of m5.2xlarge have 32 vCPUs, and the On-Demand quota L-1216C47A allows 31: {INCREASE}"
    ]


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
        ("ec2 describe_instance_type_offerings", ["ec2:DescribeSubnets", "ec2:GetEbs*"]),
        ("service-quotas get_service_quota", ["ec2:Describe*", "ec2:GetEbs*"]),
    ):
        allowed += ["elasticmapreduce:List*", "s3:*"]
        caller = account.create_caller(denied.replace(" ", "-"), *allowed)
        for name, value in caller.items():
            monkeypatch.setenv(name, value)
        account.enforce_iam()
        findings = check_cluster(names(), Account(REGION).read)
        assert findings.problems == []
        (note,) = findings.notes
        assert note.startswith(
            f"m5.xlarge: Availability Zones and vCPU quotas are not checked: {denied}: "
        )


def test_instance_types_are_compared_with_those_of_ec2_if_emr_lists_none(
    account: MotoAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed = ("elasticmapreduce:ListClusters", "ec2:*", "servicequotas:*", "s3:*")
    for name, value in account.create_caller("without", *allowed).items():
        monkeypatch.setenv(name, value)
    account.enforce_iam()
    read = Account(REGION).read
    findings = check_cluster(names(instances("m9z.xlarge")), read)
    assert findings.problems == [
        "cluster.toml, line 3: instances.type is m9z.xlarge, which is not offered in eu-west-1: set another type"
    ]
    for found in (findings, check_cluster(names(instances("t3.xlarge")), read)):
        (note,) = [one for one in found.notes if "not checked with EMR" in one]
        assert "which supports only some types of EC2: emr list_supported_instance_types: " in note


DISK_KEY, OTHER_KEY = (f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/{one * 36}" for one in "ab")
NEEDS_KEY = (
    f"EBS encrypts new volumes with {DISK_KEY} by default: if it is not an AWS managed key, no node starts unless "
    "encryption.disk_key names it"
)


@pytest.mark.parametrize(
    ("more", "key", "expected"),
    [
        ("", None, []),
        ("", "alias/aws/ebs", []),
        ("", f"arn:aws:kms:eu-west-1:{ACCOUNT}:alias/aws/ebs", []),
        ("", DISK_KEY, [NEEDS_KEY]),
        (f'encryption.disk_key = "{OTHER_KEY}"\n', DISK_KEY, [NEEDS_KEY]),
        (f'encryption.disk_key = "{DISK_KEY}"\n', DISK_KEY, []),
        # The alias of a key does not contain its ID.
        (f'encryption.disk_key = "{DISK_KEY}"\n', "alias/disks", []),
        ('roles.service = "EMR_DefaultRole"\n', DISK_KEY, []),
    ],
)
def test_default_key_of_disks_that_is_not_configured_is_noted(
    more: str, key: str | None, expected: list[str], account: MotoAccount
) -> None:
    """moto has no GetEbsDefaultKmsKeyId."""
    account.client("iam", ADMIN).create_role(
        RoleName="EMR_DefaultRole", AssumeRolePolicyDocument="{}"
    )
    real = Account(REGION).read

    def read(service: str, operation: str, *others: Any) -> Any:
        if operation == "get_ebs_encryption_by_default":
            return {"EbsEncryptionByDefault": key is not None}
        if operation == "get_ebs_default_kms_key_id":
            return {"KmsKeyId": key}
        return real(service, operation, *others)

    findings = check_cluster(names(more), read)
    assert findings.problems == []
    assert [note for note in findings.notes if "EBS" in note] == expected


def test_default_key_of_disks_that_cannot_be_read_is_noted(
    account: MotoAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed = ("elasticmapreduce:List*", "ec2:Describe*", "servicequotas:*", "s3:*")
    for name, value in account.create_caller("without", *allowed).items():
        monkeypatch.setenv(name, value)
    account.enforce_iam()
    findings = check_cluster(names(), Account(REGION).read)
    assert findings.problems == []
    (note,) = findings.notes
    assert note.startswith(
        "the default key of EBS is not checked: ec2 get_ebs_encryption_by_default: "
    )


def test_problem_stops_plan_and_up_before_anything_is_sent(
    pomona: Command, workspace: Path, account: MotoAccount
) -> None:
    problem = f"cluster.toml, line 4: instances.type is m9z.xlarge, {UNSUPPORTED}"
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


def test_quota_of_serverless_is_compared_with_limits(
    account: MotoAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = 'mode = "serverless"\nlimits.nodes = 8\n'
    for quota, problems, notes in ((32.0, 0, 0), (31.0, 0, 1), (6.0, 0, 1), (5.0, 1, 0)):
        monkeypatch.setitem(VCPU_QUOTAS, SERVERLESS, quota)
        findings = check_cluster(names(more), Account(REGION).read)
        assert (len(findings.problems), len(findings.notes)) == (problems, notes)
        assert all(f"allows {quota:.0f} vCPUs" in one for one in findings.problems + findings.notes)
    monkeypatch.delitem(VCPU_QUOTAS, SERVERLESS)
    findings = check_cluster(names(more), Account(REGION).read)
    assert findings.notes == [
        "the quota L-D05C8A75 of EMR Serverless is not checked: AWS returns none"
    ]


def test_existing_roles_and_buckets_must_exist(account: MotoAccount) -> None:
    iam = account.client("iam", ADMIN)
    for name, path in (("emr", "/teams/"), ("nodes", "/")):
        iam.create_role(RoleName=name, Path=path, AssumeRolePolicyDocument="{}")
    account.client("s3", ADMIN).create_bucket(
        Bucket="mine", CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    more = '[storage]\ndata_bucket = "mine"\ndata_bucket_exists = true\n'
    logs = 'log_bucket = "logs"\nlog_bucket_exists = true\n'
    roles = 'roles = {service = "emr", nodes = "nodes", evaluator = "readers"}\n'
    findings = check_cluster(names(roles + more + logs), Account(REGION).read)
    assert findings.problems == [
        f"cluster.toml, line 3: roles.service is 'emr': its ARN is arn:aws:iam::{ACCOUNT}:role/teams/emr; "
        "write the path of the role",
        "cluster.toml, line 3: roles.nodes is 'nodes': EMR needs an instance profile nodes that contains this role",
        "cluster.toml, line 3: roles.evaluator is 'readers': there is no such role; correct the name, or remove the "
        "key to create a role",
        "cluster.toml, line 7: storage.log_bucket is 'logs', and there is no such bucket: correct the name, or remove "
        "storage.log_bucket_exists to create it",
    ]
    iam.create_instance_profile(InstanceProfileName="nodes")
    iam.add_role_to_instance_profile(InstanceProfileName="nodes", RoleName="nodes")
    roles = 'roles = {service = "teams/emr", nodes = "nodes"}\n'
    assert check_cluster(names(roles + more), Account(REGION).read).problems == []


def test_boundary_must_be_in_the_account_of_the_credentials(account: MotoAccount) -> None:
    more = 'roles.boundary = "arn:aws:iam::999999999999:policy/limit"\n'
    assert check_cluster(names(more), Account(REGION).read).problems == [
        "cluster.toml, line 3: roles.boundary is 'arn:aws:iam::999999999999:policy/limit'; it must be a policy of "
        f"account {ACCOUNT}, which has the roles, or a managed policy of AWS"
    ]


def create_bucket(name: str, region: str) -> None:
    """Create a bucket in a region of the account."""
    boto3.session.Session(region_name=region).client("s3").create_bucket(
        Bucket=name, CreateBucketConfiguration={"LocationConstraint": region}
    )


ELSEWHERE = "the bucket is in us-west-2"
REQUIRED = f"{ELSEWHERE}; it must be in eu-west-1, because"
MOVE = 'name a bucket in eu-west-1, or set region = "us-west-2"'
CHARGED = f"{ELSEWHERE}, not in eu-west-1: AWS charges for the data transfer between regions"
REDIRECT = "bootstrap actions and delta-rs do not follow the redirect of S3 to another region"
SERVERLESS_REGION = "jobs of EMR Serverless without a VPC reach S3 only in their region"


@pytest.mark.parametrize(
    ("more", "problems", "notes"),
    [
        (
            'storage.data_bucket = "away"\nstorage.data_bucket_exists = true\n',
            [f"cluster.toml, line 3: storage.data_bucket is 'away': {REQUIRED} {REDIRECT}: {MOVE}"],
            [],
        ),
        (
            'storage.log_bucket = "away"\nstorage.log_bucket_exists = true\n',
            [],
            [f"cluster.toml, line 3: storage.log_bucket is 'away': {CHARGED}"],
        ),
        (
            'storage.log_bucket = "away"\n',
            [
                f"cluster.toml, line 3: storage.log_bucket is 'away': {REQUIRED} the stack imports the bucket: {MOVE}"
            ],
            [],
        ),
        (
            'storage.log_bucket = "away"\nstorage.log_bucket_exists = true\nencryption.log_key = "KEY"\n',
            [
                f"cluster.toml, line 3: storage.log_bucket is 'away': {REQUIRED} S3 requires encryption.log_key in the "
                f"region of the bucket: {MOVE}"
            ],
            [],
        ),
        (
            'storage.images = "s3://away/fruits/"\n',
            [],
            [f"cluster.toml, line 3: storage.images is 's3://away/fruits/': {CHARGED}"],
        ),
        (
            'storage.images = "s3://away/fruits/"\nmode = "serverless"\n',
            [
                f"cluster.toml, line 3: storage.images is 's3://away/fruits/': {REQUIRED} {SERVERLESS_REGION}: {MOVE}"
            ],
            [],
        ),
        (
            'storage.images = "s3://absent/"\n',
            [
                "cluster.toml, line 3: storage.images is 's3://absent/', and there is no such bucket: correct the "
                "name, or create the bucket"
            ],
            [],
        ),
        ('storage.images = "s3://here/"\n', [], []),
    ],
    ids=["data", "log", "imported", "key", "images", "serverless", "absent", "here"],
)
def test_bucket_in_another_region_is_rejected_if_aws_requires_the_region(
    more: str, problems: list[str], notes: list[str], account: MotoAccount
) -> None:
    create_bucket("away", "us-west-2")
    create_bucket("here", REGION)
    more = more.replace("KEY", f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/{'a' * 36}")
    findings = check_cluster(names(more), Account(REGION).read)
    assert (findings.problems, findings.notes) == (problems, notes)


def test_bucket_of_another_account_is_rejected_except_for_images(account: MotoAccount) -> None:
    account.create_foreign_bucket("theirs")
    read = Account(REGION).read
    for role in ("data", "log"):
        with pytest.raises(CloudError) as caught:
            check_cluster(names(f'storage.{role}_bucket = "theirs"\n'), read)
        assert str(caught.value) == (
            f"cluster.toml, line 3: storage.{role}_bucket is 'theirs': the bucket exists, but it does not belong to "
            f"account {ACCOUNT}, or you lack the permission s3:ListBucket: name another bucket, or request this "
            "permission"
        )
    findings = check_cluster(names('storage.images = "s3://theirs/"\n'), read)
    assert findings.problems == []
    (note,) = findings.notes
    assert note.startswith(
        "cluster.toml, line 3: storage.images is 's3://theirs/': the region of the bucket is not checked: "
        "s3 head_bucket: "
    )


def test_bucket_in_another_region_stops_plan_and_up_before_anything_is_sent(
    pomona: Command, workspace: Path, account: MotoAccount
) -> None:
    create_bucket("away", "us-west-2")
    account.sent.clear()
    write_config(workspace, 'storage.data_bucket = "away"\nstorage.data_bucket_exists = true\n')
    for command in ("plan", "up --yes"):
        done = pomona("cloud", *command.split())
        assert done.status == 1
        assert (
            "cluster.toml, line 4: storage.data_bucket is 'away': the bucket is in us-west-2"
            in done.err
        )
    assert not account.sent


def test_private_subnet_without_route_to_s3_is_noted(account: MotoAccount) -> None:
    ec2 = account.client("ec2", ADMIN)
    vpc = ec2.create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.1.0.0/24", AvailabilityZone=f"{REGION}a")[
        "Subnet"
    ]["SubnetId"]
    config_names = names(f'network = {{private = true, subnet = "{subnet}"}}\n')
    findings = check_cluster(config_names, Account(REGION).read)
    assert (findings.problems, findings.notes) == ([], [
        f"{subnet} has only local routes: without an interface endpoint for S3, no node starts; "
        "add a gateway endpoint for S3, or a NAT gateway",
    ])  # fmt: skip
    (table,) = ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [vpc]}])[
        "RouteTables"
    ]
    ec2.create_vpc_endpoint(
        VpcId=vpc,
        ServiceName=f"com.amazonaws.{REGION}.s3",
        VpcEndpointType="Gateway",
        RouteTableIds=[table["RouteTableId"]],
    )
    assert check_cluster(config_names, Account(REGION).read).notes == []


TOPIC = f"arn:aws:sns:eu-west-1:{ACCOUNT}:operations"


def test_topic_of_alarms_must_exist_and_not_have_the_key_of_sns(
    account: MotoAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    sns = account.client("sns", ADMIN)
    more = f'alarms.topic = "{TOPIC}"\n'
    read = Account(REGION).read
    assert check_cluster(names(more), read).problems == [
        f"cluster.toml, line 3: alarms.topic is {TOPIC!r}, and there is no such topic: correct the ARN"
    ]
    sns.create_topic(Name="operations")
    for key, problems in (
        ("", []),
        (f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/{'a' * 36}", []),
        (
            "alias/aws/sns",
            [
                f"cluster.toml, line 3: alarms.topic is {TOPIC!r}, which is encrypted with alias/aws/sns: CloudWatch "
                "and EventBridge cannot use this key, and its policy cannot be changed; encrypt the topic with a "
                "customer managed key"
            ],
        ),
    ):
        sns.set_topic_attributes(TopicArn=TOPIC, AttributeName="KmsMasterKeyId", AttributeValue=key)
        assert check_cluster(names(more), read).problems == problems
    allowed = ("elasticmapreduce:List*", "ec2:*", "servicequotas:*", "s3:*")
    for name, value in account.create_caller("without", *allowed).items():
        monkeypatch.setenv(name, value)
    account.enforce_iam()
    findings = check_cluster(names(more), Account(REGION).read)
    assert findings.problems == []
    (note,) = findings.notes
    assert note.startswith(
        f"cluster.toml, line 3: alarms.topic is {TOPIC!r}, which is not checked: sns get_topic_attributes: "
    )


def test_residency_rejects_buckets_and_replicas_elsewhere(account: MotoAccount) -> None:
    s3 = account.client("s3", ADMIN)
    for bucket, region in (
        ("pictures", "us-west-2"),
        (f"fruits-data-{ACCOUNT}", REGION),
        ("copies", "ap-south-1"),
    ):
        create_bucket(bucket, region)
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    rule = {
        "ID": "copy",
        "Status": "Enabled",
        "Priority": 1,
        "Filter": {},
        "DeleteMarkerReplication": {"Status": "Disabled"},
    }
    s3.put_bucket_replication(
        Bucket=f"fruits-data-{ACCOUNT}",
        ReplicationConfiguration={
            "Role": f"arn:aws:iam::{ACCOUNT}:role/copy",
            "Rules": [rule | {"Destination": {"Bucket": "arn:aws:s3:::copies"}}],
        },
    )
    more = 'storage.images = "s3://pictures/"\n'
    read = Account(REGION).read
    assert check_cluster(names(more), read).problems == []
    problems = check_cluster(names(more + 'residency = "eu"\n'), read).problems
    remedy = 'residency is "eu": keep buckets and their replicas in a region of the EU'
    assert problems == [
        f"the bucket fruits-data-{ACCOUNT} is replicated to copies in ap-south-1; {remedy}",
        f"the bucket pictures is in us-west-2; {remedy}",
    ]
