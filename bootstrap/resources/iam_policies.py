"""IAM policies: each statement with its purpose; `ARCHITECTURE.md` lists them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from bootstrap.aws.request import Parameters
from bootstrap.config.names import Names

#: Amazon's own policy for EMR's service role; it reaches only what carries `FOR_EMR`.
EMR_SERVICE_POLICY = "service-role/AmazonEMRServicePolicy_v2"
FOR_EMR = {"Key": "for-use-with-amazon-emr-managed-policies", "Value": "true"}


@dataclass(frozen=True)
class Statement:
    """One statement that allows something."""

    sid: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    why: str
    condition: Parameters = field(default_factory=dict)

    def document(self) -> Parameters:
        """The statement as IAM takes it."""
        made: Parameters = {
            "Sid": self.sid,
            "Effect": "Allow",
            "Action": list(self.actions),
            "Resource": list(self.resources),
        }
        return made | ({"Condition": self.condition} if self.condition else {})


def document(statements: list[Statement]) -> Parameters:
    """A policy."""
    return {
        "Version": "2012-10-17",
        "Statement": [statement.document() for statement in statements],
    }


def comparable_policy(told: Any) -> Any:
    """A policy in the one form in which two that mean the same are equal.

    AWS may answer a text for a list of one, lists in another order, and text of JSON for a document.
    """
    if isinstance(told, str) and told.startswith("{"):
        told = json.loads(told)
    if isinstance(told, dict):
        return {key: comparable_policy(value) for key, value in told.items()}
    if isinstance(told, list):
        inner = [comparable_policy(one) for one in told]
        return inner[0] if len(inner) == 1 else sorted(inner, key=lambda one: json.dumps(one))
    return told


def service_statements(names: Names) -> list[Statement]:
    """EMR's service role, beside `EMR_SERVICE_POLICY`."""
    return [
        Statement(
            "PassNodes",
            ("iam:PassRole",),
            (names.role("nodes"),),
            "EMR gives the nodes their role, and no other role to anything",
            {"StringEquals": {"iam:PassedToService": ec2(names)}},
        )
    ]


def scheduler_statements(names: Names) -> list[Statement]:
    """EventBridge Scheduler, which starts refits."""
    if names.description.mode == "serverless":
        return [
            Statement(
                "StartRefit",
                ("emr-serverless:StartJobRun",),
                (names.arn("emr-serverless", "/applications/${application.applicationId}"),),
                "a refit is a job of this one application",
            ),
            Statement(
                "PassJob",
                ("iam:PassRole",),
                (names.role("job"),),
                "the job runs as its own role",
                {"StringEquals": {"iam:PassedToService": "emr-serverless.amazonaws.com"}},
            ),
        ]
    if not names.description.endless:
        return _starting_clusters(names)
    return [
        Statement(
            "AddRefit",
            ("elasticmapreduce:AddJobFlowSteps",),
            (names.arn("elasticmapreduce", "cluster/*"),),
            "a refit is a step of a cluster of this description, a cloned one too",
            {"StringEquals": {"elasticmapreduce:ResourceTag/pomona": names.description.name}},
        )
    ]


def _starting_clusters(names: Names) -> list[Statement]:
    tagged = {"StringEquals": {"aws:RequestTag/pomona": names.description.name}}
    return [
        Statement(
            "StartCluster",
            ("elasticmapreduce:RunJobFlow", "elasticmapreduce:AddTags"),
            ("*",),
            "each run is a cluster of its own, which must carry our tag; a new one has no ARN yet",
            tagged,
        ),
        Statement(
            "PassService",
            ("iam:PassRole",),
            (names.role("service"),),
            "EMR acts as its own role",
            {"StringEquals": {"iam:PassedToService": "elasticmapreduce.amazonaws.com"}},
        ),
        Statement(
            "PassNodes",
            ("iam:PassRole",),
            (names.role("nodes"),),
            "the nodes act as theirs",
            {"StringEquals": {"iam:PassedToService": ec2(names)}},
        ),
    ]


def evaluator_statements(names: Names) -> list[Statement]:
    """Who evaluates: lists and reads images and lake, and nothing else."""
    bucket, prefix = names.images
    lake = names.description.storage.lake
    if bucket == names.data:
        listed = [((names.bucket(bucket),), only_below(prefix, lake), "")]
    else:
        condition = only_below(prefix) if prefix else {}
        listed = [
            ((names.bucket(names.data),), only_below(lake), ""),
            ((names.bucket(bucket),), condition, "Images"),
        ]
    lists = [
        Statement(
            f"List{which}" if which else "ListData",
            ("s3:ListBucket",),
            where,
            "results and images are found by listing; what lies beside them is not shown",
            condition,
        )
        for where, condition, which in listed
    ]
    return [
        *lists,
        Statement(
            "Locate",
            ("s3:GetBucketLocation",),
            (names.bucket(names.data),),
            "readers ask in which region a bucket is",
        ),
        Statement(
            "ReadData",
            ("s3:GetObject",),
            (names.bucket(bucket, f"{prefix}*"), names.bucket(names.data, f"{lake}*")),
            "results, and the images they were made of; not the logs, and no writing anywhere",
        ),
    ]


def only_below(*prefixes: str) -> Parameters:
    """The condition that a listing asks for nothing but what lies below these prefixes."""
    told = [each for prefix in prefixes for each in (prefix.rstrip("/"), f"{prefix}*")]
    return {"StringLike": {"s3:prefix": told}}


def ec2(names: Names) -> str:
    """EC2 as IAM knows it, which in China has another name."""
    return "ec2.amazonaws.com.cn" if names.partition == "aws-cn" else "ec2.amazonaws.com"
