"""Load `cluster.toml` into a `ClusterConfig`; errors name the line."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_type_hints

from bootstrap.config.lines import LineNumbers
from bootstrap.config.names import Names
from bootstrap.config.partition import region_partition
from bootstrap.config.schema import (
    EU_REGIONS,
    REGIONS_WITHOUT_BUDGETS,
    REQUIRED,
    RESERVED_BUCKET_PREFIXES,
    ClusterConfig,
    fields_of_keys,
    is_graviton,
)
from bootstrap.errors import ConfigError
from bootstrap.schedule_expression import expression_problem


def load_config(path: str) -> ClusterConfig:
    """Load and validate a configuration file.

    Parameters
    ----------
    path : str
        TOML file, see `cluster.example.toml`.

    Raises
    ------
    ConfigError
        For the first error, with its line, its value and the allowed values.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{path}: {(error.strerror or 'cannot be read').lower()}; "
            "specify the configuration with -f; `pomona cloud example` prints one"
        ) from error
    return parse_config(content, path)


def parse_config(content: bytes, path: str = "cluster.toml") -> ClusterConfig:
    """Parse and validate the content of a configuration file; `path` appears in error messages."""
    try:
        text = content.decode("utf-8-sig")  # Windows editors write a byte order mark
        values = tomllib.loads(text)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: invalid TOML: {error}") from error
    line_numbers = LineNumbers(path, text)
    for name in REQUIRED:
        if name not in values:
            raise ConfigError(
                f"{path}: {name} is missing; it must be {_allowed(ClusterConfig, name)}"
            )
    parsed: ClusterConfig = _parse_table(ClusterConfig, values, "", line_numbers)
    config = dataclasses.replace(parsed, lines=line_numbers)
    _check_consistency(config, line_numbers)
    return config


def parse_overrides(settings: Mapping[str, str], allowed: Sequence[str]) -> dict[str, Any]:
    """Validate single settings, such as ``--set instances.core=4``.

    Parameters
    ----------
    settings : dict of str
        Values by dotted key: TOML or, if that does not parse, plain text.
    allowed : list of str
        Dotted keys that may be set.

    Raises
    ------
    ConfigError
        For any other key, or a value that the schema does not allow.
    """
    result: dict[str, Any] = {}
    for dotted, text in settings.items():
        if dotted not in allowed:
            raise ConfigError(f"{dotted}: cannot be set here; allowed: {', '.join(allowed)}")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text
        table, _, name = dotted.rpartition(".")
        table_type = get_type_hints(ClusterConfig)[table] if table else ClusterConfig
        field = {field.name: field for field in dataclasses.fields(table_type)}[name]
        if not field.metadata["check"](value):
            raise ConfigError(f"{dotted} is {value!r}; it must be {field.metadata['allowed']}")
        result[dotted] = value
    return result


def _parse_table(
    table_type: Any, values: dict[str, Any], prefix: str, line_numbers: LineNumbers
) -> Any:
    """Validate a table and return it as a dataclass of type `table_type`."""
    fields = {field.name: field for field in fields_of_keys(table_type)}
    types = get_type_hints(table_type)
    result: dict[str, Any] = {}
    for name, value in values.items():
        dotted = prefix + name
        if name not in fields:
            table = f"[{prefix[:-1]}] " if prefix else ""
            raise ConfigError(
                f"{line_numbers(dotted)}: {dotted or repr(dotted)} is not a valid key; "
                f"{table}allowed: {', '.join(fields)}"
            )
        if dataclasses.is_dataclass(types[name]):
            if not isinstance(value, dict):
                raise ConfigError(f"{line_numbers(dotted)}: {dotted} must be a table, [{dotted}]")
            result[name] = _parse_table(types[name], value, f"{dotted}.", line_numbers)
            continue
        if not fields[name].metadata["check"](value):
            raise ConfigError(
                f"{line_numbers(dotted)}: {dotted} is {value!r}; it must be {_allowed(table_type, name)}"
            )
        result[name] = tuple(value) if isinstance(value, list) else value
    return table_type(**result)


