"""Tests for `pomona cloud tunnel` with a real SSH server; each error is one line."""

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
from bootstrap.errors import CloudError
from bootstrap.resources.cluster_requests import cluster_requests
from bootstrap.resources.uploads import UploadLocations
from bootstrap.tunnel.checks import responds_to_http
from bootstrap.tunnel.commands import (
    ForwardedPort,
    forwarded_ports,
    primary_node,
    session_commands,
)
from support.aws.account import ADMIN, MotoAccount
from support.aws.cluster_configs import names, parameters
from support.aws.ssh_server import PrimaryNode, serve_node
from support.aws.workspace import write_config
from support.processes.cli import Command

pytestmark = pytest.mark.slow
pytest_plugins = ["support.aws.fixtures"]


@pytest.fixture(scope="module")
def ssh_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrimaryNode]:
    with serve_node(tmp_path_factory.mktemp("node")) as node:
        yield node


@pytest.fixture
def node(ssh_server: PrimaryNode, monkeypatch: pytest.MonkeyPatch) -> PrimaryNode:
    """The primary node, without recorded requests; changes of its services are reverted."""
    monkeypatch.setattr(ssh_server, "services", dict(ssh_server.services))
    ssh_server.requested.clear()
    ssh_server.users.clear()
    return ssh_server


@pytest.fixture(scope="module")
def created_clusters() -> list[str]:
    """Ids of the clusters that the fixture `cluster` has created."""
    return []


@pytest.fixture
def cluster(
    served: MotoAccount,
    created_clusters: list[str],
    workspace: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    """A cluster as `up` requests it, with a key pair; created again if a test has reset the account."""
    for name, value in (served.variables | ADMIN).items():
        monkeypatch.setenv(name, value)
    listed = served.client("emr", ADMIN).list_clusters()["Clusters"]
    if not created_clusters or [one["Id"] for one in listed] != created_clusters[-1:]:
        served.reset()
        created_clusters.append(create_cluster(served))
    return created_clusters[-1]


def create_cluster(account: MotoAccount, more: str = 'network.ssh_key = "mine"\n') -> str:
    requests = cluster_requests(names(more), UploadLocations(names(more), "version"))
    request = dict(parameters(requests, "run_job_flow"))
    request["Instances"] = dict(request["Instances"])
    emr = account.client("emr", ADMIN)
    del request["SecurityConfiguration"]
    for name in [one for one in request["Instances"] if "Security" in one or "Subnet" in one]:
        del request["Instances"][name]
    return str(emr.run_job_flow(**request)["JobFlowId"])


def free_ports(count: int = 2) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def arguments(node: PrimaryNode, *more: object) -> list[object]:
    """Return the arguments of the command for a tunnel to the node, with free local ports."""
    local, spark = free_ports()
    host = f"127.0.0.1:{node.port}"
    ports = ["--port", local, "--spark-port", spark]
    return ["cloud", "tunnel", "--key", node.key, "--to", host, *ports, *more]


def get(url: str) -> bytes:
    context = ssl._create_unverified_context() if url.startswith("https") else None
    with urllib.request.urlopen(url, timeout=20, context=context) as response:
        return bytes(response.read())


@pytest.mark.parametrize("stop_signal", [signal.SIGINT, signal.SIGTERM])
def test_tunnel_forwards_both_services_until_a_signal(
    stop_signal: int, workspace: Path, account: MotoAccount, node: PrimaryNode, cluster: str
) -> None:
    command = [sys.executable, "-c", "from pomona.cli import main; main()"]
    command_line = [*command, *map(str, arguments(node, "--json"))]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    with subprocess.Popen(
        command_line,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=workspace,
    ) as running:
        opened = json.loads("".join(_read_document(running.stdout)))
        assert opened["cluster"] == cluster
        assert {one["name"]: one["responds"] for one in opened["endpoints"]} == {
            "JupyterHub": True, "Spark UI": True,
        }  # fmt: skip
        assert [get(one["url"]) for one in opened["endpoints"]] == [b"hub", b"spark"]
        assert {("localhost", 9443), ("localhost", 18080)} == set(node.requested)
        assert set(node.users) == {"hadoop"}
        running.send_signal(stop_signal)
        running.communicate(timeout=30)
        assert running.returncode == 0
    for one in opened["endpoints"]:
        port = int(one["url"].rstrip("/").rpartition(":")[2])
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5)


