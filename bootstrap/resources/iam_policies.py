"""IAM policies: each statement with its purpose; docs/reference/iam-permissions.md lists them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from bootstrap.aws.request import Parameters
from bootstrap.config.names import Names

#: AWS managed policy for EMR's service role; it applies only to resources tagged with `rules.FOR_EMR`.
EMR_SERVICE_POLICY = "service-role/AmazonEMRServicePolicy_v2"


@dataclass(frozen=True)
class Statement:
    """An Allow statement of a policy."""

    sid: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    purpose: str
    condition: Parameters = field(default_factory=dict)

    def policy_document(self) -> Parameters:
        """Return the statement in the JSON form of IAM."""
        result: Parameters = {
            "Sid": self.sid,
            "Effect": "Allow",
            "Action": list(self.actions),
            "Resource": list(self.resources),
        }
        return result | ({"Condition": self.condition} if self.condition else {})


def policy_document(statements: list[Statement]) -> Parameters:
    """Return the policy with these statements."""
    return {
        "Version": "2012-10-17",
        "Statement": [statement.policy_document() for statement in statements],
    }


def normalize_policy(policy: Any) -> Any:
    """Return a policy in canonical form, for comparison.

    AWS may return a one-element list as a string, lists in another order, and a document as JSON text.
    """
    if isinstance(policy, str) and policy.startswith("{"):
        policy = json.loads(policy)
    if isinstance(policy, dict):
        return {key: normalize_policy(value) for key, value in policy.items()}
    if isinstance(policy, list):
        items = [normalize_policy(item) for item in policy]
        return items[0] if len(items) == 1 else sorted(items, key=json.dumps)
    return policy


def service_policy(names: Names) -> list[Statement]:
    """Return the inline policy of EMR's service role; `EMR_SERVICE_POLICY` is attached too."""
    return [
        Statement(
            "PassNodes",
            ("iam:PassRole",),
            (names.role_arn("nodes"),),
            "EMR may pass only the role of the nodes",
            {"StringEquals": {"iam:PassedToService": ec2_service(names)}},
        )
    ]


def scheduler_policy(names: Names) -> list[Statement]:
    """Return the policy of EventBridge Scheduler, which starts refits."""
    report = Statement(
        "ReportFailures",
        ("sqs:SendMessage",),
        (names.failed_refits_arn,),
        "the queue receives the starts that failed",
    )
    if names.config.mode == "serverless":
        return [*_start_jobs_policy(names), report]
    end = [
        Statement(
            "EndCluster",
            ("elasticmapreduce:TerminateJobFlows",),
            (names.arn("elasticmapreduce", "cluster/*"),),
            "limits.hours terminates a cluster of this configuration",
            {"StringEquals": {"elasticmapreduce:ResourceTag/pomona": names.config.name}},
        )
    ] * (names.config.limits.hours is not None)
    if not names.config.is_streaming:
        return [*_start_clusters_policy(names), *end, report]
    return [
        Statement(
            "AddRefit",
            ("elasticmapreduce:AddJobFlowSteps",),
            (names.arn("elasticmapreduce", "cluster/*"),),
            "a refit is a step of a cluster of this configuration, including clones",
            {"StringEquals": {"elasticmapreduce:ResourceTag/pomona": names.config.name}},
        ),
        *end,
        report,
    ]


def _start_jobs_policy(names: Names) -> list[Statement]:
    application = names.arn("emr-serverless", "/applications/${application.applicationId}")
    return [
        Statement(
            "StartRefit",
            ("emr-serverless:StartJobRun",),
            (application,),
            "a refit is a job of this application",
        ),
        Statement(
            "TagRefit",
            ("emr-serverless:TagResource",),
            (application, f"{application}/jobruns/*"),
            "StartJobRun with tags requires it; only this tag can be set",
            {"StringEquals": {"aws:RequestTag/pomona": names.config.name}},
        ),
        Statement(
            "PassJob",
            ("iam:PassRole",),
            (names.role_arn("job"),),
            "the job uses its own role",
            {"StringEquals": {"iam:PassedToService": "emr-serverless.amazonaws.com"}},
        ),
    ]


