"""Account client on top of boto3: read what exists, send requests, translate errors."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from typing import Any

import boto3
import botocore.exceptions
from botocore.config import Config
from botocore.model import ServiceModel

from bootstrap.aws.request import (
    LocalFile,
    Parameters,
    has_references,
    is_read_only,
    resolve_references,
)
from bootstrap.errors import AccessDeniedError, CloudError, UnresolvedReferenceError

_ACCESS_DENIED_CODES = {"403", "AccessDenied", "AccessDeniedException", "UnauthorizedOperation"}
_DENIED_REMEDY = "request this permission (`pomona cloud policy` prints all that are needed)"
#: Seconds to retry a request that fails because a new resource has not propagated yet.
RETRY_TIMEOUT = 90.0


class Account:
    """The account of the caller's credentials, in one region.

    Raises
    ------
    CloudError
        If credentials are missing or invalid, or AWS cannot be reached.
    """

    def __init__(self, region: str) -> None:
        self._clients: dict[str, Any] = {}
        #: Values from earlier responses, for ``${…}`` references.
        self.values: dict[str, str] = {}
        with _translate_errors("sts", "get_caller_identity"):
            self._session = boto3.Session(region_name=region)
            self.caller: Parameters = self._client("sts").get_caller_identity()
            self.partition: str = self._session.get_partition_for_region(region)
        self.number: str = self.caller["Account"]

    @staticmethod
    def has_credentials() -> bool:
        """Return whether boto3 finds credentials."""
        with _translate_errors("sts", "get_caller_identity"):
            return boto3.Session().get_credentials() is not None

    def read(
        self,
        service: str,
        operation: str,
        parameters: Parameters,
        absent_codes: tuple[str, ...] = (),
    ) -> Parameters | None:
        """Send a read-only request and fetch all pages; return None on an error code of `absent_codes`.

        Raises
        ------
        UnresolvedReferenceError
            If a parameter refers to a resource that does not exist yet.
        AccessDeniedError, CloudError
        """
        if not is_read_only(operation):
            raise AssertionError(f"{operation} is not read-only")
        resolved = resolve_references(parameters, self.values)
        if has_references(resolved):
            raise UnresolvedReferenceError(operation)
        client = self._client(service)
        try:
            with self._translate_errors(service, operation, resolved):
                if client.can_paginate(operation):
                    pages = client.get_paginator(operation).paginate(**resolved)
                    response: Parameters = pages.build_full_result()
                else:
                    response = getattr(client, operation)(**resolved)
        except CloudError as error:
            if _code(error.__cause__) in absent_codes:
                return None
            raise
        return response

    def send(
        self,
        service: str,
        operation: str,
        parameters: Parameters,
        retry_on: tuple[tuple[str, str], ...] = (),
    ) -> Parameters:
        """Send a request that changes something.

        Parameters
        ----------
        service, operation : str
        parameters : dict
            The content of each `LocalFile` is uploaded.
        retry_on : tuple of (str, str)
            Error codes, each with a part of the message, on which the request is retried for up to `RETRY_TIMEOUT`
            seconds. Any other error is raised at once.

        Raises
        ------
        AccessDeniedError, CloudError
        """
        deadline = time.monotonic() + RETRY_TIMEOUT
        while True:
            try:
                with (
                    self._translate_errors(service, operation, parameters),
                    _open_local_files(parameters) as opened,
                ):
                    response: Parameters = getattr(self._client(service), operation)(**opened)
                return response
            except CloudError as error:
                code, message = _code(error.__cause__), str(error)
                known = any(code == known and part in message for known, part in retry_on)
                if not known or time.monotonic() > deadline:
                    raise
            time.sleep(5)

    def _client(self, service: str) -> Any:
        """Return the client of a service, created on first use."""
        if service not in self._clients:
            config = Config(
                retries={"mode": "standard", "max_attempts": 5},
                connect_timeout=10,
                read_timeout=60,
                s3={"addressing_style": "path" if "AWS_ENDPOINT_URL" in os.environ else "auto"},
            )
            try:
                self._clients[service] = self._session.client(service, config=config)
            except ValueError as error:  # invalid endpoint
                raise CloudError(f"{service}: {error}; correct AWS_ENDPOINT_URL") from error
            if service == "s3":
                self._clients[service].meta.events.register(
                    "provide-client-params.s3", self._expect_own_bucket, "expect-own-bucket"
                )
        return self._clients[service]

    def _expect_own_bucket(self, params: Parameters, model: Any, **_: Any) -> Parameters:
        """Add the account as the expected owner of the bucket: S3 then rejects a bucket of another account.

        Names of buckets are unique across all accounts, and the default ones can be guessed.
        """
        accepted = "ExpectedBucketOwner" in model.input_shape.members  # not by CreateBucket
        return {**params, "ExpectedBucketOwner": self.number} if accepted else params

    def _translate_errors(
        self, service: str, operation: str, parameters: Parameters
    ) -> contextlib.AbstractContextManager[None]:
        """Translate botocore's errors; S3 also denies access to a bucket of another account."""
        remedy = _DENIED_REMEDY
        if service == "s3" and "Bucket" in parameters:
            remedy += (
                f", or name another bucket if {parameters['Bucket']} does not belong to account "
                f"{self.number}"
            )
        return _translate_errors(service, operation, remedy)


