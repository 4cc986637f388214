"""Tests for the IAM policies: the documented statements are those sent, and allow no more than needed."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bootstrap.config.names import Names
from bootstrap.config.partition import region_partition
from bootstrap.config.schema import ClusterConfig, Ingest
from bootstrap.resources.iam_node_policies import node_policy
from bootstrap.resources.iam_policies import (
    dns_suffix,
    evaluator_policy,
    normalize_policy,
    policy_document,
    scheduler_policy,
    service_policy,
)
from bootstrap.resources.service_linked_roles import service_linked_role_requests
from bootstrap.resources.stack import read_template, template_parameters
from support.aws.cloudformation import Stack, parse_template
from support.aws.cluster_configs import VARIANTS, names

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "iam-permissions.md").read_text()

#: Configurations with the placeholders of the page.
PLAIN = Names(ClusterConfig(name="NAME", region="REGION"), account="ACCOUNT")
ONCE = Names(ClusterConfig(name="NAME", region="REGION", ingest=Ingest("once")), account="ACCOUNT")
SERVERLESS = Names(
    ClusterConfig(name="NAME", region="REGION", mode="serverless"), account="ACCOUNT"
)
#: Headings of the page, with the configuration that sends the policy.
SECTIONS = {
    "NAME-service": PLAIN,
    "NAME-nodes": PLAIN,
    "NAME-job (EMR Serverless)": SERVERLESS,
    "NAME-scheduler": PLAIN,
    'NAME-scheduler (ingest.mode = "once")': ONCE,
    "NAME-scheduler (EMR Serverless)": SERVERLESS,
    "NAME-evaluator": PLAIN,
}


def stack(names: Names) -> Stack:
    """Return the long-lived resources of a configuration."""
    parameters = template_parameters("long-lived", names)
    filled = {key: value for key, value in parameters.items() if value is not None}
    filled |= {"ApplicationId": "later", "ScheduleExpression": "rate(1 hour)"}
    return Stack(parse_template(read_template("long-lived")), filled, names.partition)


def sent_policies(names: Names) -> dict[str, Any]:
    """Return the policy document of each role of the template."""
    placeholders = {
        "123456789012": names.account,
        "eu-west-1": names.config.region,
        "later": APPLICATION,
    }
    result = {}
    for _, operation, parameters in stack(names).requests():
        if operation == "put_role_policy":
            text = parameters["PolicyDocument"]
            for written, placeholder in placeholders.items():
                text = text.replace(written, placeholder)
            result[parameters["RoleName"]] = json.loads(text)
    return result


APPLICATION = "${application.applicationId}"


def test_page_has_a_section_for_each_role() -> None:
    assert re.findall(r"^## (.*)$", PAGE, re.MULTILINE) == list(SECTIONS)
    for variant in (PLAIN, ONCE, SERVERLESS):
        assert set(sent_policies(variant)) <= {heading.split()[0] for heading in SECTIONS}


@pytest.mark.parametrize("heading", SECTIONS)
def test_page_lists_each_statement_as_sent(heading: str) -> None:
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line[:1] == "|"][2:]
    listed = [
        {
            "Sid": cells[0],
            "Effect": "Allow",
            "Action": re.findall(r"`([^`]+)`", cells[1]),
            "Resource": re.findall(r"`([^`]+)`", cells[2]),
        }
        for cells in rows
    ]
    policy = sent_policies(SECTIONS[heading])[heading.split()[0]]
    conditions = [statement.pop("Condition", {}) for statement in policy["Statement"]]
    assert listed == policy["Statement"]
    for line, condition in zip(section.splitlines()[-len(rows) :], conditions, strict=True):
        for operator, tests in condition.items():
            for key, values in tests.items():
                patterns = [values] if isinstance(values, str) else values
                expected = " or ".join(f"`{pattern}`" for pattern in patterns)
                assert f"| `{key}` {operator} {expected} |" in line


def sent(variant: str) -> dict[str, Any]:
    """Return the policy document that is sent for each role of a configuration."""
    return sent_policies(names(VARIANTS[variant]))


def test_policies_of_template_equal_statements() -> None:
    config_names = names()
    assert sent("stream") == {
        "fruits-service": policy_document(service_policy(config_names)),
        "fruits-nodes": policy_document(node_policy(config_names)),
        "fruits-evaluator": policy_document(evaluator_policy(config_names)),
        "fruits-scheduler": policy_document(scheduler_policy(config_names)),
    }
    assert set(sent("serverless")) == {"fruits-job", "fruits-evaluator", "fruits-scheduler"}


def statements(variant: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for role, policy in sent(variant).items():
        for statement in policy["Statement"]:
            yield role, statement


@pytest.mark.parametrize("variant", VARIANTS)
def test_statements_have_no_wildcard_actions_or_resources(variant: str) -> None:
    for role, one in statements(variant):
        assert one["Effect"] == "Allow"
        assert not [action for action in one["Action"] if "*" in action]
        if "*" in one["Resource"]:  # these actions support no narrower resource
            assert one["Sid"] in ("SessionManager", "StartCluster"), (role, one)


@pytest.mark.parametrize("variant", VARIANTS)
def test_pass_role_is_limited_to_service_and_role(variant: str) -> None:
    for _, one in statements(variant):
        if "iam:PassRole" in one["Action"]:
            assert "iam:PassedToService" in one["Condition"]["StringEquals"]
            assert all(":role/fruits-" in arn for arn in one["Resource"])


@pytest.mark.parametrize("variant", VARIANTS)
def test_evaluator_policy_is_read_only(variant: str) -> None:
    allowed = {
        action
        for role, one in statements(variant)
        if role == "fruits-evaluator"
        for action in one["Action"]
    }
    assert allowed == {"s3:ListBucket", "s3:GetBucketLocation", "s3:GetObject"}


@pytest.mark.parametrize("variant", VARIANTS)
def test_logs_can_only_be_written(variant: str) -> None:
    for role, one in statements(variant):
        if any("fruits-log-" in arn for arn in one["Resource"]):
            assert role in ("fruits-nodes", "fruits-job")
            assert one["Action"] == ["s3:PutObject"]


def test_evaluator_listing_is_limited_to_images_and_lake() -> None:
    """Compare the conditions as data, because moto does not evaluate them."""
    (listing,) = [
        one
        for role, one in statements("stream")
        if role == "fruits-evaluator" and "s3:ListBucket" in one["Action"]
    ]
    assert listing["Condition"] == {
        "StringLike": {"s3:prefix": ["images", "images/*", "lake", "lake/*"]}
    }
    separate = [
        one
        for role, one in statements("private")
        if role == "fruits-evaluator" and "s3:ListBucket" in one["Action"]
    ]
    assert {
        one["Resource"][0]: one["Condition"]["StringLike"]["s3:prefix"] for one in separate
    } == {
        "arn:aws:s3:::fruits-data-123456789012": ["lake", "lake/*"],
        "arn:aws:s3:::pictures": ["fruits", "fruits/*"],
    }


def test_separate_image_bucket_is_read_only() -> None:
    on_image_bucket = [
        (role, one)
        for role, one in statements("private")
        if any("::pictures" in arn for arn in one["Resource"])
    ]
    assert {role for role, _ in on_image_bucket} == {"fruits-nodes", "fruits-evaluator"}
    for _, one in on_image_bucket:
        assert set(one["Action"]) <= {"s3:ListBucket", "s3:GetBucketLocation", "s3:GetObject"}


KEYS = "".join(
    f'encryption.{name}_key = "arn:aws:kms:eu-west-1:123456789012:key/{digit * 36}"\n'
    for name, digit in (("data", "a"), ("log", "b"), ("images", "c"), ("disk", "d"))
)


@pytest.mark.parametrize("variant", VARIANTS)
def test_documented_key_policy_admits_each_use_of_a_key(variant: str) -> None:
    page = (Path(__file__).parents[3] / "docs" / "how-to" / "run-on-emr.md").read_text()
    documented = [json.loads(one) for one in re.findall(r"^```json\n(.*?)^```$", page, re.M | re.S)]
    uses = [
        (f"arn:aws:iam::123456789012:role/{role}", action, one["Condition"])
        for role, policy in sent_policies(names(VARIANTS[variant] + KEYS)).items()
        for one in policy["Statement"]
        for action in one["Action"]
        if action.startswith("kms:")
    ]
    assert uses
    for arn, action, condition in uses:
        used = condition["StringEquals"]["kms:ViaService"]
        assert any(
            arn in one["Condition"]["ArnEquals"]["aws:PrincipalArn"]
            and action in one["Action"]
            and {*([used] if isinstance(used, str) else used)}
            <= {*one["Condition"]["StringEquals"]["kms:ViaService"]}
            and condition.get("Bool") == one["Condition"].get("Bool")
            for one in documented
            if "kms:ViaService" in one["Condition"].get("StringEquals", {})
        ), (arn, action)


def trust_statements(variant: str, more: str = "") -> dict[str, Any]:
    return {
        parameters["RoleName"]: json.loads(parameters["AssumeRolePolicyDocument"])["Statement"]
        for _, operation, parameters in stack(names(VARIANTS[variant] + more)).requests()
        if operation == "create_role"
    }


@pytest.mark.parametrize(
    "storage",
    [
        "",
        'images = "a/b/"',
        'images = "s3://pictures/"',
        'images = "s3://pictures/a/"',
        'data_bucket = "mine"\nlake = "b/lake/"',
        'log_bucket = "mine"\nimages = "s3://pictures/a/"',
    ],
)
@pytest.mark.parametrize("action", ["s3:GetObject", "s3:ListBucket"])
def test_evaluator_reads_images_and_lake_only(storage: str, action: str) -> None:
    from moto.iam.access_control import IAMPolicy, PermissionResult

    config_names = names(f"[storage]\n{storage}\n")
    policy = policy_document(evaluator_policy(config_names))
    bucket, prefix = config_names.images
    data, lake = config_names.data_bucket, config_names.config.storage.lake
    readable = {(bucket, f"{prefix}Fig/a.jpg"), (data, f"{lake}features/a.parquet")}
    others = {
        *itertools.product((data, config_names.log_bucket), ("", "pomona/v1/submit.py", "jupyter/a.ipynb", "emr/a.gz")),
        (data, f"{lake.rstrip('/')}-2/a"), (data, "else/a"), (config_names.log_bucket, f"{lake}a"),
        *([(bucket, f"{prefix.rstrip('/')}-2/a")] if prefix else []),
    }  # fmt: skip
    if action == "s3:ListBucket":  # the prefixes are conditions, compared as data in another test
        readable, others = {(name, "") for name, _ in readable}, {(config_names.log_bucket, "")}
    for (name, key), expected in [
        *((one, True) for one in readable),
        *((one, False) for one in others),
    ]:
        arn = f"arn:aws:s3:::{name}/{key}".rstrip("/")
        for statement in policy["Statement"]:
            statement.pop("Condition", None)
        found = IAMPolicy(json.dumps(policy)).is_action_permitted(action, arn)
        assert (found == PermissionResult.PERMITTED) == expected, arn


@pytest.mark.parametrize("variant", VARIANTS)
def test_service_roles_are_limited_to_account_and_region(variant: str) -> None:
    for role, (statement,) in trust_statements(variant).items():
        if role in ("fruits-nodes", "fruits-evaluator"):
            continue
        condition = statement["Condition"]
        assert condition["StringEquals"] == {"aws:SourceAccount": "123456789012"}
        assert ":eu-west-1:123456789012:" in condition["ArnLike"]["aws:SourceArn"]
    services = {
        role: one[0]["Principal"].get("Service") for role, one in trust_statements(variant).items()
    }
    expected = {
        "fruits-service": "elasticmapreduce.amazonaws.com",
        "fruits-nodes": "ec2.amazonaws.com",
        "fruits-job": "emr-serverless.amazonaws.com",
        "fruits-scheduler": "scheduler.amazonaws.com",
        "fruits-evaluator": None,
    }
    assert services.items() <= expected.items()


def test_evaluator_principals_default_to_account() -> None:
    (statement,) = trust_statements("stream")["fruits-evaluator"]
    assert statement["Principal"] == {"AWS": ["arn:aws:iam::123456789012:root"]}
    alice = "arn:aws:iam::123456789012:user/alice"
    (statement,) = trust_statements("stream", f'evaluator.principals = ["{alice}"]')[
        "fruits-evaluator"
    ]
    assert statement["Principal"] == {"AWS": [alice]}
    assert statement["Action"] == "sts:AssumeRole"


@pytest.mark.parametrize(
    ("task", "nodes", "core", "spot"), [(0, 4, 4, False), (0, 5, 4, True), (2, 4, 4, True)]
)
def test_service_linked_role_of_spot_is_created_for_spot_nodes(
    task: int, nodes: int, core: int, spot: bool
) -> None:
    limits = f"instances.task = {task}\nlimits = {{nodes = {nodes}, core = {core}}}\n"
    requested = [request.name for request in service_linked_role_requests(names(limits))]
    assert ("role of spot.amazonaws.com" in requested) == spot


def test_china_partition_has_other_arns_and_ec2_principal() -> None:
    china = Names(names().config, "123456789012", "aws-cn")
    text = json.dumps(stack(china).requests())
    assert "arn:aws:" not in text
    assert "ec2.amazonaws.com.cn" in text


def test_china_partition_has_other_emr_principal_and_finds_either_service_linked_role() -> None:
    china = Names(ClusterConfig(name="fruits", region="cn-north-1"), "123456789012", "aws-cn")
    requests = {request.name: request for request in service_linked_role_requests(china)}
    (trust,) = [
        json.loads(parameters["AssumeRolePolicyDocument"])
        for _, operation, parameters in stack(china).requests()
        if operation == "create_role" and parameters["RoleName"] == "fruits-service"
    ]
    assert trust["Statement"][0]["Principal"] == {"Service": "elasticmapreduce.amazonaws.com.cn"}
    linked = requests["role of elasticmapreduce.amazonaws.com.cn"]
    assert linked.parameters == {"AWSServiceName": "elasticmapreduce.amazonaws.com.cn"}
    for service in ("elasticmapreduce.amazonaws.com", "elasticmapreduce.amazonaws.com.cn"):
        path = f"/aws-service-role/{service}/"

        def read(*query: Any, path: str = path) -> Any:
            return {"Roles": ["role"] if path.startswith(query[2]["PathPrefix"]) else []}

        assert linked.find_current(read)
    assert not linked.find_current(lambda *_: {"Roles": []})


def test_sovereign_cloud_has_other_host_names_but_the_same_principals() -> None:
    """IAM of this partition rejects ec2.amazonaws.eu, see https://github.com/pulumi/pulumi-eks/issues/2341."""
    config = ClusterConfig(name="fruits", region="eusc-de-east-1")
    sovereign = Names(config, "123456789012", region_partition(config.region))
    assert sovereign.partition == "aws-eusc"
    assert dns_suffix(sovereign) == "amazonaws.eu"
    assert dns_suffix(names()) == "amazonaws.com"
    text = json.dumps(stack(sovereign).requests())
    assert "arn:aws:" not in text
    principals = set(re.findall(r"[a-z0-9-]+\.amazonaws\.[a-z.]+", text))
    assert principals == {
        "ec2.amazonaws.com",
        "elasticmapreduce.amazonaws.com",
        "scheduler.amazonaws.com",
    }
    linked = [one.parameters["AWSServiceName"] for one in service_linked_role_requests(sovereign)]
    assert all(one.endswith(".amazonaws.com") for one in linked)


def test_normalize_policy_treats_equivalent_documents_as_equal() -> None:
    sent = {"Statement": [{"Action": ["a"], "Principal": {"AWS": ["x"]}, "Resource": ["r", "s"]}]}
    returned = {"Statement": {"Resource": ["s", "r"], "Action": "a", "Principal": {"AWS": "x"}}}
    other = {"Statement": {"Resource": ["s"], "Action": "a", "Principal": {"AWS": "x"}}}
    assert normalize_policy(sent) == normalize_policy(json.dumps(returned))
    assert normalize_policy(sent) != normalize_policy(other)
