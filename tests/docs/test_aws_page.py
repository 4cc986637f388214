"""Tests for docs/run-on-aws.md: each command on it is run, in its order, in an account of moto's."""

from __future__ import annotations

import gzip
import shlex
from pathlib import Path

import pytest

from support.aws_account import ACCOUNT, MAKER, CloudAccount
from support.cli import Command
from support.docs_pages import DOCS, lines

pytest_plugins = ["support.aws_fixtures"]
pytestmark = pytest.mark.slow


def log(account: CloudAccount) -> None:
    """What EMR logs of the step that ingests, minutes after it began."""
    emr = account.client("emr", MAKER)
    cluster = emr.list_clusters()["Clusters"][0]["Id"]
    (step,) = (
        step["Id"]
        for step in emr.list_steps(ClusterId=cluster)["Steps"]
        if "ingest" in step["Name"]
    )
    key = f"emr/{cluster}/steps/{step}/stderr.gz"
    content = gzip.compress(b"it runs\n")
    account.client("s3", MAKER).put_object(Bucket=f"fruits-log-{ACCOUNT}", Key=key, Body=content)


def test_each_command_of_the_page_ends_as_it_says(
    pomona: Command, account: CloudAccount, place: Path
) -> None:
    for line in lines(DOCS / "run-on-aws.md"):
        if line.words[2] == "logs":
            log(account)
        done = pomona(*line.words[1:])
        assert done.status == line.status, f"{shlex.join(line.words)}\n{done.out}{done.err}"
        assert "Traceback" not in done.err
        assert done.out
