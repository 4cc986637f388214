"""Tests for the pages about AWS: their commands, in order, on the moto server."""

from __future__ import annotations

import gzip
import re
import shlex
from pathlib import Path

import pytest

from support.aws.account import ACCOUNT, ADMIN, MotoAccount
from support.aws.workspace import WEIGHTS
from support.pages.docs_pages import DOCS, page_commands
from support.processes.cli import Command, set_terminal_input

pytest_plugins = ["support.aws.fixtures"]
pytestmark = pytest.mark.slow


def put_step_log(account: MotoAccount) -> None:
    """Write the log that EMR uploads for the ingestion step minutes after it has started."""
    emr = account.client("emr", ADMIN)
    cluster = emr.list_clusters()["Clusters"][0]["Id"]
    (step,) = (
        step["Id"]
        for step in emr.list_steps(ClusterId=cluster)["Steps"]
        if "ingest" in step["Name"]
    )
    key = f"emr/{cluster}/steps/{step}/stderr.gz"
    content = gzip.compress(b"it runs\n")
    account.client("s3", ADMIN).put_object(Bucket=f"fruits-log-{ACCOUNT}", Key=key, Body=content)


@pytest.mark.parametrize("page", ["how-to/run-on-emr.md", "tutorials/first-report-on-aws.md"])
def test_commands_of_page_end_with_documented_exit_code(
    page: str,
    pomona: Command,
    account: MotoAccount,
    workspace: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if page.startswith("tutorials"):
        (configuration,) = re.findall(
            r"^```toml\n(.*?)^```$", (DOCS / page).read_text(), re.M | re.S
        )
        assert f'account = "{ACCOUNT}"' in configuration
        (workspace / "cluster.toml").write_text(WEIGHTS + configuration)
    for command in page_commands(DOCS / page):
        set_terminal_input(monkeypatch, "y\n")
        if command.arguments[2] == "logs":
            put_step_log(account)
        done = pomona(*command.arguments[1:])
        line = shlex.join(command.arguments)
        assert done.status == command.exit_code, f"{line}\n{done.out}{done.err}"
        assert "Traceback" not in done.err
        assert done.out
