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
    """Requests for the log bucket and the data bucket, in their order."""
    return [
        *_bucket(names, names.log_bucket, "log bucket", log_rules(names)),
        *_bucket(names, names.data_bucket, "data bucket", data_rules(names)),
    ]


def tls_only_policy(names: Names, bucket: str) -> Parameters:
    """The policy that refuses whatever comes without TLS."""
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
    """What is deleted from the log bucket by itself."""
    days = names.config.storage.log_days
    return [
        _rule("logs", "", Expiration={"Days": days}, NoncurrentVersionExpiration=_after(1)),
        _rule("aborted-uploads", "", AbortIncompleteMultipartUpload={"DaysAfterInitiation": 7}),
    ]


def data_rules(names: Names) -> list[Parameters]:
    """What is deleted from the data bucket by itself: nothing that is current.

    A running stream renews its lease every ten seconds, and each time leaves a version behind.
    """
    lake = names.config.storage.lake
    return [
        _rule("aborted-uploads", "", AbortIncompleteMultipartUpload={"DaysAfterInitiation": 7}),
        _rule("replaced-versions", "", NoncurrentVersionExpiration=_after(30)),
        _rule("replaced-leases", f"{lake}lease.json", NoncurrentVersionExpiration=_after(1)),
    ]


def _rule(name: str, prefix: str, **actions: Any) -> Parameters:
    return {"ID": name, "Status": "Enabled", "Filter": {"Prefix": prefix}, **actions}


def _after(days: int) -> Parameters:
    return {"NoncurrentDays": days}


def _bucket(names: Names, bucket: str, called: str, rules: list[Parameters]) -> list[Request]:
    region = names.config.region
    create: Parameters = {"Bucket": bucket}
    if region != "us-east-1":  # which refuses to be named
        create["CreateBucketConfiguration"] = {"LocationConstraint": region}
    first = Request(
        name=called,
        service="s3",
        operation="create_bucket",
        parameters=create,
        why="images, lake and files lie in it" if called == "data bucket" else "EMR logs to it",
        find_current=lambda read: _owned_bucket(read, bucket),
    )
    lifecycle = {"Rules": sorted(rules, key=lambda rule: rule["ID"])}
    return [first] + [
        setting.request(bucket, called)
        for setting in (
            *_SETTINGS,
            _Setting("TLS only", "policy", "Policy", tls_only_policy(names, bucket), _TLS_WHY),
            _Setting("lifecycle", "lifecycle_configuration", "", lifecycle, _LIFECYCLE_WHY),
        )
    ]


@dataclass(frozen=True)
class _Setting:
    """One setting of a bucket: `put_bucket_<what>` and `get_bucket_<what>`."""

    called: str
    what: str
    key: str
    desired: Parameters
    why: str

    def request(self, bucket: str, called: str) -> Request:
        """The request that sets it."""
        middle = "" if self.what == "public_access_block" else "bucket_"
        put, get = f"put_{middle}{self.what}", f"get_{middle}{self.what}"
        value: Any = json.dumps(self.desired) if self.key == "Policy" else self.desired
        absent_codes = (_MISSING[self.what], "NoSuchBucket")

        def find_current(read: ReadApi) -> CurrentState | None:
            answer = read("s3", get, {"Bucket": bucket}, absent_codes)
            current = answer and self._current_value(answer)
            return CurrentState(current) if current else None

        return Request(
            name=f"{called}: {self.called}",
            service="s3",
            operation=put,
            parameters={"Bucket": bucket, (self.key or "LifecycleConfiguration"): value},
            why=self.why,
            find_current=find_current,
            desired=normalize_policy(self.desired) if self.key == "Policy" else self.desired,
            build_update=overwrite_with(put),
        )

    def _current_value(self, answer: Parameters) -> Any:
        """What S3 answers, in the form of what is put."""
        if self.key == "Policy":
            return normalize_policy(answer["Policy"])
        if not self.key:  # S3 keeps no order
            return {"Rules": sorted(answer["Rules"], key=lambda rule: str(rule.get("ID")))}
        if self.what == "versioning":  # a bucket that never had any answers nothing
            return {"Status": answer["Status"]} if "Status" in answer else None
        return answer.get(self.key)


_MISSING = {
    "policy": "NoSuchBucketPolicy",
    "lifecycle_configuration": "NoSuchLifecycleConfiguration",
    "public_access_block": "NoSuchPublicAccessBlockConfiguration",
    "ownership_controls": "OwnershipControlsNotFoundError",
    "encryption": "ServerSideEncryptionConfigurationNotFoundError",
    "versioning": "",
}
_TLS_WHY = "refuses requests that are not encrypted on their way"
_LIFECYCLE_WHY = "deletes old logs, aborted uploads and replaced versions, and nothing else"
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
        "no policy and no ACL can open it to the public",
    ),
    _Setting(
        "ownership",
        "ownership_controls",
        "OwnershipControls",
        {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]},
        "ACLs count for nothing: policies alone say who may",
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
        "what is overwritten or deleted by mistake can be brought back",
    ),
)


def _owned_bucket(read: ReadApi, bucket: str) -> CurrentState | None:
    """Whether the bucket is there and ours: names are unique in all of AWS."""
    try:
        answer = read("s3", "head_bucket", {"Bucket": bucket}, ("404", "NoSuchBucket"))
    except AccessDeniedError as error:
        raise CloudError(
            f"the bucket {bucket} is there and not open to you: name another one in [storage]"
        ) from error
    return None if answer is None else CurrentState(True)
