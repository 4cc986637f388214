"""Validate requests against botocore's service models and the table of rules before anything is sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from botocore.validate import ParamValidator

from bootstrap.aws.client import operation_model
from bootstrap.aws.combination_rules import combination_violations
from bootstrap.aws.request import LocalFile, Parameters, Request
from bootstrap.aws.rules import SentRequest, request_violations
from bootstrap.errors import CloudError


def validate_requests(requests: Sequence[Request]) -> None:
    """Validate requests, in order: names, types, lengths, ranges, enumerations, and the rules of `bootstrap.aws.rules`.

    Raises
    ------
    CloudError
        With all errors of the first invalid request in one line.
    """
    earlier: list[SentRequest] = []
    for request in requests:
        errors = validation_errors(request.service, request.operation, request.parameters)
        sent = SentRequest(request.service, request.operation, request.parameters)
        errors = errors or "; ".join(combination_violations(sent, earlier))
        if errors:
            raise CloudError(f"{request.name}: {errors}")
        earlier.append(sent)


def validation_errors(service: str, operation: str, parameters: Parameters) -> str:
    """Return the violations of the service's model, or else of `RULES`, in one line; empty if valid."""
    model = operation_model(service, operation)
    shape = model.input_shape
    values = {key: b"" if isinstance(v, LocalFile) else v for key, v in parameters.items()}
    for name in model.idempotent_members:  # set by boto3
        values.setdefault(name, "token")
    report = ParamValidator().validate(values, shape)
    if report.has_errors():
        return "; ".join(str(report.generate_report()).splitlines())
    errors = [
        *_invalid_enum_values(values, shape, ""),
        *request_violations(SentRequest(service, operation, parameters)),
    ]
    return "; ".join(errors)


def _invalid_enum_values(value: Any, shape: Any, path: str) -> list[str]:
    """Return values outside an enumeration, which botocore does not check."""
    lines: list[str] = []
    if shape.type_name == "structure" and isinstance(value, dict):
        for key, item in value.items():
            lines += _invalid_enum_values(item, shape.members[key], f"{path}.{key}")
    elif shape.type_name == "list" and isinstance(value, list):
        for number, item in enumerate(value):
            lines += _invalid_enum_values(item, shape.member, f"{path}[{number}]")
    elif shape.type_name == "map" and isinstance(value, dict):
        for key, item in value.items():
            lines += _invalid_enum_values(item, shape.value, f"{path}.{key}")
    elif value not in (allowed := getattr(shape, "enum", None) or [value]):
        lines.append(f"{path[1:]} is {value!r}, not one of {', '.join(allowed)}")
    return lines
