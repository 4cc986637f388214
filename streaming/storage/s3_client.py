"""The boto3 client of the process, and the credentials, region and endpoint that S3A and delta-rs share with it."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import boto3
import botocore.exceptions
import botocore.session
from botocore.config import Config
from botocore.utils import IMDSRegionProvider

from streaming.errors import SourceError, first_line
from streaming.storage.retry import count_retry

# boto3 stops retrying early when its retry quota is used up; `retry_transient` then continues.
_DEFAULT_CONFIG = Config(
    retries={"mode": "standard", "max_attempts": 8},
    connect_timeout=10,
    read_timeout=30,
    max_pool_connections=32,  # at least the number of threads that send requests concurrently
)
#: For a first access check: a mistyped endpoint fails within seconds.
FAIL_FAST = Config(
    retries={"mode": "standard", "max_attempts": 2}, connect_timeout=5, read_timeout=10
)
#: For the lease object, which must be renewed several times within a term.
LEASE_CONFIG = Config(
    retries={"mode": "standard", "max_attempts": 2}, connect_timeout=5, read_timeout=5
)


def s3_client(config: Config = _DEFAULT_CONFIG) -> Any:
    """Create a boto3 client for S3.

    Parameters
    ----------
    config : botocore.config.Config, optional
        Timeouts and retries; the default retries throttled requests up to 8 times.

    Returns
    -------
    botocore.client.S3
        Uses the credentials, region and endpoint found by boto3: environment, profile, SSO, role.

    Raises
    ------
    SourceError
        When AWS_PROFILE names a profile that does not exist, or the AWS settings are invalid.
    """
    try:
        client = new_session().client("s3", config=config)
        client.meta.events.register("before-send.s3", _count_boto3_retry)
        for operation in ("PutObject", "CreateMultipartUpload", "CopyObject"):
            client.meta.events.register(f"provide-client-params.s3.{operation}", _encrypt)
        return client
    except botocore.exceptions.ProfileNotFound as error:
        raise SourceError(f"{error}: set AWS_PROFILE to a profile of ~/.aws/config") from error
    except (botocore.exceptions.BotoCoreError, ValueError) as error:
        raise SourceError(
            f"AWS is not set up ({first_line(error)}): check the variables AWS_… and ~/.aws/config"
        ) from error


def _count_boto3_retry(request: Any, **_: Any) -> None:
    """Count the retries of boto3 itself, which sends the attempt number in a header."""
    sent = str(request.headers.get("amz-sdk-request", b""))
    if "attempt=" in sent and "attempt=1;" not in sent:
        count_retry()


def kms_key() -> str | None:
    """Return the KMS key with which boto3, S3A and delta-rs encrypt what they write: AWS_SSE_KMS_KEY_ID.

    None if it is not set: S3 then encrypts by the default of the bucket. Reading needs no key.
    """
    return os.environ.get("AWS_SSE_KMS_KEY_ID") or None


def _encrypt(params: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Add the KMS key to a request that creates an object."""
    key = kms_key()
    return {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key, **params} if key else params


def delta_rs_options() -> dict[str, str]:
    """Return storage options for delta-rs with the credentials found by boto3; it supports neither profiles nor SSO.

    Returns
    -------
    dict of str to str
        Use them to open one table only: the credentials of a role expire.
    """
    session = new_session()
    meta = session.client("s3", config=_DEFAULT_CONFIG).meta
    options = {"AWS_ENDPOINT_URL": meta.endpoint_url, "AWS_REGION": meta.region_name or "us-east-1"}
    options["AWS_ALLOW_HTTP"] = str(meta.endpoint_url.startswith("http:")).lower()
    if key := kms_key():
        options |= {"AWS_SERVER_SIDE_ENCRYPTION": "aws:kms", "AWS_SSE_KMS_KEY_ID": key}
    found = session.get_credentials()
    if found:
        frozen = found.get_frozen_credentials()
        options |= {
            "AWS_ACCESS_KEY_ID": frozen.access_key,
            "AWS_SECRET_ACCESS_KEY": frozen.secret_key,
        }
        if frozen.token:
            options["AWS_SESSION_TOKEN"] = frozen.token
    return options


def bucket_and_key(uri: str) -> tuple[str, str]:
    """Return the bucket and key of a normalized ``s3a://`` URI."""
    bucket, _, key = uri.removeprefix("s3a://").partition("/")
    return bucket, key


def new_session() -> boto3.session.Session:
    """Create a session that rereads environment and profiles; the API description of S3 is cached by the process.

    The region is that of AWS_REGION, as in the AWS CLI, then that of boto3, then that of the EC2 instance.
    """
    session = botocore.session.get_session()
    session.register_component("data_loader", _loader())
    region = os.environ.get("AWS_REGION") or session.get_config_variable("region")
    session.set_config_variable("region", region or _instance_region())
    return boto3.session.Session(botocore_session=session)


@cache
def _loader() -> Any:
    """Return the shared loader: reading the API description takes 70 ms, and `pomona status` creates three clients."""
    return botocore.loaders.create_loader()


@cache
def _instance_region() -> str | None:
    """Return the region of this EC2 instance; None elsewhere, and if AWS_EC2_METADATA_DISABLED is set."""
    region: str | None = IMDSRegionProvider(botocore.session.get_session()).provide()
    return region
