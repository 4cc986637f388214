"""Tests for `bootstrap.resources.stack`: parameters of the templates follow from a configuration."""

from __future__ import annotations

import importlib.util
import json
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from bootstrap.config.loader import parse_config
from bootstrap.config.names import Names
from bootstrap.config.schema import EU_REGIONS, REGIONS_WITHOUT_BUDGETS
from bootstrap.deploy.deployer_policy import deployer_policies
from bootstrap.errors import ConfigError
from bootstrap.resources.schedule import create_schedule
from bootstrap.resources.serverless import create_application
from bootstrap.resources.stack import (
    TEMPLATES,
    fill_defaults,
    read_template,
    required_parameters,
    template_parameters,
)
from bootstrap.resources.steps import ingest_arguments, refit_arguments
from bootstrap.resources.template import template_body
from support.aws.account import ACCOUNT
from support.aws.cloudformation import Stack, parse_template
from support.aws.cluster_configs import MINIMAL, VARIANTS, names, uploads

TEXTS = {name: read_template(name) for name in TEMPLATES}
PARSED = {name: parse_template(text) for name, text in TEXTS.items()}
#: Configurations beyond `VARIANTS` that change what the template contains.
MORE = {
    "nested lake": 'storage.lake = "a/b/lake/"\n',
    "whole image bucket": 'storage.images = "s3://pictures/"\n',
    "named buckets": (
        'storage = {data_bucket = "mine", log_bucket = "theirs", images = "a/b/", log_days = 7}\n'
    ),
    "principals": (
        'evaluator.principals = ["arn:aws:iam::123456789012:user/alice", "arn:aws:iam::123456789012:role/x/y"]\n'
    ),
    "five sources": (
        'network = {ssh_key = "mine", ssh_from = ["192.0.2.1/32", "192.0.2.2/32", "192.0.2.3/32", '
        '"192.0.2.4/32", "198.51.100.0/24"]}\n'
    ),
    "private with JupyterHub": "network.private = true\n",
    "no schedule": 'refit.schedule = "never"\n',
    "serverless elsewhere": 'mode = "serverless"\nstorage.images = "s3://pictures/fruits/"\nlimits.nodes = 20\n',
}
#: Configurations whose policies the engine of `up` does not create.
ONLY_IN_STACK = {
    "alarms": 'alarms = {address = "ops@example.com", stalled_minutes = 20, backlog = 5, monthly_budget = 7}\n',
    "Glue": 'glue.database = "fruits"\n',
    "existing Glue database": 'glue = {database = "fruits", database_exists = true}\n',
    "alarms of a topic": 'alarms.topic = "arn:aws:sns:eu-west-1:123456789012:ops"\n',
}
CONFIGS = VARIANTS | MORE | ONLY_IN_STACK
SIX_SOURCES = json.dumps([f"192.0.2.{number}/32" for number in range(6)])


def later_parameters(config_names: Names, folder: Path) -> dict[str, str]:
    """Return the parameters that a configuration does not contain: references, and the input of the schedule."""
    later = {"VpcId": "${subnet.VpcId}", "ApplicationId": "${application.applicationId}"}
    if config_names.config.schedule:
        text = schedule(config_names, folder)["Target"]["Input"]
        later |= {
            "RefitInput": text[:4096],
            "RefitInputRest": text[4096:8192],
            "RefitInputEnd": text[8192:],
        }
    return later


def schedule(config_names: Names, folder: Path) -> Any:
    assert config_names.config.schedule
    locations = uploads(folder).locations(config_names)
    return create_schedule(config_names, locations, config_names.config.schedule)


def stacks(config_names: Names, later: dict[str, str], partition: str = "aws") -> list[Stack]:
    """Return the stacks of a configuration: the long-lived resources, and the application of mode serverless."""
    wanted = TEMPLATES if config_names.config.mode == "serverless" else TEMPLATES[:1]
    result = []
    for name in wanted:
        filled = {k: v for k, v in template_parameters(name, config_names).items() if v is not None}
        own = {key: value for key, value in later.items() if key in PARSED[name]["Parameters"]}
        result.append(Stack(PARSED[name], filled | own, partition))
    return result


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("partition", ["aws", "aws-cn"])
def test_template_creates_schedule_and_application_of_configuration(
    config: str, partition: str, tmp_path: Path
) -> None:
    config_names = Names(names(CONFIGS[config]).config, ACCOUNT, partition)
    created = {
        operation: parameters
        for stack in stacks(config_names, later_parameters(config_names, tmp_path), partition)
        for _, operation, parameters in stack.requests()
    }
    if config_names.config.schedule:
        assert created["create_schedule"] == schedule(config_names, tmp_path)
    else:
        assert "create_schedule" not in created
    if config_names.config.mode == "serverless":
        assert created["create_application"] == create_application(config_names)


