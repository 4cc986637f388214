"""Tests for `cluster.toml`: what is wrong in it is one line with its line's number and what is allowed."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from bootstrap.config.loader import load_config, parse_config, parse_overrides
from bootstrap.config.schema import REQUIRED, ClusterConfig
from bootstrap.errors import ConfigError

EXAMPLE = Path(__file__).parents[3] / "bootstrap" / "cluster.example.toml"
LEAST = 'name = "fruits"\nregion = "eu-west-1"\n'


def keys(kind: Any = ClusterConfig, prefix: str = "") -> dict[str, Any]:
    """Defaults of all keys by their dotted names."""
    found: dict[str, Any] = {}
    types = get_type_hints(kind)
    for field in dataclasses.fields(kind):
        if dataclasses.is_dataclass(types[field.name]):
            found |= keys(types[field.name], f"{prefix}{field.name}.")
        else:
            found[prefix + field.name] = field.default
    return found


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= (
            flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        )
    return found


def complaint(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config((LEAST + text).encode())
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_example_is_a_description_of_defaults() -> None:
    assert load_config(str(EXAMPLE)) == dataclasses.replace(
        parse_config(LEAST.encode()),
        refit=dataclasses.replace(parse_config(LEAST.encode()).refit, schedule="rate(1 hour)"),
    )


def test_the_example_shows_every_key_and_no_other() -> None:
    text = re.sub(r"^# (\w+ = )", r"\1", EXAMPLE.read_text(), flags=re.MULTILINE)
    shown = flat(tomllib.loads(text))
    assert set(shown) == set(keys())
    parse_config(text.encode())  # what is commented out is allowed too
    for key, default in keys().items():
        if default not in (None, ()) and key not in REQUIRED:
            assert shown[key] == default, key


def test_the_example_explains_every_key() -> None:
    for line in EXAMPLE.read_text().splitlines():
        if " = " in line:
            assert re.search(r".#\s*\S", line), line


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[instances]\ncores = 4", "line 4: instances.cores is not a valid key; [instances] allowed: type, core,"),
        ("colour = 1", "line 3: colour is not a valid key; allowed: name, region,"),
        ("\n\n[instances]\n# of them\ncore = 0", "line 7: instances.core is 0; it must be a whole number, 1 to"),
        ('[instances]\ncore = "2"', "line 4: instances.core is '2'; it must be a whole number"),
        ("[instances]\ncore = true", "line 4: instances.core is True; it must be a whole number"),
        ("instances.core = 2.5", "line 3: instances.core is 2.5; it must be a whole number"),
        ("instances = { core = -1 }", "line 3: instances.core is -1; it must be a whole number"),
        ('[instances]\ntype = "large"', "line 4: instances.type is 'large'; it must be an EC2 type"),
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
        ('[refit]\nschedule = "cron(hourly)"', "line 4: refit.schedule is 'cron(hourly)'; it must be never, "),
        ('[network]\nssh_from = ["1.2.3.400/32"]', "ssh_from is ['1.2.3.400/32']; it must be addresses"),
        ('[network]\nssh_from = ["1.2.3.4/24"]', "ssh_from is ['1.2.3.4/24']; it must be addresses"),
        ('[network]\nssh_from = [1]', "line 4: network.ssh_from is [1]; it must be addresses"),
        ('colour."of".leaves = 1', "line 3: colour is not a valid key; allowed: name, region,"),
        ('"" = 1', "line 3: '' is not a valid key; allowed: name, region,"),
        ('[storage]\ndata_bucket = "one"\nlog_bucket = "one"', "line 5: storage.log_bucket is 'one'; it must differ"),
        ('[network]\nssh_from = ["1.2.3.4/32"]', "line 4: network.ssh_from opens SSH; it requires"),
        ('[evaluator]\nprincipals = ["alice"]', "line 4: evaluator.principals is ['alice']; it must be ARNs"),
        ("[instances", "invalid TOML: "),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_in_one_line(text: str, told: str) -> None:
    said = complaint(text)
    assert said.startswith("cluster.toml")
    assert told in said


def test_a_mark_of_the_order_of_bytes_is_no_word() -> None:
    assert parse_config(b"\xef\xbb\xbf" + LEAST.encode()) == parse_config(LEAST.encode())


@pytest.mark.parametrize("name", REQUIRED)
def test_a_name_and_a_region_are_needed(name: str) -> None:
    text = "".join(line for line in LEAST.splitlines(True) if not line.startswith(name))
    with pytest.raises(ConfigError, match=f"{name} is missing; it must be "):
        parse_config(text.encode())


def test_a_file_that_is_not_there_is_told_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such file.*`pomona cloud example` prints one"):
        load_config(str(tmp_path / "cluster.toml"))


def test_keys_set_on_the_command_line_are_checked_as_those_of_the_file() -> None:
    allowed = ["name", "instances.core", "instances.type"]
    told = {"instances.core": "1", "instances.type": "m6i.xlarge", "name": '"two"'}
    assert parse_overrides(told, allowed) == {**told, "instances.core": 1, "name": "two"}
    for key, value, complaint in (
        (
            "instances.core",
            "many",
            "instances.core is 'many'; it must be a whole number, 1 to 1000",
        ),
        ("instances.cores", "1", "instances.cores: cannot be set here; allowed: name, instances.c"),
        ("instances.task", "1", "instances.task: cannot be set here"),
    ):
        with pytest.raises(ConfigError, match=re.escape(complaint)):
            parse_overrides({key: value}, allowed)


def test_refits_are_hourly_beside_a_stream_and_else_only_when_asked_for() -> None:
    for text, schedule in (
        ("", "rate(1 hour)"),
        ('ingest.mode = "once"', None),
        ('refit.schedule = "never"', None),
        ('ingest.mode = "once"\nrefit.schedule = "rate(1 day)"', "rate(1 day)"),
    ):
        assert parse_config((LEAST + text).encode()).schedule == schedule
