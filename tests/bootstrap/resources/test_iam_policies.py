"""Tests for the IAM policies: the documented statements are those sent, and allow no more than needed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bootstrap.config.names import Names
from bootstrap.config.schema import ClusterConfig, Ingest
from bootstrap.resources.iam_node_policies import node_policy
from bootstrap.resources.iam_policies import (
    evaluator_policy,
    normalize_policy,
    policy_document,
    scheduler_policy,
    service_policy,
)
from bootstrap.resources.iam_roles import role_requests, scheduler_requests
from support.cluster_configs import VARIANTS, names

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


def sent_policies(found: Names) -> dict[str, Any]:
    """Return the policy document that is sent for each role."""
    return {
        request.parameters["RoleName"]: json.loads(request.parameters["PolicyDocument"])
        for request in [*role_requests(found), *scheduler_requests(found)]
        if request.operation == "put_role_policy"
    }


def test_page_has_a_section_for_each_role() -> None:
    assert re.findall(r"^## (.*)$", PAGE, re.MULTILINE) == list(SECTIONS)
    for found in (PLAIN, ONCE, SERVERLESS):
        assert set(sent_policies(found)) <= {heading.split()[0] for heading in SECTIONS}


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


def sent(kind: str) -> dict[str, Any]:
    """Return the policy document that is sent for each role of a configuration."""
    return sent_policies(names(VARIANTS[kind]))


def test_what_is_sent_is_what_the_statements_say() -> None:
    found = names()
    assert sent("stream") == {
        "fruits-service": policy_document(service_policy(found)),
        "fruits-nodes": policy_document(node_policy(found)),
        "fruits-evaluator": policy_document(evaluator_policy(found)),
        "fruits-scheduler": policy_document(scheduler_policy(found)),
    }
    assert set(sent("serverless")) == {"fruits-job", "fruits-evaluator", "fruits-scheduler"}


def statements(kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for role, policy in sent(kind).items():
        for statement in policy["Statement"]:
            yield role, statement


@pytest.mark.parametrize("kind", VARIANTS)
def test_no_statement_allows_whole_services_or_everything(kind: str) -> None:
    for role, one in statements(kind):
        assert one["Effect"] == "Allow"
        assert not [action for action in one["Action"] if "*" in action]
        if "*" in one["Resource"]:  # where the actions know no narrower resource
            assert one["Sid"] in ("SessionManager", "StartCluster"), (role, one)


@pytest.mark.parametrize("kind", VARIANTS)
def test_a_role_is_passed_only_to_the_service_it_is_for(kind: str) -> None:
    for _, one in statements(kind):
        if "iam:PassRole" in one["Action"]:
            assert "iam:PassedToService" in one["Condition"]["StringEquals"]
            assert all(":role/fruits-" in arn for arn in one["Resource"])


@pytest.mark.parametrize("kind", VARIANTS)
def test_the_evaluator_only_lists_and_reads(kind: str) -> None:
    allowed = {
        action
        for role, one in statements(kind)
        if role == "fruits-evaluator"
        for action in one["Action"]
    }
    assert allowed == {"s3:ListBucket", "s3:GetBucketLocation", "s3:GetObject"}


@pytest.mark.parametrize("kind", VARIANTS)
def test_nobody_may_read_or_delete_logs(kind: str) -> None:
    for role, one in statements(kind):
        if any("fruits-log-" in arn for arn in one["Resource"]):
            assert role in ("fruits-nodes", "fruits-job")
            assert one["Action"] == ["s3:PutObject"]


def test_the_evaluator_sees_only_images_and_lake_in_a_listing() -> None:
    """A condition, which moto ignores: so it is looked at as data."""
    (listing,) = [
        one
        for role, one in statements("stream")
        if role == "fruits-evaluator" and "s3:ListBucket" in one["Action"]
    ]
    assert listing["Condition"] == {
        "StringLike": {"s3:prefix": ["images", "images/*", "lake", "lake/*"]}
    }
    apart = [
        one
        for role, one in statements("private")
        if role == "fruits-evaluator" and "s3:ListBucket" in one["Action"]
    ]
    assert {one["Resource"][0]: one["Condition"]["StringLike"]["s3:prefix"] for one in apart} == {
        "arn:aws:s3:::fruits-data-123456789012": ["lake", "lake/*"],
        "arn:aws:s3:::pictures": ["fruits", "fruits/*"],
    }


def test_images_in_a_bucket_of_their_own_are_read_and_nothing_else_there() -> None:
    there = [
        (role, one)
        for role, one in statements("private")
        if any("::pictures" in arn for arn in one["Resource"])
    ]
    assert {role for role, _ in there} == {"fruits-nodes", "fruits-evaluator"}
    for _, one in there:
        assert set(one["Action"]) <= {"s3:ListBucket", "s3:GetBucketLocation", "s3:GetObject"}


def trusts(kind: str, more: str = "") -> dict[str, Any]:
    found = names(VARIANTS[kind] + more)
    return {
        one.parameters["RoleName"]: json.loads(one.parameters["AssumeRolePolicyDocument"])[
            "Statement"
        ]
        for one in [*role_requests(found), *scheduler_requests(found)]
        if one.operation == "create_role"
    }


@pytest.mark.parametrize("kind", VARIANTS)
def test_services_take_their_roles_on_behalf_of_this_account_alone(kind: str) -> None:
    for role, (statement,) in trusts(kind).items():
        if role in ("fruits-nodes", "fruits-evaluator"):
            continue
        condition = statement["Condition"]
        assert condition["StringEquals"] == {"aws:SourceAccount": "123456789012"}
        assert ":eu-west-1:123456789012:" in condition["ArnLike"]["aws:SourceArn"]
    services = {role: one[0]["Principal"].get("Service") for role, one in trusts(kind).items()}
    expected = {
        "fruits-service": "elasticmapreduce.amazonaws.com",
        "fruits-nodes": "ec2.amazonaws.com",
        "fruits-job": "emr-serverless.amazonaws.com",
        "fruits-scheduler": "scheduler.amazonaws.com",
        "fruits-evaluator": None,
    }
    assert services.items() <= expected.items()


def test_the_evaluators_role_is_for_those_named_or_for_the_account() -> None:
    (statement,) = trusts("stream")["fruits-evaluator"]
    assert statement["Principal"] == {"AWS": ["arn:aws:iam::123456789012:root"]}
    alice = "arn:aws:iam::123456789012:user/alice"
    (statement,) = trusts("stream", f'evaluator.principals = ["{alice}"]')["fruits-evaluator"]
    assert statement["Principal"] == {"AWS": [alice]}
    assert statement["Action"] == "sts:AssumeRole"


def test_china_has_its_own_arns_and_its_own_ec2() -> None:
    found = Names(names().config, "123456789012", "aws-cn")
    told = json.dumps([one.parameters for one in role_requests(found)])
    assert "arn:aws:" not in told
    assert "ec2.amazonaws.com.cn" in told


def test_what_aws_writes_otherwise_and_means_the_same_is_the_same() -> None:
    sent = {"Statement": [{"Action": ["a"], "Principal": {"AWS": ["x"]}, "Resource": ["r", "s"]}]}
    told = {"Statement": {"Resource": ["s", "r"], "Action": "a", "Principal": {"AWS": "x"}}}
    other = {"Statement": {"Resource": ["s"], "Action": "a", "Principal": {"AWS": "x"}}}
    assert normalize_policy(sent) == normalize_policy(json.dumps(told))
    assert normalize_policy(sent) != normalize_policy(other)


@pytest.mark.parametrize("kind", VARIANTS)
def test_a_role_is_found_as_wanted_however_aws_writes_its_documents(kind: str) -> None:
    for request in role_requests(names(VARIANTS[kind])):
        if request.operation in ("create_role", "put_role_policy"):
            key = (
                "AssumeRolePolicyDocument"
                if request.operation == "create_role"
                else "PolicyDocument"
            )
            policy = json.loads(request.parameters[key])
            for one in policy["Statement"]:
                for part in ("Action", "Resource"):
                    if isinstance(one.get(part), list):
                        one[part] = one[part][0] if len(one[part]) == 1 else one[part][::-1]
            answer = {key: policy, "Role": {key: policy}}
            found = request.find_current(lambda *_, answer=answer: answer)
            assert found is not None
            assert found.current == request.desired