@pytest.mark.parametrize("config", CONFIGS)
def test_parameters_satisfy_constraints_of_template(config: str) -> None:
    for name in TEMPLATES:
        declared = PARSED[name]["Parameters"]
        for parameter, value in template_parameters(name, names(CONFIGS[config])).items():
            rule = declared[parameter]
            if value is None:  # must be given, see below
                assert (config, parameter) == ("fleets", "VpcId")
                continue
            assert re.fullmatch(rule.get("AllowedPattern", ".*"), value), (parameter, value)
            assert value in rule.get("AllowedValues", [value])
            assert len(value.encode()) <= 4096
        if name == "long-lived" and names(CONFIGS[config]).config.mode == "cluster":
            values = {"VpcId": "vpc-0123456789abcdef0"}
            filled = template_parameters(name, names(CONFIGS[config]))
            given = {key: value for key, value in filled.items() if value is not None}
            assert Stack(PARSED[name], given | values).failed_assertions() == []


def test_unknown_values_must_be_given() -> None:
    config = parse_config((MINIMAL + 'storage.lake = "a/b/"\n').encode())
    unknown = template_parameters("long-lived", Names(config))
    assert {key for key, value in unknown.items() if value is None} == {
        "DataBucket",
        "LogBucket",
        "LakeParentArns",
    }
    assert required_parameters(fill_defaults(TEXTS["long-lived"], unknown)) == [
        "DataBucket",
        "LogBucket",
        "LakeParentArns",
    ]
    subnet = 'network.subnet = "subnet-0123456789abcdef0"\n'
    assert template_parameters("long-lived", names(subnet))["VpcId"] is None
    serverless = template_parameters("long-lived", names(subnet + 'mode = "serverless"\n'))
    assert serverless["VpcId"] == ""


