"""Tests for the buckets: closed, encrypted, versioned, TLS alone, and nothing current is ever deleted."""

from __future__ import annotations

import json

import pytest

from bootstrap.aws.request import Request
from bootstrap.resources.buckets import bucket_requests
from support.cluster_configs import names, parameters


def of(bucket: str, more: str = "") -> list[Request]:
    return [one for one in bucket_requests(names(more)) if one.name.startswith(f"{bucket} bucket")]


@pytest.mark.parametrize("bucket", ["log", "data"])
def test_a_bucket_is_closed_encrypted_and_versioned(bucket: str) -> None:
    found = of(bucket)
    closed = parameters(found, "put_public_access_block")["PublicAccessBlockConfiguration"]
    assert closed == dict.fromkeys(
        ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True
    )
    (rule,) = parameters(found, "put_bucket_encryption")["ServerSideEncryptionConfiguration"][
        "Rules"
    ]
    assert rule["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    versioning = parameters(found, "put_bucket_versioning")["VersioningConfiguration"]
    assert versioning == {"Status": "Enabled"}


@pytest.mark.parametrize("bucket", ["log", "data"])
def test_whatever_comes_without_tls_is_refused(bucket: str) -> None:
    (statement,) = json.loads(parameters(of(bucket), "put_bucket_policy")["Policy"])["Statement"]
    arn = f"arn:aws:s3:::fruits-{bucket}-123456789012"
    assert statement == {
        "Sid": "TlsOnly",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [arn, f"{arn}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }


def rules(bucket: str, more: str = "") -> dict[str, dict[str, object]]:
    lifecycle = parameters(of(bucket, more), "put_bucket_lifecycle_configuration")
    return {rule["ID"]: rule for rule in lifecycle["LifecycleConfiguration"]["Rules"]}


def test_logs_are_deleted_after_their_days_and_uploads_that_were_given_up() -> None:
    found = rules("log", "storage.log_days = 7")
    assert found["logs"]["Expiration"] == {"Days": 7}
    for bucket in ("log", "data"):
        aborted = rules(bucket)["aborted-uploads"]
        assert aborted["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}


def test_nothing_current_is_deleted_from_the_data_bucket() -> None:
    for rule in rules("data").values():
        assert rule["Status"] == "Enabled"
        assert not {"Expiration", "Transitions"} & set(rule)


def test_a_region_is_named_but_for_the_one_that_refuses_it() -> None:
    create = parameters(of("data"), "create_bucket")
    assert create["CreateBucketConfiguration"] == {"LocationConstraint": "eu-west-1"}
    from bootstrap.config.loader import parse_config
    from bootstrap.config.names import Names

    config = parse_config(b'name = "fruits"\nregion = "us-east-1"')
    for request in bucket_requests(Names(config)):
        assert "CreateBucketConfiguration" not in request.parameters
