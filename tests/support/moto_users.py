"""Users of the stand-in for AWS, and the switch that makes it ask everyone who they are."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import boto3


def create_user(name: str, actions: list[str], buckets: list[str]) -> dict[str, str]:
    """Make a user who may do only this, and only there; their key as variables of the environment."""
    iam = boto3.client("iam")
    iam.create_user(UserName=name)
    on = [f"arn:aws:s3:::{bucket}{objects}" for bucket in buckets for objects in ("", "/*")]
    allow = {"Effect": "Allow", "Action": actions, "Resource": on}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    iam.put_user_policy(UserName=name, PolicyName="allow", PolicyDocument=policy)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return {
        "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
    }


@contextmanager
def enforce_iam(endpoint: str) -> Iterator[None]:
    """While the block runs, a request needs a known key, a good signature and a policy that allows it."""
    _free_calls(endpoint, "0")
    try:
        yield
    finally:
        _free_calls(endpoint, "inf")


def _free_calls(endpoint: str, number: str) -> None:
    text = {"Content-Type": "text/plain"}
    request = urllib.request.Request(f"{endpoint}/moto-api/reset-auth", number.encode(), text)
    urllib.request.urlopen(request).close()
