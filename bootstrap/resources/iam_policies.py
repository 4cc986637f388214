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

    def policy_document(self) -> Parameters:
        """The statement as IAM takes it."""
        result: Parameters = {
            "Sid": self.sid,
            "Effect": "Allow",
            "Action": list(self.actions),
            "Resource": list(self.resources),
        }
        return result | ({"Condition": self.condition} if self.condition else {})


def policy_document(statements: list[Statement]) -> Parameters:
    """A policy."""
    return {
        "Version": "2012-10-17",
        "Statement": [statement.policy_document() for statement in statements],
    }


def normalize_policy(patterns: Any) -> Any:
    """A policy in the one form in which two that mean the same are equal.

    AWS may answer a text for a list of one, lists in another order, and text of JSON for a document.
    """
    if isinstance(patterns, str) and patterns.startswith("{"):
        patterns = json.loads(patterns)
    if isinstance(patterns, dict):
        return {key: normalize_policy(value) for key, value in patterns.items()}
    if isinstance(patterns, list):
        inner = [normalize_policy(one) for one in patterns]
        return inner[0] if len(inner) == 1 else sorted(inner, key=lambda one: json.dumps(one))
    return patterns


def service_policy(names: Names) -> list[Statement]:
    """EMR's service role, beside `EMR_SERVICE_POLICY`."""
    return [
        Statement(
            "PassNodes",
            ("iam:PassRole",),
            (names.role_arn("nodes"),),
            "EMR gives the nodes their role, and no other role to anything",
            {"StringEquals": {"iam:PassedToService": ec2_service(names)}},
        )
    ]


def scheduler_policy(names: Names) -> list[Statement]:
    """EventBridge Scheduler, which starts refits."""
    if names.config.mode == "serverless":
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
                (names.role_arn("job"),),
                "the job runs as its own role",
                {"StringEquals": {"iam:PassedToService": "emr-serverless.amazonaws.com"}},
            ),
        ]
    if not names.config.is_streaming:
        return _start_clusters_policy(names)
    return [
        Statement(
            "AddRefit",
            ("elasticmapreduce:AddJobFlowSteps",),
            (names.arn("elasticmapreduce", "cluster/*"),),
            "a refit is a step of a cluster of this description, a cloned one too",
            {"StringEquals": {"elasticmapreduce:ResourceTag/pomona": names.config.name}},
        )
    ]


def _start_clusters_policy(names: Names) -> list[Statement]:
    tagged = {"StringEquals": {"aws:RequestTag/pomona": names.config.name}}
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
            (names.role_arn("service"),),
            "EMR acts as its own role",
            {"StringEquals": {"iam:PassedToService": "elasticmapreduce.amazonaws.com"}},
        ),
        Statement(
            "PassNodes",
            ("iam:PassRole",),
            (names.role_arn("nodes"),),
            "the nodes act as theirs",
            {"StringEquals": {"iam:PassedToService": ec2_service(names)}},
        ),
    ]


def evaluator_policy(names: Names) -> list[Statement]:
    """Who evaluates: lists and reads images and lake, and nothing else."""
    bucket, prefix = names.images
    lake = names.config.storage.lake
    if bucket == names.data_bucket:
        listed = [((names.bucket_arn(bucket),), prefix_condition(prefix, lake), "")]
    else:
        condition = prefix_condition(prefix) if prefix else {}
        listed = [
            ((names.bucket_arn(names.data_bucket),), prefix_condition(lake), ""),
            ((names.bucket_arn(bucket),), condition, "Images"),
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
            (names.bucket_arn(names.data_bucket),),
            "readers ask in which region a bucket is",
        ),
        Statement(
            "ReadData",
            ("s3:GetObject",),
            (
                names.bucket_arn(bucket, f"{prefix}*"),
                names.bucket_arn(names.data_bucket, f"{lake}*"),
            ),
            "results, and the images they were made of; not the logs, and no writing anywhere",
        ),
    ]


def prefix_condition(*prefixes: str) -> Parameters:
    """The condition that a listing asks for nothing but what lies below these prefixes."""
    patterns = [each for prefix in prefixes for each in (prefix.rstrip("/"), f"{prefix}*")]
    return {"StringLike": {"s3:prefix": patterns}}


def ec2_service(names: Names) -> str:
    """EC2 as IAM knows it, which in China has another name."""
    return "ec2.amazonaws.com.cn" if names.partition == "aws-cn" else "ec2.amazonaws.com"
