"""Tests for `bootstrap.config.loader`: errors name the line, the value and the allowed values."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from bootstrap.config.loader import load_config, parse_config, parse_overrides
from bootstrap.config.schema import REQUIRED, ClusterConfig, fields_of_keys
from bootstrap.errors import ConfigError

EXAMPLE = Path(__file__).parents[3] / "bootstrap" / "cluster.example.toml"
KEY = "arn:aws:kms:eu-west-2:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
MINIMAL = 'name = "fruits"\nregion = "eu-west-1"\n'


def keys(table_type: Any = ClusterConfig, prefix: str = "") -> dict[str, Any]:
    """Return the defaults of all keys by dotted name."""
    defaults: dict[str, Any] = {}
    types = get_type_hints(table_type)
    for field in fields_of_keys(table_type):
        if dataclasses.is_dataclass(types[field.name]):
            defaults |= keys(types[field.name], f"{prefix}{field.name}.")
        else:
            defaults[prefix + field.name] = field.default
    return defaults


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in values.items():
        result |= (
            flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        )
    return result


def error_message(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config((MINIMAL + text).encode())
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_example_has_default_values() -> None:
    assert load_config(str(EXAMPLE)) == dataclasses.replace(
        parse_config(MINIMAL.encode()),
        refit=dataclasses.replace(parse_config(MINIMAL.encode()).refit, schedule="rate(1 hour)"),
    )


@pytest.mark.parametrize(
    "more", ['refit.schedule = "never"', 'ingest.mode = "once"', 'mode = "serverless"']
)
def test_one_core_node_suffices_for_one_driver(more: str) -> None:
    config = parse_config(f"{MINIMAL}instances.core = 1\nlimits.core = 1\n{more}\n".encode())
    assert config.limits.core == 1


def test_example_has_all_keys() -> None:
    text = re.sub(r"^# (\w+ = )", r"\1", EXAMPLE.read_text(), flags=re.MULTILINE)
    shown = {
        "tags" if key.startswith("tags.") else key: value
        for key, value in flatten(tomllib.loads(text)).items()
    }
    assert set(shown) == set(keys())
    parse_config(text.encode())  # the commented-out lines are valid
    for key, default in keys().items():
        if default not in (None, ()) and key not in REQUIRED:
            assert shown[key] == default, key


def test_example_has_comment_for_each_key() -> None:
    for line in EXAMPLE.read_text().splitlines():
        if " = " in line:
            assert re.search(r".#\s*\S", line), line


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[instances]\ncores = 4", "line 4: instances.cores is not a valid key; [instances] allowed: type, types,"),
        ("colour = 1", "line 3: colour is not a valid key; allowed: name, region,"),
        ("\n\n[instances]\n# comment\ncore = 0", "line 7: instances.core is 0; it must be a whole number, 1 to"),
        ('[instances]\ncore = "2"', "line 4: instances.core is '2'; it must be a whole number"),
        ("[instances]\ncore = true", "line 4: instances.core is True; it must be a whole number"),
        ("instances.core = 2.5", "line 3: instances.core is 2.5; it must be a whole number"),
        ("instances = { core = -1 }", "line 3: instances.core is -1; it must be a whole number"),
        ('[instances]\ntype = "large"', "line 4: instances.type is 'large'; it must be an EC2 instance type"),
        ("instances = 3", "line 3: instances must be a table"),
        ('release = "emr-6.0.0"', "it must be one of emr-7.13.0, emr-spark-8.0.0"),
        ('mode = "fast"', "line 3: mode is 'fast'; it must be one of cluster, serverless"),
        ("account = 123456789012", "line 3: account is 123456789012; it must be the 12 digits"),
        ('[network]\nssh_from = ["0.0.0.0/0"]', "line 4: network.ssh_from is ['0.0.0.0/0']; it must be addr"),
        ('[network]\nssh_from = "1.2.3.4/32"', "line 4: network.ssh_from is '1.2.3.4/32'; it must be addr"),
        ('[storage]\nimages = "pomona/"', "line 4: storage.images is 'pomona/'; it must be a folder"),
        ('[storage]\ndata_bucket = "Fruits"', "line 4: storage.data_bucket is 'Fruits'; it must be 3 to 63"),
        ('[refit]\nschedule = "hourly"', "line 4: refit.schedule is 'hourly'; it must be never, rate(1 hour),"),
        ("[refit]\nvariance = 1.5", "line 4: refit.variance is 1.5; it must be a fraction"),
        ("[limits]\nnodes = 1", "line 4: limits.nodes is 1; it must be 2 or more"),
        ("[instances]\ncore = 3", "line 4: limits.core is 2; it must be 3 to 8"),
        ('[storage]\nlake = "images/lake/"', "line 4: storage.images is 'images/'; it must not contain the lake"),
        ('[storage]\nlake = "lake/../images/"', "line 4: storage.lake is 'lake/../images/'; it must be a folder"),
        ('[storage]\nimages = "s3://others/./"', "line 4: storage.images is 's3://others/./'; it must be a folder"),
        ('[storage]\nimages = "b\u00e4ume/"', "line 4: storage.images is 'b\u00e4ume/'; it must be a folder"),
        ('account = "\u0661\u0662\u0663456789012"', "line 3: account is '\u0661\u0662\u0663"),
        ('[refit]\nschedule = "cron(hourly)"', "line 4: refit.schedule is 'cron(hourly)': a cron expression has 6 "),
        (
            '[refit]\nschedule = "cron(0 2 * * * *)"',
            "line 4: refit.schedule is 'cron(0 2 * * * *)': day-of-month is * and day-of-week is *; exactly one of",
        ),
        ('[refit]\nschedule = "rate(0 hours)"', "line 4: refit.schedule is 'rate(0 hours)': a rate is a whole number"),
        (
            '[refit]\nschedule = "rate(1 day)"\n[ingest]\nmode = "once"',
            "line 4: refit.schedule is 'rate(1 day)': a rate starts a cluster as soon as `up` has created the schedule",
        ),
        ('[network]\nssh_from = ["1.2.3.400/32"]', "ssh_from is ['1.2.3.400/32']; it must be addresses"),
        ('[network]\nssh_from = ["1.2.3.4/24"]', "ssh_from is ['1.2.3.4/24']; it must be addresses"),
        ('[network]\nssh_from = [1]', "line 4: network.ssh_from is [1]; it must be addresses"),
        ('colour."of".leaves = 1', "line 3: colour is not a valid key; allowed: name, region,"),
        ('"" = 1', "line 3: '' is not a valid key; allowed: name, region,"),
        ('[storage]\ndata_bucket = "one"\nlog_bucket = "one"', "line 5: storage.log_bucket is 'one'; it must differ"),
        ('[network]\nssh_from = ["1.2.3.4/32"]', "line 4: network.ssh_from opens SSH; it requires"),
        ('[evaluator]\nprincipals = ["alice"]', "line 4: evaluator.principals is ['alice']; it must be ARNs"),
        ('[storage]\ndata_bucket_exists = true', "line 4: storage.data_bucket_exists requires storage.data_bucket"),
        ('[storage]\nlog_bucket_exists = true', "line 4: storage.log_bucket_exists requires storage.log_bucket"),
        ('[roles]\npath = "teams/"', "line 4: roles.path is 'teams/'; it must be a path such as /teams/fruits/"),
        ('[roles]\npath = "/a//b/"', "line 4: roles.path is '/a//b/'; it must be a path such as"),
        ('[roles]\nboundary = "boundary"', "line 4: roles.boundary is 'boundary'; it must be the ARN of a managed"),
        ('[roles]\nnodes = "/teams/nodes"', "line 4: roles.nodes is '/teams/nodes'; it must be the name of an"),
        ('[roles]\nservice = "arn:aws:iam::1:role/a"', "line 4: roles.service is 'arn:aws:iam::1:role/a'; it must"),
        ('[encryption]\ndata_key = "alias/mine"', "line 4: encryption.data_key is 'alias/mine'; it must be the ARN of"),
        (f'[encryption]\nlog_key = "{KEY}"', "it must be a key in eu-west-1, the region of buckets and nodes"),
        ("[glue]\ndatabase_exists = true", "line 4: glue.database_exists requires glue.database, the name"),
        ('[glue]\ndatabase = "my-fruits"', "line 4: glue.database is 'my-fruits'; it must be 1 to 255 of a-z"),
        ('[alarms]\naddress = "ops"', "line 4: alarms.address is 'ops'; it must be an e-mail address"),
        ('[alarms]\ntopic = "ops"', "line 4: alarms.topic is 'ops'; it must be the ARN of an SNS topic"),
        ("[alarms]\nmonthly_budget = 5", "line 4: alarms.monthly_budget requires alarms.address, the e-mail"),
        (
            "instances.core = 1\nlimits.core = 1",
            "line 4: limits.core is 1; a stream with refits needs 2 or more",
        ),
        (
            f'[alarms]\nmonthly_budget = 5\naddress = "{"a" * 90}@b.c"',
            "line 5: alarms.address is part of the name of the budget",
        ),
        (
            '[ingest]\ntrigger_seconds = 3600\n[alarms]\naddress = "a@b.c"',
            "line 4: alarms.stalled_minutes is 60; it must be longer than ingest.trigger_seconds, 3600 seconds",
        ),
        ('alarms.topic = "arn:aws:sns:us-east-1:123456789012:ops"', "it must be in the region eu-west-1, as"),
        ('[tags]\n"aws:team" = "a"', "line 3: tags has aws:team = 'a': AWS reserves keys that start with aws:"),
        ('[tags]\nteam = 1', "line 3: tags is {'team': 1}; it must be a table of strings"),
        ('[tags]\npomona = "a"', "line 4: tags has pomona = 'a': Pomona sets this tag itself"),
        ('[tags]\nteam = "a"\nTeam = "b"', "line 4: tags has team = 'a': IAM does not distinguish keys"),
        ('[tags]\nteam = "M\u00fcller"', "the value must have up to 256 of letters, digits, spaces and _.:/=+@-"),
        (f'[tags]\n{"k" * 129} = "a"', "the key must have 1 to 128 of"),
        (f'[tags]\nk = "{"v" * 257}"', "the value must have up to 256 of"),
        ("[tags]\n" + "".join(f't{n} = ""\n' for n in range(48)), "line 3: tags has 48 tags; AWS allows 47"),
        ('residency = "us"', "line 3: residency is 'us'; it must be eu"),
        ("[instances]\ntypes = []", "line 4: instances.types is []; it must be a list of 1 to 30 different EC2"),
        ('[instances]\ntypes = ["m5.large", "m5.large"]', "it must be a list of 1 to 30 different EC2 instance types"),
        ('[instances]\ntypes = ["large"]', "line 4: instances.types is ['large']; it must be a list"),
        ("[instances]\ntask = 1\ntask_on_demand = 2", "line 5: instances.task_on_demand is 2; it must be 0 to 1"),
        (
            '[instances]\ntypes = ["m6i.large", "m7g.large", "c6gn.large"]',
            "line 4: instances.types has Graviton types (m7g.large, c6gn.large) and others; name types of one arch",
        ),
        ("[limits]\non_demand = 1", "line 4: limits.on_demand is 1; it must be 2 to 8, from limits.core to"),
        ("[limits]\non_demand = 9", "line 4: limits.on_demand is 9; it must be 2 to 8, from limits.core to"),
        ('[network]\nsubnets = ["subnet-1"]', "line 4: network.subnets is ['subnet-1']; it must be a list of 1 to 16"),
        (
            '[network]\nsubnet = "subnet-12345678"\nsubnets = ["subnet-87654321"]',
            "line 5: network.subnets lacks network.subnet, subnet-12345678; add it, or remove network.subnet",
        ),
        ("[instances", "invalid TOML: "),
    ],
)  # fmt: skip
def test_invalid_configuration_is_reported_in_one_line(text: str, message: str) -> None:
    error = error_message(text)
    assert error.startswith("cluster.toml")
    assert message in error


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        ("sg-fruits", "", "line 1: name is 'sg-fruits': EC2 accepts no security group whose name starts with sg-"),
        ("primary", 'glue.database = "fruits"\n', "line 1: name is 'primary': each account has an Athena workgroup"),
        ("xn--fruits", "", "line 1: name is 'xn--fruits': S3 accepts no bucket whose name starts with xn--; choose "
         "another name, or set storage.data_bucket"),
        ("sthree-fruits", 'storage.data_bucket = "mine"\n', "sthree-; choose another name, or set storage.log_bucket"),
        ("amzn-s3-demo-fruits", "", "starts with amzn-s3-demo-; choose another name, or set storage.data_bucket"),
        ("fruits", 'storage.data_bucket = "xn--a"\n', "line 3: storage.data_bucket is 'xn--a': S3 accepts no bucket"),
        ("fruits", 'storage.log_bucket = "sthree-a"\n', "line 3: storage.log_bucket is 'sthree-a': S3 accepts no"),
        *(("fruits", f'storage.log_bucket = "{bucket}"\n', f"storage.log_bucket is '{bucket}'; it must be 3 to 63")
          for bucket in ("a-s3alias", "a--ol-s3", "a--euw1-az1--x-s3", "a--table-s3", "a.mrap")),
    ],
)  # fmt: skip
def test_reserved_name_is_rejected(name: str, more: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        parse_config(f'name = "{name}"\nregion = "eu-west-1"\n{more}'.encode())


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("sg-fruits", 'mode = "serverless"\n'),
        ("sgfruits", ""),
        ("primary", ""),
        ("xn--fruits", 'storage = {data_bucket = "mine", log_bucket = "other"}\n'),
        ("fruits", 'storage = {data_bucket = "sthree-old", data_bucket_exists = true}\n'),
    ],
)
def test_name_is_accepted_if_no_resource_with_a_reserved_name_is_created(
    name: str, more: str
) -> None:
    assert parse_config(f'name = "{name}"\nregion = "eu-west-1"\n{more}'.encode()).name == name


@pytest.mark.parametrize(
    ("instance_type", "machine"),
    [
        *((one, "aarch64") for one in ("a1.large", "m7g.xlarge", "c6gn.large", "r8gd.large", "im4gn.large")),
        *((one, "x86_64") for one in ("m5.xlarge", "g4dn.xlarge", "g6.xlarge", "m6id.large", "gr6.4xlarge")),
    ],
)  # fmt: skip
def test_architecture_of_nodes(instance_type: str, machine: str) -> None:
    text = f'{MINIMAL}instances.type = "{instance_type}"\n'
    assert parse_config(text.encode()).machine == machine
    assert parse_config((text + 'mode = "serverless"\n').encode()).machine == "x86_64"


def test_byte_order_mark_is_ignored() -> None:
    assert parse_config(b"\xef\xbb\xbf" + MINIMAL.encode()) == parse_config(MINIMAL.encode())


@pytest.mark.parametrize("name", REQUIRED)
def test_missing_required_key_is_reported(name: str) -> None:
    text = "".join(line for line in MINIMAL.splitlines(True) if not line.startswith(name))
    with pytest.raises(ConfigError, match=f"{name} is missing; it must be "):
        parse_config(text.encode())


def test_missing_file_is_reported_with_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such file.*`pomona cloud example` prints one"):
        load_config(str(tmp_path / "cluster.toml"))


def test_overrides_are_validated_like_file() -> None:
    allowed = ["name", "instances.core", "instances.type"]
    overrides = {"instances.core": "1", "instances.type": "m6i.xlarge", "name": '"two"'}
    assert parse_overrides(overrides, allowed) == {**overrides, "instances.core": 1, "name": "two"}
    for key, value, message in (
        (
            "instances.core",
            "many",
            "instances.core is 'many'; it must be a whole number, 1 to 1000",
        ),
        ("instances.cores", "1", "instances.cores: cannot be set here; allowed: name, instances.c"),
        ("instances.task", "1", "instances.task: cannot be set here"),
    ):
        with pytest.raises(ConfigError, match=re.escape(message)):
            parse_overrides({key: value}, allowed)


def test_schedule_is_hourly_with_stream_and_otherwise_never() -> None:
    for text, schedule in (
        ("", "rate(1 hour)"),
        ('ingest.mode = "once"', None),
        ('refit.schedule = "never"', None),
        ('ingest.mode = "once"\nrefit.schedule = "cron(0 2 * * ? *)"', "cron(0 2 * * ? *)"),
        (
            'ingest.mode = "once"\nmode = "serverless"\nrefit.schedule = "rate(1 day)"',
            "rate(1 day)",
        ),
    ):
        assert parse_config((MINIMAL + text).encode()).schedule == schedule


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-2", "eu-central-2"])
def test_residency_rejects_regions_outside_of_the_eu(region: str) -> None:
    text = f'name = "fruits"\nregion = "{region}"\nresidency = "eu"\n'
    with pytest.raises(ConfigError, match=f"line 2: region is '{region}'; with residency = \"eu\""):
        parse_config(text.encode())


def test_residency_allows_the_european_sovereign_cloud() -> None:
    text = 'name = "fruits"\nregion = "eusc-de-east-1"\nresidency = "eu"\n'
    assert parse_config(text.encode()).region == "eusc-de-east-1"


CHINA = 'name = "fruits"\nregion = "cn-north-1"\n'


@pytest.mark.parametrize(
    ("key", "arn"),
    [
        ("encryption.data_key", f"arn:aws:kms:cn-north-1:123456789012:key/{'a' * 36}"),
        ("alarms.topic", "arn:aws:sns:cn-north-1:123456789012:ops"),
        ("roles.boundary", "arn:aws:iam::aws:policy/ReadOnlyAccess"),
        ("evaluator.principals", "arn:aws:iam::123456789012:user/alice"),
    ],
)
def test_arns_must_be_in_the_partition_of_the_region(key: str, arn: str) -> None:
    template = f'{key} = ["{{}}"]' if key.endswith("principals") else f'{key} = "{{}}"'
    with pytest.raises(ConfigError) as caught:
        parse_config((CHINA + template.format(arn)).encode())
    assert str(caught.value) == (
        f"cluster.toml, line 3: {key} has '{arn}'; it must start with arn:aws-cn:, the partition of cn-north-1"
    )
    parse_config((CHINA + template.format(arn.replace("arn:aws:", "arn:aws-cn:"))).encode())


def test_region_of_no_partition_is_rejected() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(b'name = "fruits"\nregion = "xx-west-1"\n')
    assert str(caught.value) == (
        "cluster.toml, line 2: region is 'xx-west-1', which is not an AWS region: correct it"
    )


def test_boundary_must_be_in_the_account_or_of_aws() -> None:
    boundary = 'roles.boundary = "arn:aws:iam::{}:policy/limit"\n'
    with pytest.raises(ConfigError) as caught:
        parse_config(
            (MINIMAL + 'account = "123456789012"\n' + boundary.format("999999999999")).encode()
        )
    assert str(caught.value) == (
        "cluster.toml, line 4: roles.boundary is 'arn:aws:iam::999999999999:policy/limit'; it must be a policy of "
        "account 123456789012, which has the roles, or a managed policy of AWS"
    )
    for account in ("123456789012", "aws"):
        parse_config((MINIMAL + 'account = "123456789012"\n' + boundary.format(account)).encode())
    parse_config((MINIMAL + boundary.format("999999999999")).encode())  # the account is unknown
