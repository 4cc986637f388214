"""IAM users of the moto server, and enforcement of their policies."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import boto3


def create_user(name: str, actions: list[str], buckets: list[str]) -> dict[str, str]:
    """Create a user with these permissions on these buckets; return its credentials as environment variables."""
    resources = [f"arn:aws:s3:::{bucket}{objects}" for bucket in buckets for objects in ("", "/*")]
    allow = {"Effect": "Allow", "Action": actions, "Resource": resources}
    return create_user_with_policy(name, {"Version": "2012-10-17", "Statement": [allow]})


def create_user_with_policy(name: str, policy: Mapping[str, Any]) -> dict[str, str]:
    """Create a user with exactly this policy; return its credentials as environment variables."""
    iam = boto3.client("iam")
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName="allow", PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return {
        "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
    }


@contextmanager
def enforce_iam(endpoint: str) -> Iterator[None]:
    """Require valid credentials, signatures and permissions for all requests while the block runs."""
    _set_unauthenticated_requests(endpoint, "0")
    try:
        yield
    finally:
        _set_unauthenticated_requests(endpoint, "inf")


def _set_unauthenticated_requests(endpoint: str, number: str) -> None:
    headers = {"Content-Type": "text/plain"}
    request = urllib.request.Request(f"{endpoint}/moto-api/reset-auth", number.encode(), headers)
    urllib.request.urlopen(request).close()
