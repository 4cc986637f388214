"""Translate boto3 exceptions to those of `streaming.storage.interface`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import botocore.exceptions as boto_errors
from urllib3.exceptions import HTTPError

from streaming.errors import SourceError, first_line
from streaming.storage.interface import TransientError

_NOT_FOUND = {"404", "NoSuchKey", "NoSuchBucket", "NotFound"}
#: Error codes of a failed conditional put: another writer was first, or the response to this put was lost.
PRECONDITION_FAILED = frozenset({"PreconditionFailed", "412"})
# An archived object (InvalidObjectState) cannot be read until someone restores it.
_DENIED = {"403", "AccessDenied", "Forbidden", "AllAccessDisabled", "InvalidObjectState"}
_CHECK_CREDENTIALS = "check `aws sts get-caller-identity`, AWS_PROFILE and the region"
_CHECK_REGION = "check AWS_REGION, or the region of the profile"
# Error codes that retrying does not fix, each with its remedy.
_REMEDIES = {
    "AuthorizationHeaderMalformed": _CHECK_REGION,
    "ExpiredToken": _CHECK_CREDENTIALS,
    "ExpiredTokenException": _CHECK_CREDENTIALS,
    "InvalidAccessKeyId": _CHECK_CREDENTIALS,
    "InvalidBucketName": "check the name of the bucket",
    "InvalidToken": _CHECK_CREDENTIALS,
    "PermanentRedirect": _CHECK_REGION,
    "RequestTimeTooSkewed": "set the clock of this machine",
    "SignatureDoesNotMatch": _CHECK_CREDENTIALS,
}
# Errors that boto3 raises before it sends a request.
_CONFIGURATION_ERRORS = (
    boto_errors.InvalidConfigError,
    boto_errors.NoCredentialsError,
    boto_errors.PartialCredentialsError,
    boto_errors.SSOError,
    boto_errors.TokenRetrievalError,
)
# The endpoint does not respond, or does not speak TLS.
_NO_RESPONSE = (
    boto_errors.ConnectTimeoutError,
    boto_errors.EndpointConnectionError,
    boto_errors.ReadTimeoutError,
    boto_errors.SSLError,
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
    except boto_errors.ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in _NOT_FOUND:
            raise FileNotFoundError(f"{uri}: no such bucket or object") from error
        if code in _DENIED:
            raise PermissionError(f"{uri}: access denied ({code})") from error
        if code in _REMEDIES:
            raise SourceError(f"{uri}: S3 returned {code}: {_REMEDIES[code]}") from error
        raise TransientError(f"{uri}: {first_line(error)}") from error
    except _CONFIGURATION_ERRORS as error:
        raise SourceError(f"{uri}: {first_line(error)}: {_CHECK_CREDENTIALS}") from error
    except boto_errors.ParamValidationError as error:
        raise SourceError(f"{uri}: invalid bucket or object name") from error
    except (boto_errors.BotoCoreError, HTTPError, OSError) as error:
        raise TransientError(f"{uri}: {first_line(error)}") from error


def is_busy(error: BaseException | None) -> bool:
    """Return whether the endpoint responded, and may accept the request later."""
    if isinstance(error, boto_errors.ClientError):
        return int(error.response["ResponseMetadata"]["HTTPStatusCode"]) >= 500
    return not isinstance(error, _NO_RESPONSE)
