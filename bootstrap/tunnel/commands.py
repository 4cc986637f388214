"""The forwarded ports of a cluster's primary node, and the commands that open a tunnel to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bootstrap.aws.describe_cluster import has_fleets
from bootstrap.aws.request import Parameters, ReadApi
from bootstrap.errors import CloudError

#: Port of JupyterHub, and default local port for Jupyter.
JUPYTERHUB_PORT = 9443
#: Port of Jupyter Enterprise Gateway on EMR.
GATEWAY_PORT = 18888
#: Port of the Spark history server, which also shows running applications.
HISTORY_SERVER_PORT = 18080
#: SSH user of EMR nodes.
SSH_USER = "hadoop"


@dataclass(frozen=True)
class ForwardedPort:
    """A service of the primary node and the local port that is forwarded to it.

    Parameters
    ----------
    name : str
    local, remote : int
        Ports of this machine and of the node.
    scheme : str
        ``http`` or ``https``.
    """

    name: str
    local: int
    remote: int
    scheme: str

    @property
    def url(self) -> str:
        """Local URL while the tunnel is open."""
        return f"{self.scheme}://127.0.0.1:{self.local}/"


@dataclass(frozen=True)
class Node:
    """The primary node of a cluster.

    Parameters
    ----------
    cluster : str
        Cluster ID.
    applications : tuple of str
        Applications installed by EMR.
    host : str
        Public DNS name.
    key : str or None
        Name of the EC2 key pair.
    instance : str
        EC2 instance ID; empty if EMR lists none.
    """

    cluster: str
    applications: tuple[str, ...]
    host: str
    key: str | None
    instance: str


def primary_node(cluster: Parameters, read: ReadApi) -> Node:
    """Return the primary node of a cluster, from the result of `describe_cluster`.

    Raises
    ------
    CloudError
        If the node does not exist yet, or no longer exists.
    """
    state, cluster_id = cluster["Status"]["State"], cluster["Id"]
    if state in ("STARTING", "BOOTSTRAPPING"):
        raise CloudError(
            f"cluster {cluster_id} is {state}: try again when `pomona cloud status` shows RUNNING or WAITING"
        )
    if state not in ("RUNNING", "WAITING"):
        raise CloudError(f"cluster {cluster_id} is {state}: `pomona cloud up` creates a new one")
    kind: Parameters = (
        {"InstanceFleetType": "MASTER"}
        if has_fleets(cluster)
        else {"InstanceGroupTypes": ["MASTER"]}
    )
    query = {"ClusterId": cluster_id, **kind}
    instances = (read("emr", "list_instances", query) or {}).get("Instances", [])
    return Node(
        cluster=cluster_id,
        applications=tuple(one["Name"] for one in cluster.get("Applications") or ()),
        host=str(cluster.get("MasterPublicDnsName") or ""),
        key=cluster.get("Ec2InstanceAttributes", {}).get("Ec2KeyName"),
        instance=instances[0]["Ec2InstanceId"] if instances else "",
    )


def forwarded_ports(
    applications: Sequence[str], local: int, spark: int, gateway: int = GATEWAY_PORT
) -> list[ForwardedPort]:
    """Return the ports to forward: JupyterHub or Jupyter Enterprise Gateway if installed, and the Spark UI.

    Parameters
    ----------
    applications : sequence of str
        Applications installed on the cluster.
    local, spark : int
        Local ports for Jupyter and for the Spark UI.
    gateway : int
        Port of Jupyter Enterprise Gateway on the node.
    """
    ports = [ForwardedPort("Spark UI", spark, HISTORY_SERVER_PORT, "http")]
    if "JupyterHub" in applications:
        ports.insert(0, ForwardedPort("JupyterHub", local, JUPYTERHUB_PORT, "https"))
    elif "JupyterEnterpriseGateway" in applications:
        ports.insert(0, ForwardedPort("Jupyter Enterprise Gateway", local, gateway, "https"))
    return ports


def ssh_command(
    ports: Sequence[ForwardedPort], address: tuple[str, int], key: Path, known_hosts: Path
) -> list[str]:
    """Return the `ssh` command that forwards all ports.

    Parameters
    ----------
    ports : sequence of ForwardedPort
    address : tuple of str and int
        Host and port.
    key : pathlib.Path
        Private key.
    known_hosts : pathlib.Path
        One file per cluster, because EC2 reuses host names for instances with other host keys.
    """
    options = {
        "ExitOnForwardFailure": "yes",
        "ConnectTimeout": "10",
        "ServerAliveInterval": "15",  # detect a dead connection
        "ServerAliveCountMax": "3",
        "IdentitiesOnly": "yes",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "StrictHostKeyChecking": "accept-new",
        "UserKnownHostsFile": str(known_hosts),
        "LogLevel": "ERROR",
    }
    host, port = address
    command = ["ssh", "-N"]
    for one in ports:
        command += ["-L", f"127.0.0.1:{one.local}:localhost:{one.remote}"]
    command += ["-i", str(key)]
    for name, value in options.items():
        command += ["-o", f"{name}={value}"]
    return [*command, "-p", str(port), f"{SSH_USER}@{host}"]


def session_commands(ports: Sequence[ForwardedPort], node: Node, region: str) -> list[list[str]]:
    """Return the Session Manager commands, one per port; these need no open port and no key.

    Raises
    ------
    CloudError
        If the instance of the node is unknown.
    """
    if not node.instance:
        raise CloudError(
            f"EMR lists no primary instance of cluster {node.cluster}: try again, or use --via ssh"
        )
    return [
        [
            "aws", "ssm", "start-session", "--region", region, "--target", node.instance,
            "--document-name", "AWS-StartPortForwardingSession",
            "--parameters", f"portNumber={forwarded.remote},localPortNumber={forwarded.local}",
        ]
        for forwarded in ports
    ]  # fmt: skip
