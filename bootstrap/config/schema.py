"""Schema of `cluster.toml`: one dataclass per table, one field per key, with default and allowed values."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from ipaddress import IPv4Network
from typing import Any

from bootstrap.config.lines import LineNumbers

#: EMR releases with the versions of Spark and Delta that Pomona is tested with.
RELEASES = ("emr-7.13.0", "emr-spark-8.0.0")


#: Regions in member states of the EU; London and Zurich are not. The last one is the European Sovereign Cloud.
EU_REGIONS = (
    "eu-central-1",
    "eu-north-1",
    "eu-south-1",
    "eu-south-2",
    "eu-west-1",
    "eu-west-3",
    "eusc-de-east-1",
)

#: Regions in which CloudFormation lacks the type AWS::Budgets::Budget.
REGIONS_WITHOUT_BUDGETS = (
    "af-south-1",
    "ap-east-1",
    "ap-east-2",
    "ap-northeast-3",
    "ap-south-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ap-southeast-5",
    "ap-southeast-6",
    "ap-southeast-7",
    "ca-west-1",
    "eu-central-2",
    "eu-north-1",
    "eu-south-1",
    "eu-south-2",
    "il-central-1",
    "me-central-1",
    "mx-central-1",
    "us-gov-east-1",
    "us-gov-west-1",
)


def key(default: Any, allowed: str, check: Callable[[Any], bool]) -> Any:
    """Return a dataclass field with its default (None: optional), a description of the allowed values, and a check."""
    return field(default=default, metadata={"allowed": allowed, "check": check})


def text(default: str | None, pattern: str, allowed: str) -> Any:
    """Return a string field that must match a pattern."""
    return key(
        default,
        allowed,
        # AWS accepts only ASCII letters and digits in names and in the resources of a policy.
        lambda v: isinstance(v, str) and re.fullmatch(pattern, v, re.ASCII) is not None,
    )


def choice(default: str, *options: str) -> Any:
    """Return a field with one of these values."""
    return key(default, "one of " + ", ".join(options), lambda v: v in options)


def number(default: int | None, low: int, high: int) -> Any:
    """Return an integer field."""
    return key(default, f"a whole number, {low} to {high}", lambda v: _is_int(v, low, high))


def flag(default: bool) -> Any:
    """Return a boolean field."""
    return key(default, "true or false", lambda v: isinstance(v, bool))


def _is_int(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


# An alias of an access point names a bucket that has another name; directory and table buckets have other interfaces.
BUCKET = r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9](?<!-s3alias)(?<!--ol-s3)(?<!--x-s3)(?<!--table-s3)"
BUCKETS_ALLOWED = (
    "3 to 63 of a-z, 0-9 and -, without the ending of an access point alias (-s3alias, --ol-s3), "
    "a directory bucket (--x-s3) or a table bucket (--table-s3)"
)
#: Beginnings of names that S3 reserves; older buckets may have them.
RESERVED_BUCKET_PREFIXES = ("xn--", "sthree-", "amzn-s3-demo-")
# Uploads are below pomona/, notebooks of JupyterHub below jupyter/.
FOLDER = r"(?!(?:pomona|jupyter)/)(?:(?!\.{1,2}/)[\w.-]+/)+"
ARN = r"arn:aws[a-z-]*:(?:iam|sts)::\d{12}:(?:root|(?:user|role)/[\w+=,.@/-]+)"
# An IAM path, without slashes at its ends.
ROLE_PATH = r"[\w+=,.@-]+(?:/[\w+=,.@-]+)*"
EXISTING_ROLE = rf"(?=.{{1,512}}$)(?:{ROLE_PATH}/)?[\w+=,.@-]{{1,64}}"
ROLE_ALLOWED = "the name of an existing role, with its path: emr-nodes or teams/emr-nodes"
# Policies cannot name an alias.
KMS_KEY = r"arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:key/[a-z0-9-]{36}"
KMS_KEY_ALLOWED = "the ARN of a KMS key, arn:aws:kms:REGION:ACCOUNT:key/ID, not of an alias"
EXPRESSION = r"(?:rate|cron)\(.+\)|never"  # the loader checks what is in the parentheses
INSTANCE_TYPE, SUBNET = r"[a-z][a-z0-9-]*\.[a-z0-9]+", r"subnet-[0-9a-f]{8,17}"
#: Instance types of a fleet that has an allocation strategy.
MAX_TYPES = 30
CIDRS_ALLOWED = "addresses such as 203.0.113.7/32 or 203.0.113.0/24 (0.0.0.0/0 is not allowed)"


def is_graviton(instance_type: str) -> bool:
    """Return whether an instance type has a Graviton processor: the family has a g after the generation."""
    return re.match(r"(?:a1|[a-z]+\d+g[a-z]*)\.", instance_type) is not None


def _restricted_cidrs(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_restricted_cidr, value))


def _is_restricted_cidr(value: Any) -> bool:
    """Return whether a value is a canonical IPv4 CIDR block other than 0.0.0.0/0."""
    try:
        return value == str(network := IPv4Network(value)) and network.prefixlen > 0
    except ValueError:
        return False


def _are_distinct(pattern: str, limit: int) -> Callable[[Any], bool]:
    """Return a check for a list of up to `limit` different texts that match a pattern."""

    def check(value: Any) -> bool:
        """Return whether a value is such a list."""
        texts = isinstance(value, list) and all(isinstance(item, str) for item in value)
        matching = texts and all(re.fullmatch(pattern, item, re.ASCII) for item in value)
        return bool(matching) and len(set(value)) == len(value) and 1 <= len(value) <= limit

    return check


def _are_texts(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(item, str) for item in value.values())


def _are_principals(value: Any) -> bool:
    texts = isinstance(value, list) and all(isinstance(item, str) for item in value)
    return texts and all(re.fullmatch(ARN, item, re.ASCII) for item in value)


@dataclass(frozen=True)
class Storage:
    """Buckets, and the prefixes of images and lake."""

    data_bucket: str | None = text(None, BUCKET, BUCKETS_ALLOWED)
    log_bucket: str | None = text(None, BUCKET, BUCKETS_ALLOWED)
    data_bucket_exists: bool = flag(False)
    log_bucket_exists: bool = flag(False)
    images: str = text(
        "images/",
        rf"{FOLDER}|s3://{BUCKET}/(?:(?!\.{{1,2}}/)[\w.-]+/)*",
        "a folder of the data bucket such as images/ (pomona/ and jupyter/ are reserved), "
        "or s3://bucket/folder/",
    )
    lake: str = text(
        "lake/",
        FOLDER,
        "a folder of the data bucket such as lake/ (pomona/ and jupyter/ are reserved)",
    )
    log_days: int = number(90, 1, 3650)


@dataclass(frozen=True)
class Files:
    """Files to upload; relative paths refer to the folder of `cluster.toml`."""

    weights: str = text("imagenet", r"[^\x00-\x1f]+", "imagenet, random, or a Keras .h5")
    environment: str = text("environment.tar.gz", r"[^\x00-\x1f]+\.tar\.gz", "a .tar.gz archive")
    notebooks: str | None = text(None, r"[^\x00-\x1f]+", "a folder of notebooks")


@dataclass(frozen=True)
class Ingest:
    """Mode of ingestion; restarts and trigger interval apply to a stream."""

    mode: str = choice("stream", "stream", "once")
    restarts_an_hour: int = number(5, 1, 10)
    trigger_seconds: int = number(60, 1, 86_400)


@dataclass(frozen=True)
class Refit:
    """Schedule of refits; default: hourly with a stream, otherwise never."""

    schedule: str | None = text(
        None, EXPRESSION, "never, rate(1 hour), rate(6 hours), cron(0 2 * * ? *) or similar"
    )
    variance: float = key(
        0.95,
        "a fraction greater than 0 and less than 1",
        lambda v: isinstance(v, float) and 0 < v < 1,
    )


@dataclass(frozen=True)
class Instances:
    """Nodes: one primary, `core` On-Demand, `task` Spot except `task_on_demand` of them.

    They are of one type, in instance groups. `types`, `task_on_demand` or several subnets select instance fleets.
    """

    type: str = text("m5.xlarge", INSTANCE_TYPE, "an EC2 instance type such as m5.xlarge")
    types: tuple[str, ...] = key(
        (),
        f"a list of 1 to {MAX_TYPES} different EC2 instance types",
        _are_distinct(INSTANCE_TYPE, MAX_TYPES),
    )
    core: int = number(2, 1, 1000)
    task: int = number(0, 0, 1000)
    task_on_demand: int = number(0, 0, 1000)
    disk_gb: int = number(64, 32, 16384)


@dataclass(frozen=True)
class Limits:
    """Limits of managed scaling, and of the time that a cluster runs."""

    nodes: int = number(8, 1, 2000)
    core: int = number(2, 1, 1000)
    on_demand: int | None = number(None, 1, 2000)
    idle_minutes: int = number(60, 1, 10080)
    hours: int | None = number(None, 1, 8760)


@dataclass(frozen=True)
class Network:
    """Subnets of the nodes, and SSH access to them."""

    subnet: str | None = text(None, SUBNET, "the ID of a subnet")
    subnets: tuple[str, ...] = key(
        (), "a list of 1 to 16 different IDs of subnets", _are_distinct(SUBNET, 16)
    )
    private: bool = flag(False)
    ssh_key: str | None = text(None, r"[\x21-\x7e][\x20-\x7e]*", "the name of an EC2 key pair")
    ssh_from: tuple[str, ...] = key((), CIDRS_ALLOWED, _restricted_cidrs)


@dataclass(frozen=True)
class Glue:
    """Database of the Glue Data Catalog in which stream and refits register the tables, for Athena; default: none."""

    database: str | None = text(None, r"[a-z0-9_]{1,255}", "1 to 255 of a-z, 0-9 and _")
    database_exists: bool = flag(False)


@dataclass(frozen=True)
class Alarms:
    """Recipients and limits of alarms; without a recipient, there are none, and the stream publishes no metrics."""

    address: str | None = text(None, r"[^@\s,]+@[^@\s,]+", "an e-mail address")
    topic: str | None = text(
        None, r"arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[\w-]{1,256}", "the ARN of an SNS topic"
    )
    stalled_minutes: int = number(60, 1, 10080)
    backlog: int = number(100_000, 0, 1_000_000_000)
    monthly_budget: int | None = number(None, 1, 10_000_000)


@dataclass(frozen=True)
class Evaluator:
    """Principals that may assume the read-only role; default: users of the account."""

    principals: tuple[str, ...] = key((), "ARNs of users, roles or accounts", _are_principals)


@dataclass(frozen=True)
class Roles:
    """Path and permissions boundary of new roles, or the names of existing roles."""

    path: str = text("/", rf"(?=.{{1,512}}$)/(?:{ROLE_PATH}/)?", "a path such as /teams/fruits/")
    boundary: str | None = text(
        None,
        r"arn:aws[a-z-]*:iam::(?:\d{12}|aws):policy/[\w+=,.@/-]+",
        "the ARN of a managed policy",
    )
    service: str | None = text(None, EXISTING_ROLE, ROLE_ALLOWED)
    nodes: str | None = text(
        None, EXISTING_ROLE, f"{ROLE_ALLOWED}; its instance profile has the same name"
    )
    job: str | None = text(None, EXISTING_ROLE, ROLE_ALLOWED)
    scheduler: str | None = text(None, EXISTING_ROLE, ROLE_ALLOWED)
    evaluator: str | None = text(None, EXISTING_ROLE, ROLE_ALLOWED)


@dataclass(frozen=True)
class Encryption:
    """KMS keys in the region of the configuration; default: SSE-S3, and the AWS managed key for EBS."""

    data_key: str | None = text(None, KMS_KEY, KMS_KEY_ALLOWED)
    log_key: str | None = text(None, KMS_KEY, KMS_KEY_ALLOWED)
    images_key: str | None = text(None, KMS_KEY, KMS_KEY_ALLOWED)
    disk_key: str | None = text(None, KMS_KEY, KMS_KEY_ALLOWED)


@dataclass(frozen=True)
class ClusterConfig:
    """Contents of `cluster.toml`."""

    name: str = text(
        None, r"[a-z][a-z0-9-]{1,29}", "2 to 30 of a-z, 0-9 and -, starting with a letter"
    )
    region: str = text(None, r"[a-z]{2,4}(?:-[a-z]+)+-\d", "a region such as eu-west-1")
    account: str | None = text(None, r"\d{12}", 'the 12 digits of an account, in "quotes"')
    mode: str = choice("cluster", "cluster", "serverless")
    release: str = choice(RELEASES[0], *RELEASES)
    residency: str | None = key(None, "eu", lambda value: value == "eu")
    stack: str | None = text(
        None, r"[a-zA-Z][a-zA-Z0-9-]{0,127}", "the name of an existing CloudFormation stack"
    )
    tags: Mapping[str, str] | None = key(
        None, 'a table of strings, such as team = "fruits"', _are_texts
    )
    storage: Storage = field(default_factory=Storage)
    files: Files = field(default_factory=Files)
    ingest: Ingest = field(default_factory=Ingest)
    refit: Refit = field(default_factory=Refit)
    instances: Instances = field(default_factory=Instances)
    limits: Limits = field(default_factory=Limits)
    network: Network = field(default_factory=Network)
    evaluator: Evaluator = field(default_factory=Evaluator)
    roles: Roles = field(default_factory=Roles)
    encryption: Encryption = field(default_factory=Encryption)
    glue: Glue = field(default_factory=Glue)
    alarms: Alarms = field(default_factory=Alarms)
    #: Where the keys are in the file, for error messages; no key itself.
    lines: LineNumbers = field(
        default_factory=lambda: LineNumbers("cluster.toml", ""), repr=False, compare=False
    )

    @property
    def is_streaming(self) -> bool:
        """Whether ingestion runs until it is stopped."""
        return self.ingest.mode == "stream"

    @property
    def starts_clusters(self) -> bool:
        """Whether a refit is the last step of a cluster that ingests first, and the schedule starts such clusters."""
        return self.mode == "cluster" and not self.is_streaming

    @property
    def has_fleets(self) -> bool:
        """Whether the nodes are in instance fleets; instance groups have one type, one market and one subnet."""
        instances = self.instances
        return bool(instances.types or instances.task_on_demand or self.network.subnets)

    @property
    def instance_types(self) -> tuple[str, ...]:
        """Instance types of the nodes."""
        return self.instances.types or (self.instances.type,)

    @property
    def machine(self) -> str:
        """Architecture of the nodes, as `uname -m` prints it."""
        types = () if self.mode == "serverless" else self.instance_types
        return "aarch64" if any(map(is_graviton, types)) else "x86_64"

    @property
    def subnets(self) -> tuple[str, ...]:
        """IDs of the subnets; empty: a subnet of the default VPC."""
        network = self.network
        return network.subnets or ((network.subnet,) if network.subnet else ())

    @property
    def on_demand_limit(self) -> int:
        """Maximum of On-Demand core and task nodes for managed scaling."""
        limits = self.limits
        return limits.on_demand or min(limits.core + self.instances.task_on_demand, limits.nodes)

    @property
    def reserved_nodes(self) -> int:
        """Nodes of the limit that ingestion leaves to drivers and refits; a node of EMR Serverless is an executor."""
        return 2 if self.mode == "serverless" and self.schedule else 1

    @property
    def has_alarms(self) -> bool:
        """Whether alarms have a recipient."""
        return bool(self.alarms.address or self.alarms.topic)

    @property
    def publishes_metrics(self) -> bool:
        """Whether ingestion publishes the metrics of its alarms; jobs of EMR Serverless do not reach CloudWatch."""
        return self.has_alarms and self.is_streaming and self.mode == "cluster"

    @property
    def schedule(self) -> str | None:
        """Schedule expression of refits; None: no schedule."""
        expression = self.refit.schedule or ("rate(1 hour)" if self.is_streaming else "never")
        return None if expression == "never" else expression


def fields_of_keys(table_type: Any) -> list[Field[Any]]:
    """Return the fields of a table that are keys of the file, or tables."""
    return [one for one in fields(table_type) if one.compare]


#: Required top-level keys.
REQUIRED = ("name", "region")