def _read_document(stream: Any) -> Iterator[str]:
    for line in stream:
        yield line
        if line == "}\n":
            return


def test_check_opens_and_closes_the_tunnel(
    pomona: Command, node: PrimaryNode, cluster: str
) -> None:
    done = pomona(*arguments(node, "--check"))
    assert (done.status, done.err) == (0, "")
    assert "JupyterHub: https://127.0.0.1:" in done.out
    assert "Spark UI: http://127.0.0.1:" in done.out
    assert "does not respond" not in done.out


def test_release_8_forwards_enterprise_gateway(
    pomona: Command, node: PrimaryNode, account: MotoAccount, workspace: Path
) -> None:
    create_cluster(account, 'release = "emr-spark-8.0.0"\nnetwork.ssh_key = "mine"\n')
    done = pomona(*arguments(node, "--check"))
    assert "Jupyter Enterprise Gateway: https://127.0.0.1:" in done.out
    assert ("localhost", 18888) in node.requested
    pomona(*arguments(node, "--check", "--gateway-port", 9547))
    assert ("localhost", 9547) in node.requested


def test_cluster_without_jupyter_forwards_only_spark_ui() -> None:
    (port,) = forwarded_ports(["Hadoop", "Spark"], 1, 2)
    assert (port.name, port.local, port.remote) == ("Spark UI", 2, 18080)


