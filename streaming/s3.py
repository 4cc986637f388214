"""S3 through boto3, and the settings with which Spark's S3A reaches the same place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlparse

import botocore.exceptions as faults
from botocore.config import Config

from streaming.errors import FaultError, SourceError
from streaming.patience import count_retry, with_patience
from streaming.s3_faults import first_line, is_busy, translated
from streaming.s3_session import new_session
from streaming.storage import StoredFile, TransientFault

T = TypeVar("T")

# Beyond its own tries, which end early once its quota of them is used up, `with_patience` asks again.
_PATIENT = Config(
    retries={"mode": "standard", "max_attempts": 8}, connect_timeout=10, read_timeout=30
)
_BRISK = Config(retries={"mode": "standard", "max_attempts": 2}, connect_timeout=5, read_timeout=10)


class S3Storage:
    """Objects of S3, or of a stand-in named by AWS_ENDPOINT_URL or a profile's ``endpoint_url``."""

    def __init__(self) -> None:
        self._client = s3_client()

    def list(self, prefix: str) -> Iterator[StoredFile]:
        """All objects below a prefix, ordered by key; FileNotFoundError without the bucket."""
        bucket, key = split(prefix)
        wanted = {"Bucket": bucket, "Prefix": f"{key}/" if key else ""}
        while True:
            page = _ask(prefix, lambda: self._client.list_objects_v2(**wanted))
            for entry in page.get("Contents", ()):
                if not entry["Key"].endswith("/"):
                    yield _stored(f"s3a://{bucket}/{entry['Key']}", entry, entry["Size"])
            if not page.get("IsTruncated"):
                return
            wanted["ContinuationToken"] = page["NextContinuationToken"]

    def stat(self, path: str) -> StoredFile:
        """Length and time of one object."""
        bucket, key = split(path)
        found = _ask(path, lambda: self._client.head_object(Bucket=bucket, Key=key))
        return _stored(path, found, found["ContentLength"])

    def exists(self, path: str) -> bool:
        """Whether the listing has this very key."""
        bucket, key = split(path)
        asked = {"Bucket": bucket, "Prefix": key, "MaxKeys": 1}
        page = _ask(path, lambda: self._client.list_objects_v2(**asked))
        return any(entry["Key"] == key for entry in page.get("Contents", ()))

    def probe(self, path: str) -> None:
        """Ask for an object, and read nothing of it."""
        bucket, key = split(path)
        _ask(path, lambda: self._client.get_object(Bucket=bucket, Key=key)["Body"].close())

    def read(self, path: str) -> bytes:
        """All bytes of one object; who asks is patient, as `streaming.fetch` is."""
        bucket, key = split(path)
        with translated(path):
            content: bytes = self._client.get_object(Bucket=bucket, Key=key)["Body"].read()
        return content

    def write(self, path: str, content: bytes) -> None:
        """Put an object."""
        bucket, key = split(path)
        _ask(path, lambda: self._client.put_object(Bucket=bucket, Key=key, Body=content))

    def upload(self, local: Path, path: str) -> None:
        """Put a local file, in parts where it is large."""
        bucket, key = split(path)

        def send() -> None:
            with local.open("rb") as content:
                self._client.upload_fileobj(content, bucket, key)

        local.open("rb").close()  # what is missing here is no fault of S3
        _ask(path, send)

    def delete(self, path: str) -> None:
        """Delete one object, if it is there."""
        bucket, key = split(path)
        _ask(path, lambda: self._client.delete_object(Bucket=bucket, Key=key))

    def delete_tree(self, prefix: str) -> None:
        """Delete all objects below a prefix, and the one that S3A puts for an empty folder."""
        for found in self.list(prefix):
            self.delete(found.path)
        self.delete(f"{prefix}/")

    def move_tree(self, prefix: str, to: str) -> None:
        """Copy each object, within S3, and delete it."""
        for found in list(self.list(prefix)):
            (bucket, key), copy = split(found.path), to + found.path[len(prefix) :]
            with translated(found.path):
                self._client.copy({"Bucket": bucket, "Key": key}, *split(copy))
            self.delete(found.path)


def _ask(uri: str, request: Callable[[], T]) -> T:
    """Send a request about one location that may be repeated, as often as patience lasts."""

    def ask() -> T:
        with translated(uri):
            return request()

    return with_patience(ask)


