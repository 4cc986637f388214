"""Tests for the option `--profile` of `pomona cloud`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import typer.main

from pomona.cloud.cli import app
from support.aws.cluster_configs import MINIMAL
from support.processes.cli import Command

OFFLINE = {"example", "template", "prices"}


def test_commands_that_talk_to_aws_have_the_option() -> None:
    found = {
        name: any("--profile" in parameter.opts for parameter in command.params)
        for name, command in typer.main.get_command(app).commands.items()  # type: ignore[attr-defined]
    }
    assert {name for name, has_option in found.items() if not has_option} == OFFLINE


def test_profile_replaces_keys_in_variables(
    pomona: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cluster.toml").write_text(MINIMAL)
    (tmp_path / "config").write_text("[profile other]\nregion = eu-west-1\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "wrong")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    monkeypatch.setenv("AWS_PROFILE", "default")
    file = str(tmp_path / "cluster.toml")
    result = pomona("cloud", "status", "-f", file, "--profile", "absent")
    assert "The config profile (absent) could not be found" in result.error_line
    # The profile has no credentials, and those in the variables are not used.
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "wrong")
    result = pomona("cloud", "status", "-f", file, "--profile", "other")
    assert "no credentials" in result.error_line
    assert "AWS_ACCESS_KEY_ID" not in os.environ
