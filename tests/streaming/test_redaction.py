"""Tests for redaction: locations must not contain secrets, and output never does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from streaming.errors import SourceError, UsageError
from streaming.sanitize import redact, redact_environment_secrets
from streaming.spark.s3a_settings import s3a_settings
from streaming.storage.interface import normalize
from support.processes.cli import Command, environment, forbid_spark, make_workspace

SECRET = "wJalrPlanted/K7MDENG+bPxRfiCYEXAMPLEKEY0"


@pytest.fixture(autouse=True)
def secret_in_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)


@pytest.fixture
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    forbid_spark(monkeypatch)
    return make_workspace(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        (f"the key {SECRET}, twice {SECRET}", "the key ***, twice ***"),
        ("s3://AKIA:ab/c+d@bucket/x no lake", "s3://***@bucket/x no lake"),
        ("http://user:pass@127.0.0.1:80/x@y", "http://***@127.0.0.1:80/x@y"),
        ("https://b/x?X-Amz-Signature=ab12&y=1", "https://b/x?X-Amz-Signature=***&y=1"),
        ("http://127.0.0.1:8080/a?b=c@d", "http://127.0.0.1:8080/a?b=c@d"),
        ("s3a://bucket/a:b@c/Fig@2.jpg", "s3a://bucket/a:b@c/Fig@2.jpg"),
        ("file:/photos/a:b@c.jpg", "file:/photos/a:b@c.jpg"),
    ],
)
def test_redact_replaces_only_secrets(text: str, redacted: str) -> None:
    assert redact(text) == redacted


def test_redact_environment_secrets_keeps_locations_and_short_values(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert redact_environment_secrets(f"{SECRET} s3://a:b@c") == "*** s3://a:b@c"
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")  # a placeholder, not a secret
    assert redact_environment_secrets("testing") == "testing"


@pytest.mark.parametrize(
    "location", [f"s3://AKIA:{SECRET}@bucket/x", "s3a://me@bucket", "s3://a:b@c"]
)
def test_location_with_credentials_is_rejected_without_repeating_it(location: str) -> None:
    with pytest.raises(
        UsageError, match=r"must not contain credentials: write s3a?://BUCKET"
    ) as caught:
        normalize(location)
    assert "bucket/x" not in str(caught.value)
    assert SECRET not in str(caught.value)


def test_endpoint_with_password_is_rejected_for_spark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://user:{SECRET[:12]}@127.0.0.1:9")
    with pytest.raises(SourceError, match="AWS_ENDPOINT_URL") as caught:
        s3a_settings()
    assert SECRET[:12] not in str(caught.value)


COMMAND_LINES = [
    "ingest s3://AKIA:{}@bucket/photos lake",
    "ingest photos s3://AKIA:{}@bucket/lake",
    "ingest photos lake --weights s3://AKIA:{}@bucket/w.h5",
    "ingest photos lake --weights {}",
    "ingest photos lake --secret-key {}",
    "ingest photos lake --aws-secret-access-key={}",
    "ingest photos lake {}",
    "ingest photos lake --engine {}",
    "ingest photos lake --trigger {}",
    "ingest https://AKIA:{}@bucket.example/photos lake",
    "refit lake --as-of {}",
    "refit lake --fit-on s3://AKIA:{}@bucket",
    "status {}",
    "quarantine lake --reason {}",
    "{}",
]


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_secret_in_invalid_arguments_is_not_repeated(
    pomona: Command, working_folder: Path, line: str
) -> None:
    done = pomona(*line.format(SECRET).split(" "))
    assert done.status in (1, 2)
    assert done.err
    for part in (SECRET, SECRET[:16], SECRET[-16:]):
        assert part not in done.out + done.err
    assert "Traceback" not in done.err


def test_log_record_is_one_line_without_secret() -> None:
    program = (
        "import logging, sys; sys.argv = ['pomona', '--version']\n"
        "from pomona import cli\n"
        "cli.app = lambda **_: logging.getLogger('x').warning('%s\\npomona: \\x1b[2J %s', 'all', sys.stdin.read())\n"
        "cli.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=SECRET,
        capture_output=True,
        text=True,
        check=True,
        env=environment(),
    )
    assert done.stderr == "pomona: all\\npomona: \\x1b[2J ***\n"


def test_traceback_contains_no_secret() -> None:
    program = (
        "import os, sys; sys.argv = ['pomona', '--version']\n"
        "from pomona import cli\n"
        "def fail(**_): raise RuntimeError(os.environ['AWS_SECRET_ACCESS_KEY'])\n"
        "cli.app = fail\n"
        "cli.main()\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
    assert done.returncode == 1
    assert "RuntimeError" in done.stderr
    assert SECRET not in done.stderr