def _allowed(table_type: Any, name: str) -> str:
    field = next(field for field in dataclasses.fields(table_type) if field.name == name)
    return str(field.metadata["allowed"])


#: Part of the default names of buckets if the configuration names no account; equals no valid name. The locations are
#: compared again with the account of the credentials, see `Names`.
_UNKNOWN_ACCOUNT = "<account>"
#: Keys whose value can make an omitted key invalid; the error then names their line.
_RELATED_KEYS = {
    "limits.nodes": ("instances.core", "instances.task"),
    "limits.core": ("instances.core", "limits.nodes"),
    "limits.on_demand": ("limits.core", "limits.nodes"),
    "instances.task_on_demand": ("instances.task",),
    "network.subnets": ("network.subnet",),
    "network.ssh_key": ("network.ssh_from",),
    "storage.data_bucket": ("storage.data_bucket_exists",),
    "storage.log_bucket": ("storage.log_bucket_exists",),
    "glue.database": ("glue.database_exists",),
    "alarms.stalled_minutes": ("ingest.trigger_seconds",),
    "alarms.address": ("alarms.monthly_budget",),
}


#: Tags of a resource, without the three that a cluster gets from Pomona.
_MAX_TAGS = 50 - 3
_TAG_CHARACTERS = "letters, digits, spaces and _.:/=+@-"


def _check_tags(config: ClusterConfig, line_numbers: LineNumbers) -> None:
    """Check the tags by the rules of all services; EMR Serverless allows the fewest characters."""
    tags = config.tags or {}
    if len(tags) > _MAX_TAGS:
        raise ConfigError(
            f"{line_numbers('tags')}: tags has {len(tags)} tags; AWS allows {_MAX_TAGS} in addition to those of Pomona"
        )
    folded = [key.lower() for key in tags]
    for key, value in tags.items():
        problem = None
        if not re.fullmatch(r"[\w .:/=+@-]{1,128}", key, re.ASCII):
            problem = f"the key must have 1 to 128 of {_TAG_CHARACTERS}"
        elif not re.fullmatch(r"[\w .:/=+@-]{0,256}", value, re.ASCII):
            problem = f"the value must have up to 256 of {_TAG_CHARACTERS}"
        elif key.lower().startswith("aws:"):
            problem = "AWS reserves keys that start with aws:"
        elif re.match("pomona(:|$)|for-use-with-amazon-emr-managed-policies$", key.lower()):
            problem = "Pomona sets this tag itself"
        elif folded.count(key.lower()) > 1:
            problem = "IAM does not distinguish keys that differ only in case"
        if problem:
            line = line_numbers(f"tags.{key}", "tags")
            raise ConfigError(f"{line}: tags has {key} = {value!r}: {problem}")


def _check_schedule(config: ClusterConfig, line_numbers: LineNumbers) -> None:
    expression = config.schedule
    if expression and (problem := expression_problem(expression)):
        line = line_numbers("refit.schedule")
        raise ConfigError(f"{line}: refit.schedule is {expression!r}: {problem}")
    if expression and expression.startswith("rate") and config.starts_clusters:
        line = line_numbers("refit.schedule")
        raise ConfigError(
            f"{line}: refit.schedule is {expression!r}: a rate starts a cluster as soon as `up` has created the "
            'schedule, in addition to that of `up`; with ingest.mode = "once", give times, such as cron(0 2 * * ? *)'
        )


