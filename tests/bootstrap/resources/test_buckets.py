"""Tests for `bootstrap.resources.buckets`: private, encrypted, versioned, TLS only, lifecycle rules."""

from __future__ import annotations

import json

import pytest

from bootstrap.aws.request import Request
from bootstrap.resources.buckets import bucket_requests
from support.aws.cluster_configs import names, parameters


def requests(bucket: str, more: str = "") -> list[Request]:
    return [
        request
        for request in bucket_requests(names(more))
        if request.name.startswith(f"{bucket} bucket")
    ]


@pytest.mark.parametrize("bucket", ["log", "data"])
def test_bucket_is_private_encrypted_and_versioned(bucket: str) -> None:
    sent = requests(bucket)
    access = parameters(sent, "put_public_access_block")["PublicAccessBlockConfiguration"]
    assert access == dict.fromkeys(
        ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True
    )
    (rule,) = parameters(sent, "put_bucket_encryption")["ServerSideEncryptionConfiguration"][
        "Rules"
    ]
    assert rule["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    versioning = parameters(sent, "put_bucket_versioning")["VersioningConfiguration"]
    assert versioning == {"Status": "Enabled"}


@pytest.mark.parametrize("bucket", ["log", "data"])
def test_requests_without_tls_are_denied(bucket: str) -> None:
    (statement,) = json.loads(parameters(requests(bucket), "put_bucket_policy")["Policy"])[
        "Statement"
    ]
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
    lifecycle = parameters(requests(bucket, more), "put_bucket_lifecycle_configuration")
    return {rule["ID"]: rule for rule in lifecycle["LifecycleConfiguration"]["Rules"]}


def test_lifecycle_rules_expire_logs_and_aborted_uploads() -> None:
    log_rules = rules("log", "storage.log_days = 7")
    assert log_rules["logs"]["Expiration"] == {"Days": 7}
    for bucket in ("log", "data"):
        aborted = rules(bucket)["aborted-uploads"]
        assert aborted["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}


def test_data_bucket_rules_keep_current_versions() -> None:
    for rule in rules("data").values():
        assert rule["Status"] == "Enabled"
        assert "Transitions" not in rule
        assert rule.get("Expiration") in (None, {"ExpiredObjectDeleteMarker": True})


@pytest.mark.parametrize("bucket", ["log", "data"])
def test_expired_delete_markers_and_noncurrent_versions_are_removed(bucket: str) -> None:
    whole = [rule for rule in rules(bucket).values() if rule["Filter"] == {"Prefix": ""}]
    assert [r for r in whole if r.get("Expiration") == {"ExpiredObjectDeleteMarker": True}]
    assert [rule for rule in whole if "NoncurrentVersionExpiration" in rule]


def test_location_constraint_is_omitted_for_us_east_1() -> None:
    create = parameters(requests("data"), "create_bucket")
    assert create["CreateBucketConfiguration"] == {"LocationConstraint": "eu-west-1"}
    from bootstrap.config.loader import parse_config
    from bootstrap.config.names import Names

    config = parse_config(b'name = "fruits"\nregion = "us-east-1"')
    for request in bucket_requests(Names(config)):
        assert "CreateBucketConfiguration" not in request.parameters