def _start_clusters_policy(names: Names) -> list[Statement]:
    condition = {"StringEquals": {"aws:RequestTag/pomona": names.config.name}}
    return [
        Statement(
            "StartCluster",
            ("elasticmapreduce:RunJobFlow", "elasticmapreduce:AddTags"),
            ("*",),
            "each run creates a cluster, which must have the tag; a new cluster has no ARN yet",
            condition,
        ),
        Statement(
            "PassService",
            ("iam:PassRole",),
            (names.role_arn("service"),),
            "EMR uses its service role",
            {"StringEquals": {"iam:PassedToService": emr_service(names)}},
        ),
        Statement(
            "PassNodes",
            ("iam:PassRole",),
            (names.role_arn("nodes"),),
            "the nodes use their own role",
            {"StringEquals": {"iam:PassedToService": ec2_service(names)}},
        ),
    ]


def evaluator_policy(names: Names) -> list[Statement]:
    """Return the policy of the evaluator: list and read images and lake."""
    bucket, prefix = names.images
    lake = names.config.storage.lake
    if bucket == names.data_bucket:
        buckets = [("ListData", bucket, prefix_condition(prefix, lake))]
    else:
        condition = prefix_condition(prefix) if prefix else {}
        buckets = [
            ("ListData", names.data_bucket, prefix_condition(lake)),
            ("ListImages", bucket, condition),
        ]
    list_statements = [
        Statement(
            sid,
            ("s3:ListBucket",),
            (names.bucket_arn(listed_bucket),),
            "results and images are found by listing; other prefixes cannot be listed",
            condition,
        )
        for sid, listed_bucket, condition in buckets
    ]
    return [
        *list_statements,
        locate_statement(names),
        Statement(
            "ReadData",
            ("s3:GetObject",),
            (
                *names.object_arns(bucket, prefix),
                *names.object_arns(names.data_bucket, lake),
            ),
            "results and the images they were computed from; no logs, no write access",
        ),
    ]


def locate_statement(names: Names) -> Statement:
    """Return the statement for the region of buckets; it has no condition on `s3:prefix`, which the request lacks."""
    return Statement(
        "Locate",
        ("s3:GetBucketLocation",),
        tuple(names.bucket_arn(one) for one in dict.fromkeys((names.data_bucket, names.images[0]))),
        "clients look up the region of a bucket",
    )


def prefix_condition(*prefixes: str) -> Parameters:
    """Return the condition that restricts a listing to these prefixes.

    S3 also checks it for the key of an absent object, and returns 403 instead of 404 if it does not match.
    """
    patterns = [pattern for prefix in prefixes for pattern in (prefix.rstrip("/"), f"{prefix}*")]
    return {"StringLike": {"s3:prefix": patterns}}


def dns_suffix(names: Names) -> str:
    """Return the DNS suffix of the partition, `AWS::URLSuffix` in templates."""
    return _dns_suffix(names.partition)


@cache
def _dns_suffix(partition: str) -> str:
    import botocore.session

    partitions = botocore.session.get_session().get_data("partitions")["partitions"]
    return str({one["id"]: one["outputs"]["dnsSuffix"] for one in partitions}[partition])


def ec2_service(names: Names) -> str:
    """Return the service principal of EC2, which differs in China."""
    return f"ec2.{_principal_suffix(names)}"


def emr_service(names: Names) -> str:
    """Return the service principal of EMR, which differs in China."""
    return f"elasticmapreduce.{_principal_suffix(names)}"


def _principal_suffix(names: Names) -> str:
    """Return the suffix of these principals, which differs from `amazonaws.com` only in China."""
    return "amazonaws.com.cn" if names.partition == "aws-cn" else "amazonaws.com"
