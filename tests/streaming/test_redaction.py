"""Tests for secrets in words: locations hold none, and no line on the terminal does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from streaming.errors import SourceError, UsageError
from streaming.sanitize import redact, redact_environment_secrets
from streaming.spark.s3a_settings import s3a_settings
from streaming.storage.interface import normalize
from support.cli import Command, environment, forbid_spark, make_place

SECRET = "wJalrPlanted/K7MDENG+bPxRfiCYEXAMPLEKEY0"


@pytest.fixture(autouse=True)
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    forbid_spark(monkeypatch)
    return make_place(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("text", "told"),
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
def test_secrets_are_starred_and_nothing_else_is(text: str, told: str) -> None:
    assert redact(text) == told


def test_data_lose_the_own_secret_only(monkeypatch: pytest.MonkeyPatch) -> None:
    assert redact_environment_secrets(f"{SECRET} s3://a:b@c") == "*** s3://a:b@c"
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")  # no secret, but a word
    assert redact_environment_secrets("testing") == "testing"


@pytest.mark.parametrize(
    "location", [f"s3://AKIA:{SECRET}@bucket/x", "s3a://me@bucket", "s3://a:b@c"]
)
def test_a_location_with_credentials_is_refused_and_not_repeated(location: str) -> None:
    with pytest.raises(
        UsageError, match=r"must not contain credentials: write s3a?://BUCKET"
    ) as refused:
        normalize(location)
    assert "bucket/x" not in str(refused.value)
    assert SECRET not in str(refused.value)


def test_a_password_in_the_endpoint_is_kept_from_spark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://user:{SECRET[:12]}@127.0.0.1:9")
    with pytest.raises(SourceError, match="AWS_ENDPOINT_URL") as refused:
        s3a_settings()
    assert SECRET[:12] not in str(refused.value)


WORDS = [
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


@pytest.mark.parametrize("line", WORDS)
def test_wrong_words_with_a_secret_in_them_are_not_repeated(
    pomona: Command, place: Path, line: str
) -> None:
    done = pomona(*line.format(SECRET).split(" "))
    assert done.status in (1, 2)
    assert done.err
    for part in (SECRET, SECRET[:16], SECRET[-16:]):
        assert part not in done.out + done.err
    assert "Traceback" not in done.err


def test_a_log_line_is_one_line_without_a_secret() -> None:
    program = (
        "import logging, sys; sys.argv = ['pomona', '--version']\n"
        "from pomona import cli\n"
        "cli.app = lambda: logging.getLogger('x').warning('%s\\npomona: \\x1b[2J %s', 'all', sys.stdin.read())\n"
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


def test_a_traceback_holds_no_secret() -> None:
    program = (
        "import os, sys; sys.argv = ['pomona', '--version']\n"
        "from pomona import cli\n"
        "def fail(): raise RuntimeError(os.environ['AWS_SECRET_ACCESS_KEY'])\n"
        "cli.app = fail\n"
        "cli.main()\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
    assert done.returncode == 1
    assert "RuntimeError" in done.stderr
    assert SECRET not in done.stderr
