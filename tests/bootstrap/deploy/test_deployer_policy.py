"""Tests for the policy of a deployer, compared with the Service Authorization Reference."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from bootstrap.aws.client import boto3_name, service_model
from bootstrap.config.loader import parse_config
from bootstrap.config.names import Names
from bootstrap.deploy.deployer_policy import (
    SIZE_LIMIT,
    deployer_policies,
    deployer_requests,
    policy_size,
)
from bootstrap.deploy.deployment import stack_resources
from bootstrap.deploy.permissions import GRANTS, TYPE_GRANTS, TYPE_OPERATIONS
from bootstrap.resources.stack import TEMPLATES, read_template
from support.aws.account import ACCOUNT
from support.aws.cloudformation import TAG_PROPERTIES, parse_template
from support.aws.cluster_configs import MINIMAL, VARIANTS, names
from support.aws.iam_reference import arn_formats, has_format, statement_violations

ROOT = Path(__file__).parents[3]


def statements(variant: Names) -> list[Any]:
    return [one for document in deployer_policies(variant) for one in document["Statement"]]


def grants(variant: Names) -> Iterator[tuple[str, str, Any]]:
    """Yield each action with each resource and the condition; it is empty if there is none."""
    for statement in statements(variant):
        for action in statement["Action"]:
            for resource in statement["Resource"]:
                yield action, resource, statement.get("Condition", {})


@pytest.mark.parametrize("kind", VARIANTS)
def test_statements_follow_the_reference(kind: str) -> None:
    for action, resource, condition in grants(names(VARIANTS[kind] + OPTIONS)):
        keys = [key for keys in condition.values() for key in keys]
        assert [*statement_violations([action], [resource], keys)] == []
        if resource == "*":
            tagged_on_creation = action == "elasticmapreduce:AddTags"  # a new cluster has no ARN
            assert not arn_formats(action) or tagged_on_creation, action
        creates = action in (
            "elasticmapreduce:RunJobFlow",
            "elasticmapreduce:AddTags",
            "emr-serverless:CreateApplication",
        )
        assert not creates or condition == NEW


@pytest.mark.parametrize("kind", VARIANTS)
def test_each_required_resource_type_is_granted(kind: str) -> None:
    granted = [*grants(names(VARIANTS[kind]))]
    for action in {action for action, *_ in granted}:
        arns = [resource for one, resource, _ in granted if one == action]
        for arn_format in arn_formats(action, required=True).values():
            assert any(has_format(arn, arn_format) for arn in arns), (action, arn_format)


def test_table_has_each_operation_that_the_code_names() -> None:
    services = {service for service, _ in GRANTS}
    operations = {
        (service, boto3_name(name))
        for service in services
        for name in service_model(service).operation_names
    }
    known = {operation for _, operation in GRANTS}
    files = [*(ROOT / "bootstrap").rglob("*.py"), *(ROOT / "pomona" / "cloud").glob("*.py")]
    named = {
        node.value
        for file in files
        if file.name != "rules.py"  # also has rules for requests that no command sends
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    missing = {name for _, name in operations if name in named} - known
    assert missing == set()
    assert set(GRANTS) <= operations


BOUNDARY = f"arn:aws:iam::{ACCOUNT}:policy/limit"
#: Keys of the configuration that add types or properties of resources.
OPTIONS = (
    'alarms = {address = "ops@example.com", monthly_budget = 7}\nglue.database = "fruits"\n'
    f'roles = {{path = "/teams/", boundary = "{BOUNDARY}"}}\n'
)
#: Permissions of CloudFormation's handlers that the policy lacks, by the property that needs them. No template sets it.
#: Permissions to read are not among them: a handler reads all properties of a resource.
UNSET_PROPERTIES = {
    "AWS::S3::Bucket": {
        "AbacStatus": "s3:PutBucketAbac",
        "AccelerateConfiguration": "s3:PutAccelerateConfiguration",
        "AccessControl": "s3:PutBucketAcl s3:PutObjectAcl",
        "AnalyticsConfigurations": "s3:PutAnalyticsConfiguration s3:DeleteBucketAnalyticsConfiguration",
        "CorsConfiguration": "s3:PutBucketCORS s3:DeleteBucketCors",
        "IntelligentTieringConfigurations": "s3:PutIntelligentTieringConfiguration",
        "InventoryConfigurations": "s3:PutInventoryConfiguration",
        "LoggingConfiguration": "s3:PutBucketLogging",
        "MetadataConfiguration": "s3tables:* s3:*BucketMetadata*TableConfiguration",
        "MetadataTableConfiguration": "s3tables:* s3:*BucketMetadataTableConfiguration",
        "MetricsConfigurations": "s3:PutMetricsConfiguration s3:DeleteBucketMetricsConfiguration",
        "ObjectLockConfiguration": "s3:PutObjectLockConfiguration s3:PutBucketObjectLockConfiguration",
        "ObjectLockEnabled": "s3:PutBucketObjectLockConfiguration",
        "ReplicationConfiguration": (
            "s3:PutReplicationConfiguration s3:*BucketReplication s3:DeleteObject iam:PassRole"
        ),
        "WebsiteConfiguration": "s3:PutBucketWebsite s3:DeleteBucketWebsite",
    },
    "AWS::IAM::Policy": {"Groups": "iam:*GroupPolicy", "Users": "iam:*UserPolicy"},
    "AWS::EC2::SecurityGroup": {
        "SecurityGroupEgress": (
            "ec2:AuthorizeSecurityGroupEgress ec2:UpdateSecurityGroupRuleDescriptionsEgress"
        ),
    },
    "AWS::EMRServerless::Application": {
        "IdentityCenterConfiguration": "sso:*",
        "ImageConfiguration": "ecr:*",
        "MonitoringConfiguration": "kms:*",
        "NetworkConfiguration": "ec2:CreateNetworkInterface",
        "WorkerTypeSpecifications": "ecr:*",
    },
    "AWS::SNS::Topic": {
        "DataProtectionPolicy": "sns:PutDataProtectionPolicy",
        "DeliveryStatusLogging": "iam:GetRole iam:PassRole",
    },
    "AWS::Events::Rule": {"RoleArn": "iam:PassRole", "Targets.RoleArn": "iam:PassRole"},
    "AWS::Athena::WorkGroup": {
        "WorkGroupConfiguration.CustomerContentEncryptionConfiguration": "kms:*",
        "WorkGroupConfiguration.ManagedQueryResultsConfiguration.EncryptionConfiguration": "kms:*",
        "WorkGroupConfiguration.ExecutionRole": "iam:PassRole iam:CreateServiceLinkedRole",
        "WorkGroupConfiguration.ResultConfiguration": "s3:*",
    },
    "AWS::Glue::Database": {"DatabaseInput.FederatedDatabase": "glue:*Connection"},
}
#: Other permissions that the policy lacks, by reason.
LACKING = {
    "AWS::S3::Bucket": {
        "unknown to IAM; the permissions to put them also delete": (
            "s3:DeleteBucketEncryption s3:DeleteBucketLifecycle s3:DeleteBucketTagging"
        ),
    },
    "AWS::IAM::Role": {
        "a deployer must not remove the limit of a role": "iam:DeleteRolePermissionsBoundary",
    },
}
#: Permissions that the policy contains because of other requests of `up`.
GRANTED_ELSEWHERE = {
    "AWS::IAM::Role": "iam:AttachRolePolicy iam:DetachRolePolicy",
    "AWS::EMRServerless::Application": "iam:CreateServiceLinkedRole",
}


@cache
def template_resources() -> list[Any]:
    """Return the resources of all templates."""
    templates = [parse_template(read_template(name)) for name in TEMPLATES]
    return [one for template in templates for one in template["Resources"].values()]


def resources_of_type(kind: str) -> list[Any]:
    return [one for one in template_resources() if one["Type"] == kind]


def sets(value: Any, path: list[str]) -> bool:
    """Return whether properties of a template, in any case of their conditions, contain a path."""
    if isinstance(value, list):
        return any(sets(one, path) for one in value)
    if isinstance(value, dict) and "Fn::If" in value:
        return sets(value["Fn::If"][1:], path)
    if path and isinstance(value, dict):
        return path[0] in value and sets(value[path[0]], path[1:])
    return not path


def handler_permissions(kind: str, schema: Any) -> set[str]:
    """Return what CloudFormation needs to create, read, change, tag and delete resources of a type.

    It lists no resources of a type, and deletes none that is retained.
    """
    retained = all(one.get("DeletionPolicy") == "Retain" for one in resources_of_type(kind))
    operations = {"create", "read", "update"} | (set() if retained else {"delete"})
    handlers = [schema["handlers"][one] for one in operations & schema["handlers"].keys()]
    tagging = schema.get("tagging", {})
    if tagging.get("taggable"):
        handlers.append(tagging)
    return {permission for one in handlers for permission in one["permissions"]}


def type_actions(kind: str) -> set[str]:
    """Return the actions of the table for a type."""
    service, operations = TYPE_OPERATIONS.get(kind, ("", ""))
    found = [grant for one in operations.split() for grant in GRANTS[service, one]]
    return {
        action for grant in (*found, *TYPE_GRANTS.get(kind, ())) for action in grant.actions.split()
    }


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(TYPE_OPERATIONS.keys() | TYPE_GRANTS.keys()))
def test_policy_contains_the_permissions_of_cloudformations_handlers(kind: str) -> None:
    """Compare with the schemas of CloudFormation, as cfn-lint distributes them."""
    from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER

    schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("eu-west-1", kind).schema
    tagging = schema.get("tagging", {})
    tagged = tagging["tagProperty"] if tagging.get("taggable") else None
    assert tagged == (f"/properties/{TAG_PROPERTIES[kind]}" if kind in TAG_PROPERTIES else None)
    lacking = handler_permissions(kind, schema) - type_actions(kind)
    for name in UNSET_PROPERTIES.get(kind, ()):
        assert name.partition(".")[0] in schema["properties"]
        assert not any(sets(one["Properties"], name.split(".")) for one in resources_of_type(kind))
    excepted = {**UNSET_PROPERTIES.get(kind, {}), **LACKING.get(kind, {})}
    if elsewhere := GRANTED_ELSEWHERE.get(kind):
        granted = {one for more in VARIANTS.values() for one, *_ in grants(names(more + OPTIONS))}
        assert {*elsewhere.split()} <= granted
        excepted["elsewhere"] = elsewhere
    patterns = [pattern for one in excepted.values() for pattern in one.split()]
    assert {one for one in lacking if not any(fnmatchcase(one, it) for it in patterns)} == set()
    assert {it for it in patterns if not any(fnmatchcase(one, it) for one in lacking)} == set()


def test_paths_of_properties_are_found_in_each_case_of_a_condition() -> None:
    properties = {"A": {"Fn::If": ["Condition", [{"B": {"C": 1}}], {"Ref": "AWS::NoValue"}]}}
    assert sets(properties, ["A", "B", "C"])
    assert not sets(properties, ["A", "C"])


@pytest.mark.parametrize("kind", VARIANTS)
def test_policy_covers_the_resources_of_the_stack(kind: str) -> None:
    """Compare with the requests that create the resolved template."""
    types = {one["Type"] for one in template_resources()}
    assert types == TYPE_OPERATIONS.keys() | TYPE_GRANTS.keys()
    config_names = names(VARIANTS[kind] + OPTIONS)
    granted = {(action, resource) for action, resource, _ in grants(config_names)}
    actions = {action for action, _ in granted}
    for resource in stack_resources(config_names):
        assert type_actions(resource.type) <= actions
    for action, resource in granted:
        if action in ("iam:CreateRole", "iam:DeleteRole"):
            assert resource.startswith(f"arn:aws:iam::{ACCOUNT}:role/teams/fruits-")
        if action.startswith("glue:"):
            assert resource.endswith((":catalog", ":database/fruits"))


@pytest.mark.parametrize("kind", VARIANTS)
def test_table_has_each_service_that_the_requests_use(kind: str) -> None:
    requests = [*deployer_requests(names(VARIANTS[kind]))]
    assert {(one.service, one.operation) for one in requests} <= set(GRANTS)


def test_each_operation_of_the_table_is_used() -> None:
    configs = [*VARIANTS.values(), f'alarms.topic = "{TOPIC}"\n']
    requests = [one for more in configs for one in deployer_requests(names(more))]
    assert {(one.service, one.operation) for one in requests} == set(GRANTS)


TOPIC = f"arn:aws:sns:eu-west-1:{ACCOUNT}:operations"


def test_existing_topic_is_only_read() -> None:
    granted = [*grants(names(f'alarms.topic = "{TOPIC}"\n'))]
    assert [one for one in granted if one[0].startswith("sns:")] == [
        ("sns:GetTopicAttributes", TOPIC, {})
    ]


@pytest.mark.parametrize("kind", VARIANTS)
def test_roles_are_passed_only_to_their_service(kind: str) -> None:
    services = {
        "service": "elasticmapreduce.amazonaws.com",
        "nodes": "ec2.amazonaws.com",
        "job": "emr-serverless.amazonaws.com",
        "scheduler": "scheduler.amazonaws.com",
    }
    passed = [one for one in grants(names(VARIANTS[kind])) if one[0] == "iam:PassRole"]
    assert passed
    for _, resource, condition in passed:
        role = resource.removeprefix(f"arn:aws:iam::{ACCOUNT}:role/fruits-")
        assert condition == {"StringEquals": {"iam:PassedToService": services[role]}}


def test_keys_are_used_only_through_s3_for_uploads_and_logs() -> None:
    data, log, images = (f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/{one * 36}" for one in "abc")
    more = f'encryption = {{data_key = "{data}", log_key = "{log}", images_key = "{images}"}}\n'
    granted = [one for one in grants(names(more)) if one[0].startswith("kms:")]
    by_s3 = {"StringEquals": {"kms:ViaService": "s3.eu-west-1.amazonaws.com"}}
    assert sorted(granted, key=lambda one: one[:2]) == [
        ("kms:Decrypt", data, by_s3),
        ("kms:Decrypt", log, by_s3),
        ("kms:GenerateDataKey", data, by_s3),
    ]
    for action, key, _ in granted:
        assert [*statement_violations([action], [key], ["kms:ViaService"])] == []
    assert not [one for one in grants(names()) if one[0].startswith("kms:")]
    same = f'encryption = {{data_key = "{data}", log_key = "{data}"}}\n'
    assert len([one for one in grants(names(same)) if one[0].startswith("kms:")]) == 2


def test_deployer_of_jobs_may_use_the_key_of_their_logs() -> None:
    """Otherwise EMR Serverless rejects StartJobRun."""
    key = f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/{'b' * 36}"
    more = f'encryption.log_key = "{key}"\n'
    services = ["s3.eu-west-1.amazonaws.com", "emr-serverless.eu-west-1.amazonaws.com"]
    by_job = {"StringEquals": {"kms:ViaService": services}}
    granted = [*grants(names(VARIANTS["serverless"] + more))]
    for action in ("kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey"):
        assert (action, key, by_job) in granted
    assert not [one for one in grants(names(more)) if one[2] == by_job]


def test_only_roles_are_passed_also_below_a_path() -> None:
    granted = [*grants(names('roles.path = "/teams/"\n'))]
    passed = {resource for action, resource, _ in granted if action == "iam:PassRole"}
    roles = f"arn:aws:iam::{ACCOUNT}:role/"
    assert f"{roles}teams/fruits-nodes" in passed
    assert all(resource.startswith(roles) for resource in passed)


@pytest.mark.parametrize("kind", VARIANTS)
def test_only_roles_with_the_configured_boundary_get_permissions(kind: str) -> None:
    actions = ("CreateRole", "PutRolePolicy", "AttachRolePolicy", "PutRolePermissionsBoundary")
    bounded, unbounded = (
        {
            (action, resource): condition.get("StringEquals", {}).get("iam:PermissionsBoundary")
            for action, resource, condition in grants(names(VARIANTS[kind] + more))
            if action.removeprefix("iam:") in actions or "Boundary" in action
        }
        for more in (OPTIONS, "")
    )
    assert not [action for action, _ in unbounded if "Boundary" in action]
    assert {*unbounded.values()} == {None}
    assert {*bounded.values()} == {BOUNDARY}
    created = {resource for action, resource in bounded if action == "iam:CreateRole"}
    assert created
    assert {one for one in bounded if "Boundary" in one[0]} == {
        ("iam:PutRolePermissionsBoundary", resource) for resource in created
    }


@pytest.mark.parametrize("kind", VARIANTS)
def test_tags_of_new_roles_have_no_condition_on_the_boundary(kind: str) -> None:
    """`iam:TagRole` does not support it."""
    granted = [*grants(names(VARIANTS[kind] + OPTIONS))]
    tagged = {one: condition for action, one, condition in granted if action == "iam:TagRole"}
    created = {resource for action, resource, _ in granted if action == "iam:CreateRole"}
    assert tagged == {one: {} for one in created}


def test_notifications_are_configured_only_for_the_data_bucket() -> None:
    granted = [one[1] for one in grants(names()) if one[0] == "s3:PutBucketNotification"]
    assert granted == [f"arn:aws:s3:::fruits-data-{ACCOUNT}"]
    adopted = names('storage = {data_bucket = "pictures", data_bucket_exists = true}\n')
    assert not [one for one in grants(adopted) if one[0] == "s3:PutBucketNotification"]


#: Conditions of requests that create a resource, change one with the tag, and change one without another tag.
NEW = {"StringEquals": {"aws:RequestTag/pomona": "fruits"}}
OWN = {"StringEquals": {"aws:ResourceTag/pomona": "fruits"}}
OWN_CLUSTER = {"StringEquals": {"elasticmapreduce:ResourceTag/pomona": "fruits"}}
NOT_OF_OTHERS = {"StringEqualsIfExists": {"aws:ResourceTag/pomona": "fruits"}}
#: CloudFormation opens a new security group before it sets the tags. `aws:CalledVia` has several values, which need
#: the operator `ForAnyValue`.
BY_CLOUDFORMATION = {
    "ForAnyValue:StringEquals": {"aws:CalledVia": ["cloudformation.amazonaws.com"]},
    **NOT_OF_OTHERS,
}
#: The conditions of each kind of resource whose ARN is not known in advance.
CONDITIONS = {
    "cluster/*": [OWN_CLUSTER],
    "security-group/*": [OWN, BY_CLOUDFORMATION],
    "/applications/*": [OWN],
    "/jobruns/*": [OWN],
}
#: The conditions to set the tags of a new resource. Only CloudFormation creates applications.
NEW_CONDITIONS = {
    ("emr-serverless:TagResource", "/applications/*"): [OWN, NEW | BY_CLOUDFORMATION],
    ("emr-serverless:TagResource", "/jobruns/*"): [NEW | NOT_OF_OTHERS],
}


@pytest.mark.parametrize("kind", VARIANTS)
def test_changes_of_resources_without_known_arn_require_the_tag(kind: str) -> None:
    reading = ("Get", "List", "Describe")
    for action, resource, condition in grants(names(VARIANTS[kind])):
        name = action.partition(":")[2]
        # EMR's documentation names no condition for the auto-termination policy of a new cluster.
        if name.startswith((*reading, "PutAutoTerminationPolicy")):
            continue
        for suffix, accepted in CONDITIONS.items():
            if resource.endswith(suffix):
                expected = NEW_CONDITIONS.get((action, suffix), accepted)
                assert condition in expected, (action, resource)


@pytest.mark.parametrize("kind", VARIANTS)
def test_direct_requests_only_revoke_rules_of_security_groups(kind: str) -> None:
    direct: list[str] = []
    for one in statements(names(VARIANTS[kind])):
        of_group = any(arn.endswith("security-group/*") for arn in one["Resource"])
        if of_group and one["Condition"] != BY_CLOUDFORMATION:
            assert one["Condition"] == OWN
            direct += one["Action"]
    revoke = ["ec2:RevokeSecurityGroupEgress", "ec2:RevokeSecurityGroupIngress"]
    assert direct == ([] if "serverless" in kind else revoke)


def test_policy_beyond_size_limit_is_split() -> None:
    long = f'name = "{"a" * 30}"\nregion = "eu-west-1"\n'
    long += f'storage = {{data_bucket = "{"b" * 63}", log_bucket = "{"c" * 63}", lake = "{"d" * 200}/"}}\n'
    documents = deployer_policies(Names(parse_config(long.encode()), ACCOUNT))
    assert len(documents) == 2
    assert all(policy_size(one) <= SIZE_LIMIT for one in documents)
    sids = [one["Sid"] for document in documents for one in document["Statement"]]
    assert len(sids) == len({*sids})


@pytest.mark.parametrize("lake", ["emr/", "pomona-1/", "a/b/"])
def test_objects_are_limited_to_uploads_models_and_logs(lake: str) -> None:
    found = {resource for _, resource, _ in grants(names(f'storage.lake = "{lake}"'))}
    assert {
        arn.partition(":::")[2] for arn in found if arn.startswith("arn:aws:s3") and "/" in arn
    } == {
        f"fruits-data-{ACCOUNT}/pomona/*",
        f"fruits-data-{ACCOUNT}/{lake}models/*",
        f"fruits-data-{ACCOUNT}/jupyter/jovyan/pomona-*",
        f"fruits-log-{ACCOUNT}/emr/*",
    }


def test_policy_uses_the_partition_and_the_configured_names() -> None:
    more = 'storage.data_bucket = "pictures"\nnetwork.subnet = "subnet-12345678"\n'
    variant = Names(parse_config((MINIMAL + more).encode()), ACCOUNT, "aws-cn")
    arns = {resource for _, resource, _ in grants(variant)} - {"*"}
    roles = f"arn:aws-cn:iam::{ACCOUNT}:role/aws-service-role"
    assert f"{roles}/elasticmapreduce.amazonaws.com*" in arns  # with or without the suffix .cn
    assert all(arn.startswith("arn:aws-cn:") for arn in arns)
    assert "arn:aws-cn:s3:::pictures" in arns
    assert f"arn:aws-cn:ec2:eu-west-1:{ACCOUNT}:subnet/subnet-12345678" in arns
    conditions = [condition for action, _, condition in grants(variant) if action == "iam:PassRole"]
    assert {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com.cn"}} in conditions
