"""Tests for `bootstrap.aws.validation`: requests that botocore's models reject."""

from __future__ import annotations

import pytest

from bootstrap.aws.request import Request
from bootstrap.aws.validation import validate_requests, validation_errors
from bootstrap.errors import CloudError


@pytest.mark.parametrize(
    ("service", "operation", "parameters", "message"),
    [
        ("s3", "create_bucket", {}, 'Missing required parameter in input: "Bucket"'),
        ("s3", "create_bucket", {"Bucket": "b", "Colour": 1}, 'Unknown parameter in input: "Colour"'),
        ("emr", "run_job_flow", {"Name": "n", "Instances": {}, "StepConcurrencyLevel": "2"}, "Invalid type"),
        ("iam", "create_role", {"RoleName": "", "AssumeRolePolicyDocument": "{}"}, "Invalid length"),
        (
            "emr",
            "run_job_flow",
            {"Name": "n", "Instances": {"InstanceGroups": [
                {"InstanceRole": "CORE", "InstanceType": "m5.xlarge", "InstanceCount": 1, "Market": "CHEAP"}]}},
            "Instances.InstanceGroups[0].Market is 'CHEAP', not one of ON_DEMAND, SPOT",
        ),
    ],
)  # fmt: skip
def test_invalid_parameters_are_reported(
    service: str, operation: str, parameters: dict[str, object], message: str
) -> None:
    assert message in validation_errors(service, operation, parameters)
    request = Request("name", service, operation, parameters, "purpose", lambda _read: None)
    with pytest.raises(CloudError, match=r"^name: "):
        validate_requests([request])


def test_parameters_set_by_boto3_are_not_required() -> None:
    parameters = {"name": "n", "releaseLabel": "emr-7.13.0", "type": "SPARK"}
    assert validation_errors("emr-serverless", "create_application", parameters) == ""