def test_print_shows_the_command_without_starting_it(
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


def test_service_that_does_not_respond_is_reported(
    pomona: Command, node: PrimaryNode, cluster: str
) -> None:
    del node.services[9443]
    done = pomona(*arguments(node, "--check"))
    assert done.status == 0
    assert "does not respond: port 9443 of the node" in done.out
    del node.services[18080]
    error = pomona(*arguments(node, "--check")).error_line
    assert "no service responds (JupyterHub at port 9443, Spark UI at port 18080)" in error


@pytest.mark.parametrize("response", [b"SSH-2.0-OpenSSH\r\n", b""])
def test_non_http_service_does_not_respond(response: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def respond() -> None:
            one = server.accept()[0]
            one.recv(100)
            one.sendall(response)
            one.close()

        threading.Thread(target=respond, daemon=True).start()
        assert not responds_to_http(
            ForwardedPort("Spark UI", server.getsockname()[1], 18080, "http")
        )


def test_port_in_use_is_rejected(pomona: Command, node: PrimaryNode, cluster: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as occupied:
        port = occupied.getsockname()[1]
        error = pomona(*arguments(node), "--port", port).error_line
        assert f"port {port} of this machine is in use" in error
        assert error.endswith("use another port with --port")
        error = pomona(*arguments(node), "--spark-port", port).error_line
        assert error.endswith("use another port with --spark-port")


def test_invalid_key_file_is_rejected(
    pomona: Command,
    node: PrimaryNode,
    cluster: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key = tmp_path / "key.pem"
    key.write_bytes(node.key.read_bytes())
    key.chmod(0o644)
    error = pomona(*arguments(node), "--key", key).error_line
    assert error.endswith(f"(0644), and ssh rejects it: chmod 600 {key}")
    rejected = subprocess.run(["ssh-keygen", "-y", "-f", key], capture_output=True, check=False)
    assert rejected.returncode
    for content, remedy in (
        (
            asyncssh.read_private_key(str(node.key)).export_public_key(),
            "is not a private key: specify the private key",
        ),
        (b"PuTTY-User-Key-File-3: ssh-ed25519", "is a PuTTY key: puttygen"),
        (b"", "is not a private key: specify the private key"),
    ):
        key.write_bytes(content)
        key.chmod(0o600)
        assert remedy in pomona(*arguments(node), "--key", key).error_line
    assert (
        "no such file or directory: specify another with --key"
        in pomona(*arguments(node), "--key", tmp_path / "no").error_line
    )
    assert "is a directory" in pomona(*arguments(node), "--key", tmp_path).error_line
    monkeypatch.setenv("HOME", str(tmp_path))
    without_key = [one for one in arguments(node, "--check") if one not in ("--key", node.key)]
    error = pomona(*without_key).error_line
    assert f"{tmp_path}/.ssh/mine.pem and {tmp_path}/.ssh/mine do not exist: specify" in error
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "mine.pem").write_bytes(node.key.read_bytes())
    (tmp_path / ".ssh" / "mine.pem").chmod(0o600)
    assert pomona(*without_key).status == 0  # the file named after the key pair


def test_key_rejected_by_the_node_is_reported(
    pomona: Command, node: PrimaryNode, cluster: str, tmp_path: Path
) -> None:
    other, locked = tmp_path / "other.pem", tmp_path / "locked.pem"
    other.write_bytes(asyncssh.generate_private_key("ssh-ed25519").export_private_key())
    locked.write_bytes(node.key.read_bytes())
    locked.chmod(0o600)
    subprocess.run(["ssh-keygen", "-p", "-q", "-N", "secret", "-f", locked], check=True)
    for key in (other, locked):
        key.chmod(0o600)
        error = pomona(*arguments(node), "--key", key).error_line
        assert "Permission denied" in error
        assert error.endswith("to ssh-agent first, with ssh-add")


def test_unreachable_host_is_reported(
    pomona: Command, node: PrimaryNode, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (port,) = free_ports(1)
    error = pomona(*arguments(node), "--to", f"127.0.0.1:{port}").error_line
    assert f"127.0.0.1: connection refused at port {port}" in error
    assert (
        "unknown host: for a private subnet"
        in pomona(*arguments(node), "--to", "no.invalid").error_line
    )
    monkeypatch.setattr(bootstrap.tunnel.checks, "CONNECT_TIMEOUT", 0.3)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        address = full.getsockname()
        waiting = [socket.socket() for _ in range(4)]  # fill the backlog: further connections wait
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(address)
        time.sleep(0.2)
        error = pomona(*arguments(node), "--to", f"127.0.0.1:{address[1]}").error_line
        assert f"no response at port {address[1]}: `[network] ssh_from` must include" in error
        for one in waiting:
            one.close()


def test_changed_host_key_is_rejected(
    pomona: Command, node: PrimaryNode, cluster: str, workspace: Path
) -> None:
    known = workspace / "cache" / "pomona" / "known_hosts" / cluster
    known.parent.mkdir(parents=True)
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    known.write_text(f"[127.0.0.1]:{node.port} {other}")
    error = pomona(*arguments(node)).error_line
    assert error.endswith(f"the host key has changed: if that is expected, remove {known}")
    known.unlink()
    assert pomona(*arguments(node, "--check")).status == 0
    assert "ssh-ed25519" in known.read_text()


def test_interrupted_tunnel_is_reported(
    pomona: Command, node: PrimaryNode, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait = bootstrap.tunnel.session.Tunnel.wait

    def drop_and_wait(tunnel: Any) -> None:
        node.drop()
        wait(tunnel)

    monkeypatch.setattr(bootstrap.tunnel.session.Tunnel, "wait", drop_and_wait)
    done = pomona(*arguments(node))
    assert done.status == 1
    assert len(done.err.splitlines()) == 1
    assert done.err.startswith("pomona: ssh: ")
    assert (
        "`pomona cloud status` shows whether" in done.err
        or "run `pomona cloud tunnel` again" in done.err
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--via", "telnet"), "--via telnet: it must be ssh or session-manager"),
        (("--port", "0"), "--port 0: it must be 1 to 65535"),
        (("--port", "18080"), "are both 18080"),
        (("--via", "session-manager", "--key", "k"), "Session Manager needs neither"),
        (("--to", "-oProxyCommand=x"), "give a host, or host:port"),
    ],
)
def test_invalid_option_is_a_usage_error(
    options: tuple[str, ...], message: str, pomona: Command
) -> None:
    done = pomona("cloud", "tunnel", *options)
    assert done.status == 2
    assert message in done.error_line


def test_missing_terminated_or_keyless_cluster_is_reported(
    pomona: Command, account: MotoAccount, workspace: Path, node: PrimaryNode
) -> None:
    assert "no cluster fruits: `pomona cloud up` creates one" in pomona(*arguments(node)).error_line
    write_config(workspace, 'mode = "serverless"\n')
    assert "EMR Serverless has no node" in pomona(*arguments(node)).error_line
    write_config(workspace)
    cluster_id = create_cluster(account, "")
    error = pomona(*arguments(node)).error_line
    assert f"cluster {cluster_id} has no SSH key: use --via session-manager" in error
    account.client("emr", ADMIN).terminate_job_flows(JobFlowIds=[cluster_id])
    assert (
        f"cluster {cluster_id} is TERMINATED: `pomona cloud up`"
        in pomona(*arguments(node)).error_line
    )
    assert "no cluster j-NONE" in pomona(*arguments(node), "j-NONE").error_line


def test_missing_program_is_reported_with_remedy(
    pomona: Command,
    node: PrimaryNode,
    cluster: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "ssh is not on PATH: install the OpenSSH client" in pomona(*arguments(node)).error_line
    error = pomona("cloud", "tunnel", "--via", "session-manager").error_line
    assert "aws is not on PATH" in error
    write_program(tmp_path / "aws", "")
    error = pomona("cloud", "tunnel", "--via", "session-manager").error_line
    assert "session-manager-plugin is not on PATH" in error


def write_program(path: Path, text: str) -> None:
    path.write_text(f"#!{sys.executable}\n{text}")
    path.chmod(0o755)


#: Replaces the AWS CLI, which needs AWS: forwards a local port to another one, as a session does.
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


@pytest.mark.parametrize(
    ("collection", "kind"),
    [
        ("INSTANCE_GROUP", {"InstanceGroupTypes": ["MASTER"]}),
        ("INSTANCE_FLEET", {"InstanceFleetType": "MASTER"}),
    ],
)
def test_primary_instance_is_found_in_groups_and_fleets(
    collection: str, kind: dict[str, Any]
) -> None:
    """ListInstances has a parameter for groups and another for fleets; moto ignores both."""
    cluster = {"Id": "j-1", "Status": {"State": "RUNNING"}, "InstanceCollectionType": collection}

    def read(service: str, operation: str, query: dict[str, Any]) -> dict[str, Any]:
        assert (service, operation) == ("emr", "list_instances")
        return {"Instances": [{"Ec2InstanceId": "i-1"}] if query.items() >= kind.items() else []}

    assert primary_node(cluster, read).instance == "i-1"


def test_unknown_primary_instance_ends_in_one_line() -> None:
    cluster = {"Id": "j-1", "Status": {"State": "RUNNING"}}
    node = primary_node(cluster, lambda *_: {"Instances": []})
    with pytest.raises(CloudError, match="no primary instance of cluster j-1"):
        session_commands([], node, "eu-west-1")


def test_session_manager_forwards_ports_without_a_key(
    pomona: Command,
    account: MotoAccount,
    node: PrimaryNode,
    workspace: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster_id = create_cluster(account, "")
    log = tmp_path / "sessions"
    write_program(tmp_path / "session-manager-plugin", "")
    write_program(tmp_path / "aws", SESSION.format(log=str(log), services=node.services))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    local, spark = free_ports()
    options = (
        "cloud",
        "tunnel",
        "--via",
        "session-manager",
        "--port",
        local,
        "--spark-port",
        spark,
    )
    done = pomona(*options, "--check")
    assert (done.status, done.err) == (0, "")
    assert "does not respond" not in done.out
    listed = account.client("emr", ADMIN).list_instances(
        ClusterId=cluster_id, InstanceGroupTypes=["MASTER"]
    )
    (instance,) = [one["Ec2InstanceId"] for one in listed["Instances"]]
    for line in log.read_text().splitlines():
        sent = json.loads(line)
        assert sent[sent.index("--target") + 1] == instance
        assert sent[sent.index("--document-name") + 1] == "AWS-StartPortForwardingSession"
    write_program(tmp_path / "aws", SESSION.format(log=str(log), services={}))
    error = pomona(*options, "--check").error_line
    assert "TargetNotConnected" in error
    assert "is not connected to Session Manager: it needs some minutes after the start" in error