def _check_reserved_names(config: ClusterConfig, line_numbers: LineNumbers) -> None:
    """Reject names that AWS does not accept for new resources."""
    name = config.name
    problem = None
    if config.mode == "cluster" and name.startswith("sg-"):
        problem = "EC2 accepts no security group whose name starts with sg-"
    elif config.glue.database and name == "primary":
        problem = "each account has an Athena workgroup of this name, and [glue] creates one"
    if problem:
        raise ConfigError(
            f"{line_numbers('name')}: name is {name!r}: {problem}; choose another name"
        )
    for role in ("data", "log"):
        if getattr(config.storage, f"{role}_bucket_exists"):
            continue
        key = f"storage.{role}_bucket"
        bucket = getattr(config.storage, f"{role}_bucket")
        for prefix in RESERVED_BUCKET_PREFIXES:
            if (bucket or name).startswith(prefix):
                written = f"{key} is {bucket!r}" if bucket else f"name is {name!r}"
                remedy = "" if bucket else f", or set {key}"
                raise ConfigError(
                    f"{line_numbers(key if bucket else 'name')}: {written}: S3 accepts no bucket whose name starts "
                    f"with {prefix}; choose another name{remedy}"
                )


def _check_arns(config: ClusterConfig, line_numbers: LineNumbers) -> None:
    """Check that ARNs are in the partition of the region, and the permissions boundary in the account."""
    try:
        partition = region_partition(config.region)
    except ConfigError as error:
        raise ConfigError(f"{line_numbers('region')}: {error}") from error
    arns = [(f"encryption.{name}", arn) for name, arn in vars(config.encryption).items()]
    arns += [("alarms.topic", config.alarms.topic), ("roles.boundary", config.roles.boundary)]
    arns += [("evaluator.principals", arn) for arn in config.evaluator.principals]
    for key, arn in arns:
        if arn and arn.split(":")[1] != partition:
            raise ConfigError(
                f"{line_numbers(key)}: {key} has {arn!r}; it must start with arn:{partition}:, the partition of "
                f"{config.region}"
            )
    if config.account and (problem := boundary_problem(config.roles.boundary, config.account)):
        raise ConfigError(f"{line_numbers('roles.boundary')}: {problem}")


def boundary_problem(boundary: str | None, account: str) -> str | None:
    """Return why a policy cannot be the permissions boundary of roles of an account; None if it can."""
    if boundary is None or boundary.split(":")[4] in ("aws", account):
        return None
    return (
        f"roles.boundary is {boundary!r}; it must be a policy of account {account}, which has the roles, or a managed "
        "policy of AWS"
    )


