"""S3 through boto3, and the settings that make Spark's S3A reach the same place with the same credentials."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import boto3
import botocore.exceptions as faults
from botocore.config import Config
from urllib3.exceptions import HTTPError

from streaming.errors import SourceError
from streaming.storage import StoredFile, TransientFault

_GONE = {"404", "NoSuchKey", "NoSuchBucket", "NotFound"}
_DENIED = {"403", "AccessDenied", "Forbidden", "AllAccessDisabled"}
_BAD_CREDENTIALS = {
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "InvalidToken",
    "SignatureDoesNotMatch",
}
_REMEDY = "check `aws sts get-caller-identity`, AWS_PROFILE and the region"


class S3Storage:
    """Objects of S3, or of a stand-in named by AWS_ENDPOINT_URL (or by the profile's ``endpoint_url``)."""

    def __init__(self) -> None:
        self._client = s3_client()

    def list(self, prefix: str) -> Iterator[StoredFile]:
        """All objects below a prefix, in the order of their keys; FileNotFoundError without the bucket."""
        bucket, key = split(prefix)
        pages = self._client.get_paginator("list_objects_v2")
        with translated(prefix):
            for page in pages.paginate(Bucket=bucket, Prefix=f"{key}/" if key else ""):
                for entry in page.get("Contents", ()):
                    if not entry["Key"].endswith("/"):
                        yield _stored(f"s3a://{bucket}/{entry['Key']}", entry, entry["Size"])

    def stat(self, path: str) -> StoredFile:
        """Length and time of one object."""
        bucket, key = split(path)
        with translated(path):
            found = self._client.head_object(Bucket=bucket, Key=key)
        return _stored(path, found, found["ContentLength"])

    def read(self, path: str) -> bytes:
        """All bytes of one object."""
        bucket, key = split(path)
        with translated(path):
            content: bytes = self._client.get_object(Bucket=bucket, Key=key)["Body"].read()
        return content

    def write(self, path: str, content: bytes) -> None:
        """Put an object."""
        bucket, key = split(path)
        with translated(path):
            self._client.put_object(Bucket=bucket, Key=key, Body=content)

    def upload(self, local: Path, path: str) -> None:
        """Put a local file, in parts where it is large."""
        bucket, key = split(path)
        with translated(path):
            self._client.upload_file(str(local), bucket, key)

    def delete_tree(self, prefix: str) -> None:
        """Delete all objects below a prefix."""
        bucket, _ = split(prefix)
        for found in self.list(prefix):
            with translated(found.path):
                self._client.delete_object(Bucket=bucket, Key=split(found.path)[1])


def s3_client() -> Any:
    """boto3's client for S3, patient with throttling.

    Returns
    -------
    botocore.client.S3
        Credentials, region and endpoint as boto3 finds them: environment, profile, SSO, role.

    Raises
    ------
    SourceError
        When the profile that is named does not exist.
    """
    config = Config(
        retries={"mode": "standard", "max_attempts": 8}, connect_timeout=10, read_timeout=60
    )
    try:
        return boto3.session.Session().client("s3", config=config)
    except faults.ProfileNotFound as error:
        raise SourceError(f"{error}: set AWS_PROFILE to one of ~/.aws/config") from error


def hadoop_conf() -> dict[str, str]:
    """Settings of S3A, without a secret among them.

    Returns
    -------
    dict of str to str
        A credentials provider that knows profiles and SSO as boto3 does; endpoint and region where boto3 has them.
    """
    meta = s3_client().meta
    provider = "software.amazon.awssdk.auth.credentials.DefaultCredentialsProvider"
    conf = {"fs.s3a.aws.credentials.provider": provider}
    if meta.region_name and meta.region_name != "aws-global":
        conf["fs.s3a.endpoint.region"] = meta.region_name
    endpoint = urlparse(meta.endpoint_url)
    if not (endpoint.hostname or "").endswith((".amazonaws.com", ".amazonaws.com.cn")):
        conf |= {
            "fs.s3a.endpoint": meta.endpoint_url,
            "fs.s3a.endpoint.region": meta.region_name or "us-east-1",
            "fs.s3a.path.style.access": "true",
            "fs.s3a.connection.ssl.enabled": str(endpoint.scheme == "https").lower(),
        }
    return conf


def split(uri: str) -> tuple[str, str]:
    """Bucket and key of a normalized ``s3a://`` URI."""
    bucket, _, key = uri.removeprefix("s3a://").partition("/")
    return bucket, key


def _stored(path: str, entry: dict[str, Any], size: int) -> StoredFile:
    return StoredFile(path, size, int(entry["LastModified"].timestamp() * 1000))


@contextmanager
def translated(uri: str) -> Iterator[None]:
    """Turn boto3's exceptions about one location into the few that `streaming.storage` promises."""
    try:
        yield
    except faults.ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in _GONE:
            raise FileNotFoundError(f"{uri}: no such bucket or object") from error
        if code in _DENIED:
            raise PermissionError(f"{uri}: access denied") from error
        if code in _BAD_CREDENTIALS:
            raise SourceError(f"{uri}: AWS refuses the credentials ({code}): {_REMEDY}") from error
        raise TransientFault(f"{uri}: {error}") from error
    except (faults.NoCredentialsError, faults.PartialCredentialsError, faults.TokenRetrievalError) as error:
        raise SourceError(f"{uri}: no AWS credentials ({error}): {_REMEDY}") from error
    except (faults.BotoCoreError, HTTPError, OSError) as error:
        raise TransientFault(f"{uri}: {error}") from error
