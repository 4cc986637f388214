"""Tests for `bootstrap.resources.template`: compared with a YAML parser, and a resolver of the whole template."""

from __future__ import annotations

import pytest
import yaml

from bootstrap.errors import CloudError
from bootstrap.resources import template as module
from bootstrap.resources.stack import TEMPLATES, read_template, template_parameters
from bootstrap.resources.template import (
    SIZE_LIMIT,
    template_body,
    template_purposes,
    template_resources,
)
from support.aws.cloudformation import Stack, parse_template
from support.aws.cluster_configs import VARIANTS, names

OPTIONS = {
    "ApplicationId": "a1",
    "RefitInput": "{}",
    "NotifyObjects": "true",
    "GlueDatabase": "fruits",
    "AlarmAddress": "ops@example.com",
    "MonthlyBudget": "100",
}


def given(name: str, variant: str, *, options: bool) -> dict[str, str]:
    parameters = template_parameters(name, names(VARIANTS[variant]))
    values = {key: value for key, value in parameters.items() if value is not None}
    return values | (OPTIONS if options and name == "long-lived" else {})


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("options", [False, True])
def test_resources_are_those_whose_condition_holds(variant: str, options: bool) -> None:
    for name in TEMPLATES:
        text, parameters = read_template(name), given(name, variant, options=options)
        expected = Stack(parse_template(text), parameters).resources
        found = template_resources(text, parameters)
        assert [(one.name, one.type) for one in found] == [
            (logical, one["Type"]) for logical, one in expected.items()
        ]
        for one in found:
            properties = expected[one.name]["Properties"]
            named = [v for k, v in properties.items() if k.endswith("Name") and k != "PolicyName"]
            if one.type in ("AWS::IAM::Role", "AWS::SQS::Queue", "AWS::CloudWatch::Alarm"):
                assert one.physical_name({"Name": "fruits"}) in named


@pytest.mark.parametrize("name", TEMPLATES)
def test_each_resource_has_a_purpose(name: str) -> None:
    purposes = template_purposes(read_template(name))
    assert purposes.keys() == parse_template(read_template(name))["Resources"].keys()
    assert all(purposes.values())


@pytest.mark.parametrize("name", TEMPLATES)
def test_body_is_the_template_with_literal_names_of_retained_buckets(name: str) -> None:
    text, parameters = read_template(name), given(name, "stream", options=False)
    body = template_body(text, parameters)
    expected = yaml.safe_load(yaml.safe_dump(parse_template(text)))
    del expected["Metadata"]
    for one in expected["Parameters"].values():
        one.pop("Description", None)
        one.pop("ConstraintDescription", None)
    for logical, parameter in (("Data", "DataBucket"), ("Logs", "LogBucket")):
        if name == "long-lived":
            resources = expected["Resources"]
            resources[logical]["Properties"]["BucketName"] = parameters[parameter]
            resources[f"{logical}Policy"]["Properties"]["Bucket"] = parameters[parameter]
    if name == "long-lived":
        expected["Resources"]["Catalog"]["Properties"]["DatabaseName"] = parameters["GlueDatabase"]
    assert parse_template(body) == expected
    assert len(body.encode()) <= SIZE_LIMIT


def test_body_beyond_the_limit_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SIZE_LIMIT", 1000)
    with pytest.raises(
        CloudError, match=r"^the template has [\d,]+ bytes, and CloudFormation accepts 1,000"
    ):
        template_body(read_template("long-lived"), {})