def reach(uri: str) -> None:
    """Ask a location for one name, with little patience where nobody answers: what is mistyped shows in seconds.

    Raises
    ------
    FaultError
        When nothing answers.
    SourceError
        When there are no credentials, or S3 refuses them.
    FileNotFoundError, PermissionError
        When there is no such bucket, or it may not be listed.
    """
    bucket, key = split(uri)
    wanted = {"Bucket": bucket, "Prefix": f"{key}/" if key else "", "MaxKeys": 1}
    try:
        with translated(uri):
            s3_client(_BRISK).list_objects_v2(**wanted)
    except TransientFault as fault:
        if is_busy(fault.__cause__):
            _ask(uri, lambda: s3_client().list_objects_v2(**wanted))
            return
        raise FaultError(f"{fault}: check the network and AWS_ENDPOINT_URL") from fault


def s3_client(config: Config = _PATIENT) -> Any:
    """boto3's client for S3.

    Parameters
    ----------
    config : botocore.config.Config, optional
        How patient it is: with throttling, by default, very.

    Returns
    -------
    botocore.client.S3
        Credentials, region and endpoint as boto3 finds them: environment, profile, SSO, role.

    Raises
    ------
    SourceError
        When the profile that is named does not exist, or boto3 cannot use what is set.
    """
    try:
        client = new_session().client("s3", config=config)
        client.meta.events.register("before-send.s3", _count_repetition)
        return client
    except faults.ProfileNotFound as error:
        raise SourceError(f"{error}: set AWS_PROFILE to one of ~/.aws/config") from error
    except (faults.BotoCoreError, ValueError) as error:
        raise SourceError(
            f"AWS is not set up ({first_line(error)}): check the variables AWS_… and ~/.aws/config"
        ) from error


def _count_repetition(request: Any, **_: Any) -> None:
    """Count what boto3 sends a second time by itself; it numbers its attempts."""
    sent = str(request.headers.get("amz-sdk-request", b""))
    if "attempt=" in sent and "attempt=1;" not in sent:
        count_retry()


def hadoop_conf() -> dict[str, str]:
    """Settings of S3A, without a secret among them.

    Returns
    -------
    dict of str to str
        A credentials provider that knows profiles and SSO as boto3 does; endpoint and region where
        boto3 has them.

    Raises
    ------
    SourceError
        Where a password stands in the endpoint.
    """
    meta = s3_client().meta
    provider = "software.amazon.awssdk.auth.credentials.DefaultCredentialsProvider"
    conf = {"fs.s3a.aws.credentials.provider": provider}
    if meta.region_name and meta.region_name != "aws-global":
        conf["fs.s3a.endpoint.region"] = meta.region_name
    endpoint = urlparse(meta.endpoint_url)
    if endpoint.username or endpoint.password:
        raise SourceError(
            "the endpoint of S3 holds a user or a password, which Spark would write into its logs: "
            "take them out of AWS_ENDPOINT_URL, or of the profile's endpoint_url"
        )
    host = endpoint.hostname or ""
    # S3A finds the public endpoints of AWS by itself, and those inside a private network not.
    if ".vpce." in host or not host.endswith((".amazonaws.com", ".amazonaws.com.cn")):
        conf |= {
            "fs.s3a.endpoint": meta.endpoint_url,
            "fs.s3a.endpoint.region": meta.region_name or "us-east-1",
            "fs.s3a.path.style.access": "true",
            "fs.s3a.connection.ssl.enabled": str(endpoint.scheme == "https").lower(),
        }
    return conf


def delta_rs_options() -> dict[str, str]:
    """Settings of delta-rs, with the credentials that boto3 finds: it knows neither profiles nor SSO by itself.

    Returns
    -------
    dict of str to str
        For one opening of a table; credentials of a role run out.
    """
    session = new_session()
    meta = session.client("s3", config=_PATIENT).meta
    options = {"AWS_ENDPOINT_URL": meta.endpoint_url, "AWS_REGION": meta.region_name or "us-east-1"}
    options["AWS_ALLOW_HTTP"] = str(meta.endpoint_url.startswith("http:")).lower()
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


def split(uri: str) -> tuple[str, str]:
    """Bucket and key of a normalized ``s3a://`` URI."""
    bucket, _, key = uri.removeprefix("s3a://").partition("/")
    return bucket, key


def _stored(path: str, entry: dict[str, Any], size: int) -> StoredFile:
    return StoredFile(path, size, int(entry["LastModified"].timestamp() * 1000))
