"""The boto3 client of the process, and the credentials, region and endpoint that S3A and delta-rs share with it."""

from __future__ import annotations

from functools import cache
from typing import Any

import boto3
import botocore.exceptions as faults
import botocore.session
from botocore.config import Config

from streaming.errors import SourceError
from streaming.storage.retry import count_retry
from streaming.storage.s3_errors import first_line

# Beyond its own tries, which end early once its quota of them is used up, `retry_transient` asks again.
_PATIENT = Config(
    retries={"mode": "standard", "max_attempts": 8},
    connect_timeout=10,
    read_timeout=30,
    max_pool_connections=32,  # as many threads as ask at once, at most
)
#: For a first look: what is mistyped shows in seconds.
BRISK = Config(retries={"mode": "standard", "max_attempts": 2}, connect_timeout=5, read_timeout=10)


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
        raise SourceError(f"{error}: set AWS_PROFILE to a profile of ~/.aws/config") from error
    except (faults.BotoCoreError, ValueError) as error:
        raise SourceError(
            f"AWS is not set up ({first_line(error)}): check the variables AWS_… and ~/.aws/config"
        ) from error


def _count_repetition(request: Any, **_: Any) -> None:
    """Count what boto3 sends a second time by itself; it numbers its attempts."""
    sent = str(request.headers.get("amz-sdk-request", b""))
    if "attempt=" in sent and "attempt=1;" not in sent:
        count_retry()


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


def new_session() -> boto3.session.Session:
    """Make a session that looks at environment and profiles anew; boto3's description of S3 is read once a process."""
    session = botocore.session.get_session()
    session.register_component("data_loader", _loader())
    return boto3.session.Session(botocore_session=session)


@cache
def _loader() -> Any:
    """Reading it takes 70 ms, and `pomona status` makes three clients."""
    return botocore.loaders.create_loader()
