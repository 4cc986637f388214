"""Apply the two tables of rules in `bootstrap.aws` to the requests that boto3 sends to moto, which accepts them all."""

from __future__ import annotations

from typing import Any

import pytest
from botocore import xform_name
from botocore.client import BaseClient
from botocore.exceptions import ClientError

from bootstrap.aws.combination_rules import violations
from bootstrap.aws.rules import SentRequest


def reject_violations(patch: pytest.MonkeyPatch) -> list[SentRequest]:
    """Make the clients of this process reject requests as AWS would; return the list of the accepted requests.

    Clear the list together with the account.
    """
    call, sent = BaseClient._make_api_call, list[SentRequest]()

    def checked_call(client: Any, operation: str, parameters: Any) -> Any:
        service = client.meta.service_model.service_name
        request = SentRequest(service, str(xform_name(operation)), parameters)
        if found := violations(request, sent):
            error = {"Code": "ValidationException", "Message": "; ".join(found)}
            raise ClientError({"Error": error}, operation)  # type: ignore[typeddict-item]
        response = call(client, operation, parameters)
        if not request.operation.startswith(("get_", "list_", "describe_", "head_", "put_object")):
            sent.append(request)
        return response

    patch.setattr(BaseClient, "_make_api_call", checked_call)
    return sent