def _check_consistency(config: ClusterConfig, line_numbers: LineNumbers) -> None:
    """Check the constraints between keys."""
    _check_tags(config, line_numbers)
    _check_schedule(config, line_numbers)
    _check_reserved_names(config, line_numbers)
    _check_arns(config, line_numbers)
    instances, limits = config.instances, config.limits
    nodes = instances.core + instances.task
    for key, invalid, message in (
        (
            "region",
            config.residency is not None and config.region not in EU_REGIONS,
            f'region is {config.region!r}; with residency = "eu", it must be one of {", ".join(EU_REGIONS)}',
        ),
        (
            "limits.nodes",
            limits.nodes < nodes,
            f"limits.nodes is {limits.nodes}; it must be {nodes} or more, the initial number of nodes",
        ),
        (
            "limits.nodes",
            config.mode == "serverless" and limits.nodes <= config.reserved_nodes,
            f"limits.nodes is {limits.nodes}; on EMR Serverless, it must be {config.reserved_nodes + 1} or more: "
            f"driver and executor of the ingestion{' and of a refit' if config.schedule else ''}, 4 vCPU per node",
        ),
        (
            "limits.core",
            not instances.core <= limits.core <= limits.nodes,
            f"limits.core is {limits.core}; it must be {instances.core} to {limits.nodes}, "
            "from instances.core to limits.nodes",
        ),
        (
            "limits.core",
            config.mode == "cluster"
            and config.is_streaming
            and config.schedule is not None
            and limits.core < 2,
            f"limits.core is {limits.core}; a stream with refits needs 2 or more, because YARN gives half of the "
            'memory of core nodes to drivers; or set [refit] schedule = "never"',
        ),
        (
            "limits.on_demand",
            limits.on_demand is not None and not limits.core <= limits.on_demand <= limits.nodes,
            f"limits.on_demand is {limits.on_demand}; it must be {limits.core} to {limits.nodes}, "
            "from limits.core to limits.nodes",
        ),
        (
            "instances.task_on_demand",
            instances.task_on_demand > instances.task,
            f"instances.task_on_demand is {instances.task_on_demand}; it must be 0 to {instances.task}, "
            "the number of task nodes",
        ),
        (
            "instances.types",
            len(set(map(is_graviton, config.instance_types))) > 1,
            f"instances.types has Graviton types ({', '.join(filter(is_graviton, config.instance_types))}) and others; "
            "name types of one architecture, for which the environment is built",
        ),
        (
            "network.subnets",
            bool(config.network.subnet) and config.network.subnet not in config.subnets,
            f"network.subnets lacks network.subnet, {config.network.subnet}; add it, or remove network.subnet",
        ),
        (
            "network.ssh_key",
            bool(config.network.ssh_from) and config.network.ssh_key is None,
            "network.ssh_from opens SSH; it requires network.ssh_key, the name of an EC2 key pair",
        ),
        *(
            (
                f"storage.{role}_bucket",
                getattr(config.storage, f"{role}_bucket_exists")
                and not getattr(config.storage, f"{role}_bucket"),
                f"storage.{role}_bucket_exists requires storage.{role}_bucket, the name of the bucket",
            )
            for role in ("data", "log")
        ),
        *(
            (
                f"encryption.{name}",
                key is not None and key.split(":")[3] != config.region,
                f"encryption.{name} is {key!r}; it must be a key in {config.region}, the region of buckets and nodes",
            )
            for name, key in vars(config.encryption).items()
        ),
        (
            "glue.database",
            config.glue.database_exists and config.glue.database is None,
            "glue.database_exists requires glue.database, the name of the database",
        ),
        (
            "alarms.stalled_minutes",
            config.has_alarms
            and config.alarms.stalled_minutes * 60 <= config.ingest.trigger_seconds,
            f"alarms.stalled_minutes is {config.alarms.stalled_minutes}; it must be longer than "
            f"ingest.trigger_seconds, {config.ingest.trigger_seconds} seconds, or each pause of the "
            "stream raises an alarm",
        ),
        (
            "alarms.address",
            config.alarms.monthly_budget is not None and config.alarms.address is None,
            "alarms.monthly_budget requires alarms.address, the e-mail address for its notifications",
        ),
        (
            "alarms.monthly_budget",
            config.alarms.monthly_budget is not None and config.region in REGIONS_WITHOUT_BUDGETS,
            f"alarms.monthly_budget is {config.alarms.monthly_budget}; CloudFormation does not support "
            f"AWS::Budgets::Budget in {config.region}: remove it, and create a budget in the console of AWS Budgets",
        ),
        (
            "alarms.address",
            config.alarms.monthly_budget is not None
            and not re.fullmatch(
                r"[^:\\]{1,100}", f"{config.name}-monthly-{config.alarms.address}"
            ),
            "alarms.address is part of the name of the budget, with name and 9 more characters: up to 100 in all, and "
            "neither : nor \\; name a shorter address, or remove alarms.monthly_budget",
        ),
        (
            "alarms.topic",
            config.alarms.topic is not None and config.alarms.topic.split(":")[3] != config.region,
            f"alarms.topic is {config.alarms.topic!r}; it must be in the region {config.region}, as the alarms are",
        ),
    ):
        if invalid:
            raise ConfigError(f"{line_numbers(key, *_RELATED_KEYS.get(key, ()))}: {message}")
    Names(config, config.account or _UNKNOWN_ACCOUNT)  # rejects locations that overlap
