"""The CloudFormation templates: long-lived resources, and the application of EMR Serverless.

`bootstrap/templates/` contains one YAML file each, see docs/decisions/0071-cloudformation-for-long-lived-resources.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import bootstrap
from bootstrap.config.names import PLACEHOLDER_ACCOUNT, ROLES, Names
from bootstrap.config.schema import REGIONS_WITHOUT_BUDGETS
from bootstrap.errors import ConfigError
from bootstrap.resources.iam_node_policies import lake_parent_arns
from bootstrap.resources.serverless import create_application
from bootstrap.resources.template import without_resource

#: Names of the templates, which are those of their files.
TEMPLATES = ("long-lived", "serverless")
#: Number of SSH sources for which the template has parameters.
_SSH_SOURCES = 5


def read_template(name: str, region: str | None = None) -> str:
    """Return the text of a template of `TEMPLATES`; with a region, without resource types that it does not support.

    CloudFormation may reject a template with an unknown type even if the condition of the resource is false.
    """
    folder = Path(bootstrap.__file__).parent / "templates"
    text = (folder / f"{name}.yaml").read_text(encoding="utf-8")
    return without_resource(text, "Budget") if region in REGIONS_WITHOUT_BUDGETS else text


def template_parameters(name: str, names: Names) -> dict[str, str | None]:
    """Return the parameters of a template that follow from a configuration.

    Parameters
    ----------
    name : str
        Name of the template.
    names : Names
        With `PLACEHOLDER_ACCOUNT` if the account is unknown.

    Returns
    -------
    dict
        By parameter; None: the value is unknown, and must be given when the template is deployed.

    Raises
    ------
    ConfigError
        If the template cannot express the configuration.
    """
    return _application(names) if name == "serverless" else _long_lived(names)


def fill_defaults(template: str, parameters: Mapping[str, str | None]) -> str:
    """Return the text of a template with these values as defaults; None removes a default."""
    for name, value in parameters.items():
        line = "" if value is None else f"    Default: {json.dumps(value)}\n"
        pattern = rf"^(  {name}:\n    Type: .+\n)(?:    Default: .*\n)?"
        (declared,) = re.finditer(pattern, template, re.MULTILINE)
        template = template[: declared.start()] + declared[1] + line + template[declared.end() :]
    return template


def required_parameters(template: str) -> list[str]:
    """Return the parameters of a template that have no default."""
    types = "String|Number|CommaDelimitedList"
    return re.findall(
        rf"^  (\w+):\n    Type: (?:{types})\n(?!    Default:)", template, re.MULTILINE
    )


def _long_lived(names: Names) -> dict[str, str | None]:
    config = names.config
    storage, network = config.storage, config.network
    unknown_account = names.account == PLACEHOLDER_ACCOUNT
    unknown_data_bucket = unknown_account and storage.data_bucket is None
    unknown_log_bucket = unknown_account and storage.log_bucket is None
    parents = lake_parent_arns(names)
    bucket, prefix = names.images
    sources = network.ssh_from
    if len(sources) > _SSH_SOURCES:
        raise ConfigError(
            f"{config.lines('network.ssh_from')}: network.ssh_from has {len(sources)} sources, and the template has "
            f"parameters for {_SSH_SOURCES}: combine them into larger CIDR blocks"
        )
    for principal in config.evaluator.principals:
        if "," in principal:
            raise ConfigError(
                f"{config.lines('evaluator.principals')}: evaluator.principals contains {principal}: a comma separates "
                "the values of a CloudFormation parameter; name the account, or a principal without a comma"
            )
    ssh = {
        f"SshFrom{number + 1}": sources[number] if number < len(sources) else ""
        for number in range(_SSH_SOURCES)
    }
    existing = {
        f"Existing{suffix.title()}Role": names.existing_role(suffix) or "" for suffix in ROLES
    }
    return {
        "Name": config.name,
        "Mode": config.mode,
        "IngestMode": config.ingest.mode,
        "Release": config.release,
        "DataBucket": None if unknown_data_bucket else names.data_bucket,
        "LogBucket": None if unknown_log_bucket else names.log_bucket,
        "DataBucketExists": str(storage.data_bucket_exists).lower(),
        "LogBucketExists": str(storage.log_bucket_exists).lower(),
        "LogDays": str(storage.log_days),
        "LakeKey": storage.lake.rstrip("/"),
        "LakeParentArns": None if parents and unknown_data_bucket else ",".join(parents),
        "ImagesBucket": bucket if storage.images.startswith("s3://") else "",
        "ImagesKey": prefix.rstrip("/"),
        "EvaluatorPrincipals": ",".join(config.evaluator.principals),
        "PermissionsBoundary": config.roles.boundary or "",
        "RolePath": config.roles.path,
        **existing,
        "DataKeyArn": config.encryption.data_key or "",
        "LogKeyArn": config.encryption.log_key or "",
        "ImagesKeyArn": config.encryption.images_key or "",
        "DiskKeyArn": config.encryption.disk_key or "",
        # The configuration names a subnet, not its VPC.
        "VpcId": None if config.subnets and config.mode == "cluster" else "",
        "Private": str(network.private).lower(),
        **ssh,
        "ScheduleExpression": config.schedule or "",
        "LimitHours": str(config.limits.hours or 0),
        "GlueDatabase": config.glue.database or "",
        "GlueDatabaseExists": str(config.glue.database_exists).lower(),
        "AlarmAddress": config.alarms.address or "",
        "AlarmTopic": config.alarms.topic or "",
        "StalledMinutes": str(config.alarms.stalled_minutes),
        "MaximumBacklog": str(config.alarms.backlog),
        "MonthlyBudget": str(config.alarms.monthly_budget or 0),
    }


def _application(names: Names) -> dict[str, str | None]:
    application = create_application(names)
    return {
        "Name": application["name"],
        "Release": application["releaseLabel"],
        "MaximumCpu": application["maximumCapacity"]["cpu"],
        "MaximumMemory": application["maximumCapacity"]["memory"],
        "IdleMinutes": str(application["autoStopConfiguration"]["idleTimeoutMinutes"]),
    }
