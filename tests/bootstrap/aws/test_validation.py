"""Tests for the check of requests: what botocore's models do not allow is not sent."""

from __future__ import annotations

import pytest

from bootstrap.aws.request import Request
from bootstrap.aws.validation import validate_request, validation_errors
from bootstrap.errors import CloudError


@pytest.mark.parametrize(
    ("service", "operation", "parameters", "told"),
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
def test_what_does_not_fit_is_told(
    service: str, operation: str, parameters: dict[str, object], told: str
) -> None:
    assert told in validation_errors(service, operation, parameters)
    request = Request("it", service, operation, parameters, "why", lambda _ask: None)
    with pytest.raises(CloudError, match=r"^it: "):
        validate_request(request)


def test_what_boto3_fills_in_itself_is_not_missed() -> None:
    told = {"name": "n", "releaseLabel": "emr-7.13.0", "type": "SPARK"}
    assert validation_errors("emr-serverless", "create_application", told) == ""
