"""Tests for `pomona cloud tunnel`: a server of SSH that is a real one, and one line for each thing that fails."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest

import bootstrap.tunnel.checks
import bootstrap.tunnel.session
from bootstrap.resources.cluster import run_job_flow
from bootstrap.resources.uploads import UploadLocations
from bootstrap.tunnel.checks import responds_to_http
from bootstrap.tunnel.commands import ForwardedPort, forwarded_ports
from support.aws_account import ADMIN, MotoAccount
from support.aws_workspace import write_config
from support.cli import Command
from support.cluster_configs import names
from support.ssh_server import PrimaryNode, serve_node

pytestmark = pytest.mark.slow
pytest_plugins = ["support.aws_fixtures"]


@pytest.fixture(scope="module")
def node_served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrimaryNode]:
    with serve_node(tmp_path_factory.mktemp("node")) as node:
        yield node


@pytest.fixture
def node(node_served: PrimaryNode, monkeypatch: pytest.MonkeyPatch) -> PrimaryNode:
    """The node as each test finds it."""
    monkeypatch.setattr(node_served, "services", dict(node_served.services))
    node_served.requested.clear()
    node_served.users.clear()
    return node_served


@pytest.fixture(scope="module")
def made() -> list[str]:
    """Ids of clusters that `cluster` has made."""
    return []


@pytest.fixture
def cluster(
    served: MotoAccount, made: list[str], workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """A cluster as `up` asks for it, with a key pair; made again where a test has emptied the account."""
    for name, value in (served.variables | ADMIN).items():
        monkeypatch.setenv(name, value)
    listed = served.client("emr", ADMIN).list_clusters()["Clusters"]
    if not made or [one["Id"] for one in listed] != made[-1:]:
        served.reset()
        made.append(make_cluster(served))
    return made[-1]


def make_cluster(account: MotoAccount, more: str = 'network.ssh_key = "mine"\n') -> str:
    asked = run_job_flow(names(more), UploadLocations(names(more), "version"))
    emr = account.client("emr", ADMIN)
    emr.create_security_configuration(
        Name=asked["SecurityConfiguration"], SecurityConfiguration="{}"
    )
    for name in [one for one in asked["Instances"] if "Security" in one or "Subnet" in one]:
        del asked["Instances"][name]
    return str(emr.run_job_flow(**asked)["JobFlowId"])


def free_ports(count: int = 2) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def words(node: PrimaryNode, *more: object) -> list[object]:
    """What is typed to reach the node of the tests."""
    local, spark = free_ports()
    to = f"127.0.0.1:{node.port}"
    ports = ["--port", local, "--spark-port", spark]
    return ["cloud", "tunnel", "--key", node.key, "--to", to, *ports, *more]


def get(url: str) -> bytes:
    context = ssl._create_unverified_context() if url.startswith("https") else None
    with urllib.request.urlopen(url, timeout=20, context=context) as answer:
        return bytes(answer.read())


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_it_leads_to_jupyterhub_and_to_spark_until_it_is_stopped(
    end: int, workspace: Path, account: MotoAccount, node: PrimaryNode, cluster: str
) -> None:
    command = [sys.executable, "-c", "from pomona.cli import main; main()"]
    typed = [*command, *map(str, words(node, "--json"))]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    with subprocess.Popen(
        typed,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=workspace,
    ) as running:
        answer = json.loads("".join(_document(running.stdout)))
        assert answer["cluster"] == cluster
        assert {one["name"]: one["responds"] for one in answer["endpoints"]} == {
            "JupyterHub": True, "Spark UI": True,
        }  # fmt: skip
        assert [get(one["url"]) for one in answer["endpoints"]] == [b"hub", b"spark"]
        assert {("localhost", 9443), ("localhost", 18080)} == set(node.requested)
        assert set(node.users) == {"hadoop"}
        running.send_signal(end)
        running.communicate(timeout=30)
        assert running.returncode == 0
    for one in answer["endpoints"]:
        port = int(one["url"].rstrip("/").rpartition(":")[2])
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5)


def _document(stream: Any) -> Iterator[str]:
    for line in stream:
        yield line
        if line == "}\n":
            return


def test_it_is_checked_and_closed(pomona: Command, node: PrimaryNode, cluster: str) -> None:
    done = pomona(*words(node, "--check"))
    assert (done.status, done.err) == (0, "")
    assert "JupyterHub: https://127.0.0.1:" in done.out
    assert "Spark UI: http://127.0.0.1:" in done.out
    assert "does not respond" not in done.out


def test_release_8_has_a_gateway_in_its_place(
    pomona: Command, node: PrimaryNode, account: MotoAccount, workspace: Path
) -> None:
    make_cluster(account, 'release = "emr-spark-8.0.0"\nnetwork.ssh_key = "mine"\n')
    done = pomona(*words(node, "--check"))
    assert "Jupyter Enterprise Gateway: https://127.0.0.1:" in done.out
    assert ("localhost", 18888) in node.requested
    pomona(*words(node, "--check", "--gateway-port", 9547))
    assert ("localhost", 9547) in node.requested


def test_a_cluster_without_notebooks_has_the_spark_ui_alone() -> None:
    (door,) = forwarded_ports(["Hadoop", "Spark"], 1, 2)
    assert (door.name, door.local, door.remote) == ("Spark UI", 2, 18080)


def test_the_command_is_printed_and_not_started(
    pomona: Command, node: PrimaryNode, cluster: str
) -> None:
    done = pomona("cloud", "tunnel", "--key", node.key, "--print")
    forwards = "-L 127.0.0.1:9443:localhost:9443 -L 127.0.0.1:18080:localhost:18080"
    assert done.out.startswith(f"ssh -N {forwards} -i {node.key} ")
    assert done.out.rstrip().endswith("-p 22 hadoop@" + host_of(done.out))
    assert host_of(done.out).endswith("amazonaws.com")
    (command,) = pomona("cloud", "tunnel", "--key", node.key, "--print", "--json").json["commands"]
    assert shlex.join(command) == done.out.rstrip()
    assert not node.requested


def host_of(line: str) -> str:
    return line.rstrip().rpartition("@")[2]


def test_a_service_that_is_silent_is_told_and_the_other_stays_open(
    pomona: Command, node: PrimaryNode, cluster: str
) -> None:
    del node.services[9443]
    done = pomona(*words(node, "--check"))
    assert done.status == 0
    assert "does not respond: port 9443 of the node" in done.out
    del node.services[18080]
    told = pomona(*words(node, "--check")).error_line
    assert "no service responds (JupyterHub at port 9443, Spark UI at port 18080)" in told


@pytest.mark.parametrize("said", [b"SSH-2.0-OpenSSH\r\n", b""])
def test_what_does_not_speak_http_does_not_answer(said: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def speak() -> None:
            one = server.accept()[0]
            one.recv(100)
            one.sendall(said)
            one.close()

        threading.Thread(target=speak, daemon=True).start()
        assert not responds_to_http(
            ForwardedPort("Spark UI", server.getsockname()[1], 18080, "http")
        )


def test_a_port_that_is_taken(pomona: Command, node: PrimaryNode, cluster: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = pomona(*words(node), "--port", port).error_line
        assert f"port {port} of this machine is in use" in told
        assert told.endswith("use another port with --port")
        told = pomona(*words(node), "--spark-port", port).error_line
        assert told.endswith("use another port with --spark-port")


def test_a_key_that_cannot_be_used(
    pomona: Command,
    node: PrimaryNode,
    cluster: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key = tmp_path / "key.pem"
    key.write_bytes(node.key.read_bytes())
    key.chmod(0o644)
    told = pomona(*words(node), "--key", key).error_line
    assert told.endswith(f"(0644), and ssh rejects it: chmod 600 {key}")
    refused = subprocess.run(["ssh-keygen", "-y", "-f", key], capture_output=True, check=False)
    assert refused.returncode  # and so it does
    for content, remedy in (
        (
            asyncssh.read_private_key(str(node.key)).export_public_key(),
            "is not a private key: --key",
        ),
        (b"PuTTY-User-Key-File-3: ssh-ed25519", "is a PuTTY key: puttygen"),
        (b"", "is not a private key: --key"),
    ):
        key.write_bytes(content)
        key.chmod(0o600)
        assert remedy in pomona(*words(node), "--key", key).error_line
    assert (
        "no such file or directory: --key"
        in pomona(*words(node), "--key", tmp_path / "no").error_line
    )
    assert "is a directory" in pomona(*words(node), "--key", tmp_path).error_line
    monkeypatch.setenv("HOME", str(tmp_path))
    typed = [one for one in words(node, "--check") if one not in ("--key", node.key)]
    told = pomona(*typed).error_line
    assert f"{tmp_path}/.ssh/mine.pem and {tmp_path}/.ssh/mine do not exist: --key" in told
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "mine.pem").write_bytes(node.key.read_bytes())
    (tmp_path / ".ssh" / "mine.pem").chmod(0o600)
    assert pomona(*typed).status == 0  # found by the name of the key pair


def test_a_key_that_the_node_does_not_take(
    pomona: Command, node: PrimaryNode, cluster: str, tmp_path: Path
) -> None:
    other, locked = tmp_path / "other.pem", tmp_path / "locked.pem"
    other.write_bytes(asyncssh.generate_private_key("ssh-ed25519").export_private_key())
    locked.write_bytes(node.key.read_bytes())
    locked.chmod(0o600)
    subprocess.run(["ssh-keygen", "-p", "-q", "-N", "secret", "-f", locked], check=True)
    for key in (other, locked):
        key.chmod(0o600)
        told = pomona(*words(node), "--key", key).error_line
        assert "Permission denied" in told
        assert told.endswith("to ssh-agent first, with ssh-add")


def test_a_host_that_cannot_be_reached(
    pomona: Command, node: PrimaryNode, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (port,) = free_ports(1)
    told = pomona(*words(node), "--to", f"127.0.0.1:{port}").error_line
    assert f"127.0.0.1: connection refused at port {port}" in told
    assert (
        "unknown host: for a private subnet"
        in pomona(*words(node), "--to", "no.invalid").error_line
    )
    monkeypatch.setattr(bootstrap.tunnel.checks, "CONNECT_TIMEOUT", 0.3)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        address = full.getsockname()
        waiting = [socket.socket() for _ in range(4)]  # the queue is full: further ones wait
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(address)
        time.sleep(0.2)
        told = pomona(*words(node), "--to", f"127.0.0.1:{address[1]}").error_line
        assert f"no response at port {address[1]}: `[network] ssh_from` must include" in told
        for one in waiting:
            one.close()


def test_another_machine_under_the_same_name(
    pomona: Command, node: PrimaryNode, cluster: str, workspace: Path
) -> None:
    known = workspace / "cache" / "pomona" / "known_hosts" / cluster
    known.parent.mkdir(parents=True)
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    known.write_text(f"[127.0.0.1]:{node.port} {other}")
    told = pomona(*words(node)).error_line
    assert told.endswith(f"the host key has changed: if that is expected, remove {known}")
    known.unlink()
    assert pomona(*words(node, "--check")).status == 0
    assert "ssh-ed25519" in known.read_text()


def test_a_tunnel_that_breaks_is_told(
    pomona: Command, node: PrimaryNode, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait = bootstrap.tunnel.session.Tunnel.wait

    def broken(tunnel: Any) -> None:
        node.drop()
        wait(tunnel)

    monkeypatch.setattr(bootstrap.tunnel.session.Tunnel, "wait", broken)
    done = pomona(*words(node))
    assert done.status == 1
    assert len(done.err.splitlines()) == 1
    assert done.err.startswith("pomona: ssh: ")
    assert (
        "`pomona cloud status` shows whether" in done.err
        or "run `pomona cloud tunnel` again" in done.err
    )


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (("--via", "telnet"), "--via telnet: it must be ssh or session-manager"),
        (("--port", "0"), "--port 0: it must be 1 to 65535"),
        (("--port", "18080"), "are both 18080"),
        (("--via", "session-manager", "--key", "k"), "Session Manager needs neither"),
        (("--to", "-oProxyCommand=x"), "give a host, or host:port"),
    ],
)
def test_words_that_mean_nothing(typed: tuple[str, ...], told: str, pomona: Command) -> None:
    done = pomona("cloud", "tunnel", *typed)
    assert done.status == 2
    assert told in done.error_line


def test_a_cluster_that_is_not_there_not_ready_or_has_no_key(
    pomona: Command, account: MotoAccount, workspace: Path, node: PrimaryNode
) -> None:
    assert "no cluster fruits: `pomona cloud up` creates one" in pomona(*words(node)).error_line
    write_config(workspace, 'mode = "serverless"\n')
    assert "EMR Serverless has no node" in pomona(*words(node)).error_line
    write_config(workspace)
    made = make_cluster(account, "")
    told = pomona(*words(node)).error_line
    assert f"cluster {made} has no SSH key: use --via session-manager" in told
    account.client("emr", ADMIN).terminate_job_flows(JobFlowIds=[made])
    assert f"cluster {made} is TERMINATED: `pomona cloud up`" in pomona(*words(node)).error_line
    assert "no cluster j-NONE" in pomona(*words(node), "j-NONE").error_line


def test_without_the_programs_it_says_what_to_install(
    pomona: Command,
    node: PrimaryNode,
    cluster: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "ssh is not on PATH: install the OpenSSH client" in pomona(*words(node)).error_line
    told = pomona("cloud", "tunnel", "--via", "session-manager").error_line
    assert "aws is not on PATH" in told
    program(tmp_path / "aws", "")
    told = pomona("cloud", "tunnel", "--via", "session-manager").error_line
    assert "session-manager-plugin is not on PATH" in told


def program(path: Path, text: str) -> None:
    path.write_text(f"#!{sys.executable}\n{text}")
    path.chmod(0o755)


#: In place of AWS's own program, which needs AWS behind it: leads from one port to another as a session does.
SESSION = """
import json, pathlib, re, socket, sys, threading
pathlib.Path({log!r}).open("a").write(json.dumps(sys.argv[1:]) + "\\n")
found = re.search(r"portNumber=(\\d+),localPortNumber=(\\d+)", sys.argv[-1])
inner = {services!r}.get(int(found[1]))
if inner is None:
    sys.exit("An error occurred (TargetNotConnected) when calling the StartSession operation: i-1 is not connected.")
