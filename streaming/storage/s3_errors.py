"""Translate boto3 exceptions to those of `streaming.storage.interface`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import botocore.exceptions as faults
from urllib3.exceptions import HTTPError

from streaming.errors import SourceError
from streaming.storage.interface import TransientError

_NOT_FOUND = {"404", "NoSuchKey", "NoSuchBucket", "NotFound"}
#: S3's error codes for a failed precondition of a put: another writer was first, or this put's response was lost.
PRECONDITION_FAILED = frozenset({"PreconditionFailed", "412"})
# An archived object (InvalidObjectState) cannot be read until someone restores it.
_DENIED = {"403", "AccessDenied", "Forbidden", "AllAccessDisabled", "InvalidObjectState"}
_WHO = "check `aws sts get-caller-identity`, AWS_PROFILE and the region"
_WHERE = "check AWS_REGION, or the region of the profile"
# Error codes that retrying does not fix, each with its remedy.
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
# Errors that boto3 raises before it sends a request.
_CONFIGURATION_ERRORS = (
    faults.InvalidConfigError,
    faults.NoCredentialsError,
    faults.PartialCredentialsError,
    faults.SSOError,
    faults.TokenRetrievalError,
)
# The endpoint does not respond, or does not speak TLS.
_NO_RESPONSE = (
    faults.ConnectTimeoutError,
    faults.EndpointConnectionError,
    faults.ReadTimeoutError,
    faults.SSLError,
)


@contextmanager
def translate_s3_errors(uri: str) -> Iterator[None]:
    """Translate the boto3 exceptions raised for one location to those of `streaming.storage.interface`.

    Raises
    ------
    FileNotFoundError, PermissionError
        When S3 reports a missing bucket or object, or denies access.
    SourceError
        When the credentials, region or bucket name are wrong; the text has the remedy.
    TransientError
        For all other errors.
    """
    try:
        yield
    except faults.ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in _NOT_FOUND:
            raise FileNotFoundError(f"{uri}: no such bucket or object") from error
        if code in _DENIED:
            raise PermissionError(f"{uri}: access denied ({code})") from error
        if code in _MISTAKES:
            raise SourceError(f"{uri}: S3 returned {code}: {_MISTAKES[code]}") from error
        raise TransientError(f"{uri}: {first_line(error)}") from error
    except _CONFIGURATION_ERRORS as error:
        raise SourceError(f"{uri}: {first_line(error)}: {_WHO}") from error
    except faults.ParamValidationError as error:
        raise SourceError(f"{uri}: invalid bucket or object name") from error
    except (faults.BotoCoreError, HTTPError, OSError) as error:
        raise TransientError(f"{uri}: {first_line(error)}") from error


def is_busy(error: BaseException | None) -> bool:
    """Return whether the endpoint responded, and may accept the request later."""
    if isinstance(error, faults.ClientError):
        return int(error.response["ResponseMetadata"]["HTTPStatusCode"]) >= 500
    return not isinstance(error, _NO_RESPONSE)


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's text, or its class name if the text is empty."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
