"""Tests for `pomona cloud policy --check`.

moto lacks SimulatePrincipalPolicy, so a small server answers STS and IAM in their XML format. It decides by the
requested action only: what IAM would decide is not tested here.
"""

from __future__ import annotations

import threading
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from support.aws.account import ACCOUNT
from support.aws.cluster_configs import MINIMAL
from support.processes.cli import Command

ROLE = f"arn:aws:iam::{ACCOUNT}:role/teams/deployer"


class Simulator(ThreadingHTTPServer):
    """Answers for a session of `ROLE`; `denied` are actions, and `requests` the parameters of the simulations."""

    denied: frozenset[str] = frozenset()
    caller = f"arn:aws:sts::{ACCOUNT}:assumed-role/deployer/me"
    error = ""

    def __init__(self) -> None:
        self.requests: list[dict[str, str]] = []
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: Simulator

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        query = dict(urllib.parse.parse_qsl(body))
        action, status = query["Action"], 200
        if action == "GetCallerIdentity":
            content = (
                f"<Account>{ACCOUNT}</Account><Arn>{self.server.caller}</Arn><UserId>u</UserId>"
            )
        elif action == "GetRole":
            content = f"<Role><Arn>{ROLE}</Arn><RoleName>{query['RoleName']}</RoleName></Role>"
        elif self.server.error:
            content, status = (
                f"<Error><Code>{self.server.error}</Code><Message>no</Message></Error>",
                403,
            )
        else:
            self.server.requests.append(query)
            actions = [value for key, value in query.items() if key.startswith("ActionNames.")]
            results = "".join(
                f"<member><EvalActionName>{one}</EvalActionName>"
                f"<EvalResourceName>{query['ResourceArns.member.1']}</EvalResourceName>"
                f"<EvalDecision>{'implicitDeny' if one in self.server.denied else 'allowed'}</EvalDecision></member>"
                for one in actions
            )
            content = (
                f"<EvaluationResults>{results}</EvaluationResults><IsTruncated>false</IsTruncated>"
            )
        text = f"<{action}Response><{action}Result>{content}</{action}Result></{action}Response>"
        if status != 200:
            text = f"<ErrorResponse>{content}</ErrorResponse>"
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def simulator(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Simulator]:
    with Simulator() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.chdir(tmp_path)
        (tmp_path / "cluster.toml").write_text(MINIMAL)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        yield server
        server.shutdown()
        thread.join()


def test_allowed_caller_lacks_nothing(simulator: Simulator, pomona: Command) -> None:
    done = pomona("cloud", "policy", "--check")
    assert (done.status, done.out) == (0, "the policies of the caller allow all requests\n")
    # The role of the session with its path, and the values of the conditions.
    assert {one["PolicySourceArn"] for one in simulator.requests} == {ROLE}
    simulated = {
        value
        for one in simulator.requests
        for key, value in one.items()
        if key.startswith("ActionNames.")
    }
    assert {"iam:PassRole", "elasticmapreduce:RunJobFlow", "s3:PutObject"} <= simulated
    (cluster,) = [
        one for one in simulator.requests if "elasticmapreduce:RunJobFlow" in one.values()
    ]
    assert cluster["ContextEntries.member.1.ContextKeyName"] == "aws:RequestTag/pomona"
    assert cluster["ContextEntries.member.1.ContextKeyValues.member.1"] == "fruits"
    (group,) = [one for one in simulator.requests if "ec2:DeleteSecurityGroup" in one.values()]
    assert group["ContextEntries.member.1.ContextKeyName"] == "aws:CalledVia"
    assert group["ContextEntries.member.1.ContextKeyType"] == "stringList"
    assert group["ContextEntries.member.2.ContextKeyName"] == "aws:ResourceTag/pomona"
    assert group["ContextEntries.member.2.ContextKeyType"] == "string"


def test_missing_actions_are_listed(simulator: Simulator, pomona: Command) -> None:
    simulator.denied = frozenset({"elasticmapreduce:RunJobFlow", "s3:PutObject"})
    done = pomona("cloud", "policy", "--check")
    assert done.status == 1
    lines = sorted(done.out.splitlines())
    assert lines[0] == "missing: elasticmapreduce:RunJobFlow on *"
    assert lines[1].startswith(f"missing: s3:PutObject on arn:aws:s3:::fruits-data-{ACCOUNT}/")
    assert done.err.startswith(
        "pomona: missing: 2 permissions; `pomona cloud policy -f cluster.toml`"
    )


@pytest.mark.parametrize(
    ("caller", "error", "expected"),
    [
        (
            f"arn:aws:iam::{ACCOUNT}:user/a/b",
            "AccessDenied",
            "not checked: iam simulate_principal_policy: no",
        ),
        (
            f"arn:aws:iam::{ACCOUNT}:root",
            "",
            "not checked: IAM cannot simulate the policies of arn:aws:iam::",
        ),
    ],
)
def test_unknown_permissions_are_not_checked(
    caller: str, error: str, expected: str, simulator: Simulator, pomona: Command
) -> None:
    simulator.caller, simulator.error = caller, error
    done = pomona("cloud", "policy", "--check")
    assert done.status == 0
    assert done.out.startswith(expected)
