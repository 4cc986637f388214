"""The two S3 buckets: encrypted, versioned, private, TLS only, with lifecycle rules."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from bootstrap.aws.request import CurrentState, Parameters, ReadApi, Request, overwrite_with
from bootstrap.config.names import Names
from bootstrap.errors import AccessDeniedError, CloudError
from bootstrap.resources.iam_policies import normalize_policy


def bucket_requests(names: Names) -> list[Request]:
    """Return the requests for the log bucket and the data bucket."""
    return [
        *_bucket(names, names.log_bucket, "log bucket", log_rules(names)),
        *_bucket(names, names.data_bucket, "data bucket", data_rules(names)),
    ]


def tls_only_policy(names: Names, bucket: str) -> Parameters:
    """Return the bucket policy that denies requests without TLS."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "TlsOnly",
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:*",
                "Resource": [names.bucket_arn(bucket), names.bucket_arn(bucket, "*")],
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            }
        ],
    }


def log_rules(names: Names) -> list[Parameters]:
    """Return the lifecycle rules of the log bucket."""
    days = names.config.storage.log_days
    return [
        _delete_markers(),
        _rule(
            "logs", "", Expiration={"Days": days}, NoncurrentVersionExpiration=_noncurrent_days(1)
        ),
        _rule("aborted-uploads", "", AbortIncompleteMultipartUpload={"DaysAfterInitiation": 7}),
    ]


def data_rules(names: Names) -> list[Parameters]:
    """Return the lifecycle rules of the data bucket; no current version expires.

    A running stream renews its lease every ten seconds, and each renewal leaves a noncurrent version.
    """
    lake = names.config.storage.lake
    return [
        _delete_markers(),
        _rule("aborted-uploads", "", AbortIncompleteMultipartUpload={"DaysAfterInitiation": 7}),
        _rule("replaced-versions", "", NoncurrentVersionExpiration=_noncurrent_days(30)),
        _rule(
            "replaced-leases", f"{lake}lease.json", NoncurrentVersionExpiration=_noncurrent_days(1)
        ),
    ]


def _rule(name: str, prefix: str, **actions: Any) -> Parameters:
    return {"ID": name, "Status": "Enabled", "Filter": {"Prefix": prefix}, **actions}


def _delete_markers() -> Parameters:
    """Return the rule that removes delete markers without versions, which S3A and Delta leave behind."""
    return _rule("expired-delete-markers", "", Expiration={"ExpiredObjectDeleteMarker": True})


def _noncurrent_days(days: int) -> Parameters:
    return {"NoncurrentDays": days}


def _bucket(names: Names, bucket: str, label: str, rules: list[Parameters]) -> list[Request]:
    region = names.config.region
    create: Parameters = {"Bucket": bucket}
    if region != "us-east-1":  # rejected as a LocationConstraint
        create["CreateBucketConfiguration"] = {"LocationConstraint": region}
    create_request = Request(
        name=label,
        service="s3",
        operation="create_bucket",
        parameters=create,
        purpose="holds images, lake and uploads"
        if label == "data bucket"
        else "holds the EMR logs",
        find_current=lambda read: _owned_bucket(read, bucket, names.account),
    )
    lifecycle = {"Rules": sorted(rules, key=lambda rule: rule["ID"])}
    return [create_request] + [
        setting.request(bucket, label)
        for setting in (
            *_SETTINGS,
            _Setting("TLS only", "policy", "Policy", tls_only_policy(names, bucket), _TLS_PURPOSE),
            _Setting("lifecycle", "lifecycle_configuration", "", lifecycle, _LIFECYCLE_PURPOSE),
        )
    ]


@dataclass(frozen=True)
class _Setting:
    """A bucket setting, written by `put_bucket_<suffix>` and read by `get_bucket_<suffix>`."""

    name: str
    suffix: str
    key: str
    desired: Parameters
    purpose: str

    def request(self, bucket: str, label: str) -> Request:
        """Return the request that writes the setting to a bucket."""
        prefix = "" if self.suffix == "public_access_block" else "bucket_"
        put, get = f"put_{prefix}{self.suffix}", f"get_{prefix}{self.suffix}"
        value: Any = json.dumps(self.desired) if self.key == "Policy" else self.desired
        absent_codes = (_ABSENT_CODES[self.suffix], "NoSuchBucket")

        def find_current(read: ReadApi) -> CurrentState | None:
            """Read the current setting of the bucket."""
            response = read("s3", get, {"Bucket": bucket}, absent_codes)
            current = response and self._current_value(response)
            return CurrentState(current) if current else None

        return Request(
            name=f"{label}: {self.name}",
            service="s3",
            operation=put,
            parameters={"Bucket": bucket, (self.key or "LifecycleConfiguration"): value},
            purpose=self.purpose,
            find_current=find_current,
            desired=normalize_policy(self.desired) if self.key == "Policy" else self.desired,
            build_update=overwrite_with(put),
        )

    def _current_value(self, response: Parameters) -> Any:
        """Return the response of S3 in the form of the request."""
        if self.key == "Policy":
            return normalize_policy(response["Policy"])
        if not self.key:  # S3 does not keep the order
            return {"Rules": sorted(response["Rules"], key=lambda rule: str(rule.get("ID")))}
        if self.suffix == "versioning":  # empty if versioning was never enabled
            return {"Status": response["Status"]} if "Status" in response else None
        return response.get(self.key)


_ABSENT_CODES = {
    "policy": "NoSuchBucketPolicy",
    "lifecycle_configuration": "NoSuchLifecycleConfiguration",
    "public_access_block": "NoSuchPublicAccessBlockConfiguration",
    "ownership_controls": "OwnershipControlsNotFoundError",
    "encryption": "ServerSideEncryptionConfigurationNotFoundError",
    "versioning": "",
}
_TLS_PURPOSE = "denies requests without TLS"
_LIFECYCLE_PURPOSE = "expires old logs, aborted uploads, noncurrent versions and delete markers"
_SETTINGS = (
    _Setting(
        "public access",
        "public_access_block",
        "PublicAccessBlockConfiguration",
        {
            "BlockPublicAcls": True,
            "IgnorePublicAcls": True,
            "BlockPublicPolicy": True,
            "RestrictPublicBuckets": True,
        },
        "blocks public policies and ACLs",
    ),
    _Setting(
        "ownership",
        "ownership_controls",
        "OwnershipControls",
        {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]},
        "ACLs are disabled: only policies grant access",
    ),
    _Setting(
        "encryption",
        "encryption",
        "ServerSideEncryptionConfiguration",
        {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]},
        "all objects are encrypted at rest",
    ),
    _Setting(
        "versioning",
        "versioning",
        "VersioningConfiguration",
        {"Status": "Enabled"},
        "overwritten or deleted objects can be restored",
    ),
)


def _owned_bucket(read: ReadApi, bucket: str, account: str) -> CurrentState | None:
    """Return whether the bucket exists and belongs to the account: bucket names are globally unique."""
    try:
        response = read("s3", "head_bucket", {"Bucket": bucket}, ("404", "NoSuchBucket"))
    except AccessDeniedError as error:
        raise CloudError(
            f"the bucket {bucket} exists, but it does not belong to account {account}, or you lack the permission "
            "s3:ListBucket: set another one in [storage], or request this permission"
        ) from error
    return None if response is None else CurrentState(True)
