"""Tests for `pomona cloud template`: settings are the defaults of the parameters."""

from __future__ import annotations

from pathlib import Path

import pytest

from bootstrap.resources.stack import read_template
from support.aws.account import ACCOUNT
from support.aws.cloudformation import parse_template
from support.aws.cluster_configs import MINIMAL
from support.processes.cli import Command


def test_template_without_configuration_lists_required_parameters(
    pomona: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, required in (("long-lived", "Name, DataBucket, LogBucket"), ("serverless", "Name")):
        done = pomona("cloud", "template", "--name", name)
        first, _, text = done.out.partition("\n")
        assert first == f"# Parameters: no cluster.toml; without default: {required}"
        assert text == read_template(name)
    (tmp_path / "cluster.toml").write_text(MINIMAL)
    assert (
        pomona("cloud", "template")
        .out.partition("\n")[0]
        .endswith("defaults of cluster.toml; without default: DataBucket, LogBucket")
    )


def test_template_name_must_exist(pomona: Command) -> None:
    done = pomona("cloud", "template", "--name", "buckets")
    assert done.status == 2
    assert done.error_line == "pomona: --name buckets: it must be long-lived or serverless"


def test_template_defaults_are_settings_of_configuration(
    pomona: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other.toml").write_text(
        MINIMAL
        + f'account = "{ACCOUNT}"\nevaluator.principals = ["arn:aws:iam::{ACCOUNT}:user/a"]\n'
        'storage.lake = "a/b/"\nnetwork.subnet = "subnet-0123456789abcdef0"\nlimits.nodes = 20\n'
    )
    printed = pomona("cloud", "template", "-f", str(tmp_path / "other.toml")).out
    assert printed.startswith(
        f"# Parameters: defaults of {tmp_path}/other.toml; without default: VpcId\n"
    )
    declared = parse_template(printed)["Parameters"]
    expected = {
        "Name": "fruits",
        "DataBucket": f"fruits-data-{ACCOUNT}",
        "LakeKey": "a/b",
        "LakeParentArns": f"arn:aws:s3:::fruits-data-{ACCOUNT}/a",
        "EvaluatorPrincipals": f"arn:aws:iam::{ACCOUNT}:user/a",
        "ScheduleExpression": "rate(1 hour)",
        "LogDays": "90",
        "AlarmAddress": "",
    }
    assert {name: declared[name]["Default"] for name in expected} == expected
    assert "Default" not in declared["VpcId"]
    other = pomona("cloud", "template", "--name", "serverless", "-f", str(tmp_path / "other.toml"))
    declared = parse_template(other.out)["Parameters"]
    assert declared["MaximumCpu"]["Default"] == "80 vCPU"
    assert declared["MaximumMemory"]["Default"] == "320 GB"