@pytest.mark.slow
def test_filled_template_has_values_as_defaults() -> None:
    for name in TEMPLATES:
        for config in CONFIGS.values():
            parameters = template_parameters(name, names(config))
            declared = parse_template(fill_defaults(TEXTS[name], parameters))["Parameters"]
            assert {key: declared[key].get("Default") for key in parameters} == parameters
            assert declared.keys() == PARSED[name]["Parameters"].keys()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            f'network = {{ssh_key = "mine", ssh_from = {SIX_SOURCES}}}\n',
            "cluster.toml, line 3: network.ssh_from has 6 sources, and the template has parameters for 5: combine "
            "them into larger CIDR blocks",
        ),
        (
            'evaluator.principals = ["arn:aws:iam::123456789012:user/a,b"]\n',
            "cluster.toml, line 3: evaluator.principals contains arn:aws:iam::123456789012:user/a,b: a comma separates",
        ),
    ],
)
def test_configuration_without_parameter_is_rejected(more: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        template_parameters("long-lived", names(more))
    assert str(raised.value).startswith(message)


def test_alarms_go_to_recipient_of_configuration(tmp_path: Path) -> None:
    topic = "arn:aws:sns:eu-west-1:123456789012:ops"
    for config, recipient in (
        ("alarms", "arn:aws:sns:eu-west-1:123456789012:fruits-alarms"),
        ("alarms of a topic", topic),
    ):
        (stack,) = stacks(names(CONFIGS[config]), {"VpcId": ""})
        kinds = {"AWS::CloudWatch::Alarm", "AWS::Events::Rule"}
        reported = [one["Properties"] for one in stack.resources.values() if one["Type"] in kinds]
        assert len(reported) == 5
        for one in reported:
            targets = one.get("AlarmActions") or [target["Arn"] for target in one["Targets"]]
            assert targets == [recipient]
        assert ("Alarms" in stack.resources) == (recipient != topic)
    (stack,) = stacks(names(CONFIGS["alarms"]), {"VpcId": ""})
    assert stack.resources["StalledStream"]["Properties"]["Threshold"] == 20
    assert stack.resources["LargeBacklog"]["Properties"]["Threshold"] == 5
    assert stack.resources["Budget"]["Properties"]["Budget"]["BudgetLimit"]["Amount"] == 7


def test_template_has_only_types_of_its_region() -> None:
    """Compare with the types of CloudFormation by region, as cfn-lint distributes them."""
    spec = importlib.util.find_spec("cfnlint")
    assert spec
    assert spec.origin
    files = (Path(spec.origin).parent / "data" / "schemas" / "providers").glob("*-*.json")
    regions = {file.stem: json.loads(file.read_text()).keys() for file in files}
    assert set(EU_REGIONS) <= regions.keys()
    without = {region for region, known in regions.items() if "AWS::Budgets::Budget" not in known}
    assert without == set(REGIONS_WITHOUT_BUDGETS)
    for name in TEMPLATES:
        for region, known in regions.items():
            types = re.findall(r"^    Type: (AWS::\S+)$", read_template(name, region), re.MULTILINE)
            assert types
            assert set(types) <= known, region
    shortened = parse_template(read_template("long-lived", "eu-north-1"))
    complete = parse_template(read_template("long-lived"))
    assert complete["Resources"].keys() - shortened["Resources"].keys() == {"Budget"}
    assert shortened["Outputs"] == complete["Outputs"]
    assert "AWS::Budgets" not in template_body(read_template("long-lived", "eu-north-1"), {})
    with pytest.raises(
        ConfigError,
        match="monthly_budget is 7; CloudFormation does not support AWS::Budgets::Budget in",
    ):
        parse_config((MINIMAL.replace("eu-west-1", "eu-north-1") + CONFIGS["alarms"]).encode())


def test_budget_of_another_address_has_another_name() -> None:
    """A change of the subscribers replaces the budget, and its name is unique in the account."""
    found = (
        stacks(names(config), {"VpcId": ""})[0]
        for config in (CONFIGS["alarms"], CONFIGS["alarms"].replace("ops@", "others@"))
    )
    budgets = [one.resources["Budget"]["Properties"] for one in found]
    subscribers, budget_names = (
        {str(one[key]) for one in budgets} for key in ("NotificationsWithSubscribers", "Budget")
    )
    assert (len(subscribers), len(budget_names)) == (2, 2)
    granted = {
        resource
        for document in deployer_policies(names(CONFIGS["alarms"]))
        for statement in document["Statement"]
        if "budgets:ModifyBudget" in statement["Action"]
        for resource in statement["Resource"]
    }
    (pattern,) = granted  # contains the name before and after the change
    for one in budgets:
        assert fnmatchcase(
            f"arn:aws:budgets::123456789012:budget/{one['Budget']['BudgetName']}", pattern
        )


@pytest.mark.parametrize("mode", ["cluster", "serverless"])
def test_stream_publishes_metrics_of_alarms(mode: str, tmp_path: Path) -> None:
    """Compare the arguments of the stream with the permission of its role; see also `template_rules`.

    Jobs of EMR Serverless without a VPC do not reach CloudWatch.
    """
    with_alarms = names(f'mode = "{mode}"\n{CONFIGS["alarms"]}')
    found = stacks(with_alarms, {"ApplicationId": "00f1r2u3i4t5s678"})
    alarms = {"StalledStream", "LargeBacklog"} & {name for one in found for name in one.resources}
    statements = [
        one
        for stack in found
        for service, operation, parameters in stack.requests()
        if operation == "put_role_policy"
        for one in json.loads(parameters["PolicyDocument"])["Statement"]
        if one["Action"] == ["cloudwatch:PutMetricData"]
    ]
    if mode == "serverless":
        assert (alarms, statements) == (set(), [])
        assert "--cloudwatch" not in ingest_arguments(with_alarms)
        return
    (statement,) = statements
    namespace = statement["Condition"]["StringEquals"]["cloudwatch:namespace"]
    assert ingest_arguments(with_alarms)[-2:] == ["--cloudwatch", namespace]
    assert len(alarms) == 2
    once = names(f'mode = "{mode}"\ningest.mode = "once"\n{CONFIGS["alarms"]}')
    for other in (names(f'mode = "{mode}"\n'), once):
        assert "--cloudwatch" not in ingest_arguments(other)


def test_stream_and_refits_register_tables() -> None:
    with_database, without = names(CONFIGS["Glue"]), names("")
    for arguments in (ingest_arguments, refit_arguments):
        assert arguments(with_database)[-2:] == ["--glue-database", "fruits"]
        assert "--glue-database" not in arguments(without)
