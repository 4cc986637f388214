"""Translate boto3 exceptions to those of `streaming.storage.interface`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import botocore.exceptions as faults
from urllib3.exceptions import HTTPError

from streaming.errors import SourceError
from streaming.storage.interface import TransientError

_GONE = {"404", "NoSuchKey", "NoSuchBucket", "NotFound"}
#: S3's answer where a put's condition does not hold: another was there first, or this one's answer was lost.
PRECONDITION_FAILED = frozenset({"PreconditionFailed", "412"})
# An archived object (InvalidObjectState) cannot be read until someone restores it.
_DENIED = {"403", "AccessDenied", "Forbidden", "AllAccessDisabled", "InvalidObjectState"}
_WHO = "check `aws sts get-caller-identity`, AWS_PROFILE and the region"
_WHERE = "check AWS_REGION, or the region of the profile"
# What S3 returned to a user's mistake, which no patience mends, and the remedy.
_MISTAKES = {
    "AuthorizationHeaderMalformed": _WHERE,
    "ExpiredToken": _WHO,
    "ExpiredTokenException": _WHO,
    "InvalidAccessKeyId": _WHO,
    "InvalidBucketName": "check the name of the bucket",
    "InvalidToken": _WHO,
    "PermanentRedirect": _WHERE,
    "RequestTimeTooSkewed": "set the clock of this machine",
    "SignatureDoesNotMatch": _WHO,
}
# What boto3 finds wrong before it asks anyone.
_UNSET = (
    faults.InvalidConfigError,
    faults.NoCredentialsError,
    faults.PartialCredentialsError,
    faults.SSOError,
    faults.TokenRetrievalError,
)
# Nobody is there, or nobody who speaks the same language.
_NOBODY = (
    faults.ConnectTimeoutError,
    faults.EndpointConnectionError,
    faults.ReadTimeoutError,
    faults.SSLError,
)


@contextmanager
def translated(uri: str) -> Iterator[None]:
    """Turn boto3's exceptions about one location into those of `streaming.storage.interface`.

    Raises
    ------
    FileNotFoundError, PermissionError
        As S3 says.
    SourceError
        For a user's mistake, with the remedy.
    TransientError
        For all else: it may pass.
    """
    try:
        yield
    except faults.ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in _GONE:
            raise FileNotFoundError(f"{uri}: no such bucket or object") from error
        if code in _DENIED:
            raise PermissionError(f"{uri}: access denied ({code})") from error
        if code in _MISTAKES:
            raise SourceError(f"{uri}: S3 returned {code}: {_MISTAKES[code]}") from error
        raise TransientError(f"{uri}: {first_line(error)}") from error
    except _UNSET as error:
        raise SourceError(f"{uri}: {first_line(error)}: {_WHO}") from error
    except faults.ParamValidationError as error:
        raise SourceError(f"{uri}: invalid bucket or object name") from error
    except (faults.BotoCoreError, HTTPError, OSError) as error:
        raise TransientError(f"{uri}: {first_line(error)}") from error


def is_busy(error: BaseException | None) -> bool:
    """Whether somebody is there who may answer later."""
    if isinstance(error, faults.ClientError):
        return int(error.response["ResponseMetadata"]["HTTPStatusCode"]) >= 500
    return not isinstance(error, _NOBODY)


def first_line(error: BaseException) -> str:
    """The first line of an exception's text, or its name where it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
