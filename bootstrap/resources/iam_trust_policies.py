"""IAM trust policies: which service or user may assume which role."""

from __future__ import annotations

from typing import Any

from bootstrap.aws.request import Parameters
from bootstrap.config.names import Names
from bootstrap.resources.iam_policies import ec2_service


def service_trust_policy(service: str, names: Names, source: str) -> Parameters:
    """Return the trust policy for one AWS service, only on behalf of this account."""
    condition: dict[str, Any] = {"StringEquals": {"aws:SourceAccount": names.account}}
    if source:
        condition["ArnLike"] = {"aws:SourceArn": source}
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": service},
                "Action": "sts:AssumeRole",
                "Condition": condition,
            }
        ],
    }


def ec2_trust_policy(names: Names) -> Parameters:
    """Return the trust policy for EC2, which supports no source condition."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": ec2_service(names)},
                "Action": "sts:AssumeRole",
            }
        ],
    }


def evaluator_trust_policy(names: Names) -> Parameters:
    """Return the trust policy for the configured principals; default: the account, governed by its IAM policies."""
    own = f"arn:{names.partition}:iam::{names.account}:root"
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"AWS": list(names.config.evaluator.principals) or [own]},
                "Action": "sts:AssumeRole",
            }
        ],
    }