def copy(source, target):
    while data := source.recv(65536):
        target.sendall(data)
    target.shutdown(socket.SHUT_WR)
with socket.create_server(("127.0.0.1", int(found[2]))) as server:
    while True:
        one = server.accept()[0]
        other = socket.create_connection(("127.0.0.1", inner))
        for pair in ((one, other), (other, one)):
            threading.Thread(target=copy, args=pair, daemon=True).start()
"""


def test_session_manager_needs_no_key_and_no_open_port(
    pomona: Command,
    account: MotoAccount,
    node: PrimaryNode,
    workspace: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = make_cluster(account, "")
    log = tmp_path / "sessions"
    program(tmp_path / "session-manager-plugin", "")
    program(tmp_path / "aws", SESSION.format(log=str(log), services=node.services))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    local, spark = free_ports()
    typed = ("cloud", "tunnel", "--via", "session-manager", "--port", local, "--spark-port", spark)
    done = pomona(*typed, "--check")
    assert (done.status, done.err) == (0, "")
    assert "does not respond" not in done.out
    listed = account.client("emr", ADMIN).list_instances(
        ClusterId=made, InstanceGroupTypes=["MASTER"]
    )
    (instance,) = [one["Ec2InstanceId"] for one in listed["Instances"]]
    for line in log.read_text().splitlines():
        sent = json.loads(line)
        assert sent[sent.index("--target") + 1] == instance
        assert sent[sent.index("--document-name") + 1] == "AWS-StartPortForwardingSession"
    program(tmp_path / "aws", SESSION.format(log=str(log), services={}))
    told = pomona(*typed, "--check").error_line
    assert "TargetNotConnected" in told
    assert "is not connected to Session Manager: it needs some minutes after the start" in told