def api_name(service: str, operation: str) -> str:
    """Return service and operation as AWS documents them, such as ``emr RunJobFlow``."""
    return f"{service} {operation_model(service, operation).name}"


def operation_model(service: str, operation: str) -> Any:
    """Return botocore's model of an operation, from its boto3 name."""
    model = service_model(service)
    for name in model.operation_names:
        if boto3_name(name) == operation:
            return model.operation_model(name)
    raise AssertionError(f"{service} has no operation {operation}")


def boto3_name(operation: str) -> str:
    """Return the boto3 name of an operation such as ``RunJobFlow``."""
    from botocore import xform_name

    return str(xform_name(operation))


def service_model(service: str) -> ServiceModel:
    """Return botocore's model of a service; needs neither credentials nor network."""
    if service not in _MODELS:
        import botocore.session

        _MODELS[service] = botocore.session.get_session().get_service_model(service)
    return _MODELS[service]


_MODELS: dict[str, ServiceModel] = {}


@contextlib.contextmanager
def _open_local_files(parameters: Parameters) -> Iterator[Parameters]:
    """Yield the parameters with local files opened."""
    with contextlib.ExitStack() as stack:
        yield {
            key: stack.enter_context(value.path.open("rb"))
            if isinstance(value, LocalFile)
            else value
            for key, value in parameters.items()
        }


@contextlib.contextmanager
def _translate_errors(
    service: str, operation: str, denied_remedy: str = _DENIED_REMEDY
) -> Iterator[None]:
    """Translate botocore's errors into one line that names the request."""
    try:
        yield
    except botocore.exceptions.ClientError as error:
        message = f"{service} {operation}: {error.response['Error'].get('Message') or _code(error)}"
        if _code(error) in _ACCESS_DENIED_CODES:
            raise AccessDeniedError(f"{message}; {denied_remedy}") from error
        raise CloudError(message) from error
    except (
        botocore.exceptions.NoCredentialsError,
        botocore.exceptions.PartialCredentialsError,
    ) as error:
        raise CloudError(
            "no credentials: set them as `aws configure` does, or AWS_PROFILE"
        ) from error
    except botocore.exceptions.ProfileNotFound as error:
        raise CloudError(
            f"{error}: `aws configure list-profiles` lists the available ones"
        ) from error
    except botocore.exceptions.EndpointConnectionError as error:
        raise CloudError(
            f"{service} {operation}: {error}; check the region and the network connection to AWS"
        ) from error
    except botocore.exceptions.BotoCoreError as error:
        raise CloudError(f"{service} {operation}: {error}") from error


def _code(error: BaseException | None) -> str:
    """Return the AWS error code of an exception, or an empty string."""
    if not isinstance(error, botocore.exceptions.ClientError):
        return ""
    return str(error.response["Error"].get("Code", ""))
