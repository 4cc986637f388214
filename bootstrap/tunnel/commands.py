"""The forwarded ports of a cluster's primary node, and the commands that open a tunnel to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bootstrap.aws.request import Parameters, ReadApi
from bootstrap.errors import CloudError

#: Where JupyterHub listens, and where a tunnel to it or to what takes its place begins.
JUPYTERHUB_PORT = 9443
#: Where EMR lets notebooks in: Jupyter Enterprise Gateway is behind it.
GATEWAY_PORT = 18888
#: Where Spark's history server listens, which shows running applications too.
HISTORY_SERVER_PORT = 18080
#: Whom EMR's nodes let in.
SSH_USER = "hadoop"


@dataclass(frozen=True)
class ForwardedPort:
    """One service of the primary node, and the port of this machine that leads to it.

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
        """Where a browser finds it while the tunnel is open."""
        return f"{self.scheme}://127.0.0.1:{self.local}/"


@dataclass(frozen=True)
class Node:
    """The primary node of a cluster.

    Parameters
    ----------
    cluster : str
        The cluster's id.
    applications : tuple of str
        What EMR has installed on it.
    host : str
        Its public name.
    key : str or None
        Name of its EC2 key pair.
    instance : str
        Its EC2 id.
    """

    cluster: str
    applications: tuple[str, ...]
    host: str
    key: str | None
    instance: str


def primary_node(cluster: Parameters, read: ReadApi) -> Node:
    """The primary node of a cluster as `describe_cluster` tells of it.

    Raises
    ------
    CloudError
        Where it is not there yet, or no more.
    """
    state, called = cluster["Status"]["State"], cluster["Id"]
    if state in ("STARTING", "BOOTSTRAPPING"):
        raise CloudError(
            f"cluster {called} is {state}: try again when `pomona cloud status` says RUNNING or WAITING"
        )
    if state not in ("RUNNING", "WAITING"):
        raise CloudError(f"cluster {called} is {state}: `pomona cloud up` makes a new one")
    query = {"ClusterId": called, "InstanceGroupTypes": ["MASTER"]}
    instances = (read("emr", "list_instances", query) or {}).get("Instances", [])
    return Node(
        cluster=called,
        applications=tuple(one["Name"] for one in cluster.get("Applications") or ()),
        host=str(cluster.get("MasterPublicDnsName") or ""),
        key=cluster.get("Ec2InstanceAttributes", {}).get("Ec2KeyName"),
        instance=instances[0]["Ec2InstanceId"] if instances else "",
    )


def forwarded_ports(
    applications: Sequence[str], local: int, spark: int, gateway: int = GATEWAY_PORT
) -> list[ForwardedPort]:
    """What is behind the tunnel: JupyterHub or what the cluster has in its place, and Spark's UI.

    Parameters
    ----------
    applications : sequence of str
    local, spark : int
        Ports of this machine for Jupyter and for Spark's UI.
    gateway : int
        The node's port of Jupyter Enterprise Gateway.
    """
    found = [ForwardedPort("Spark UI", spark, HISTORY_SERVER_PORT, "http")]
    if "JupyterHub" in applications:
        found.insert(0, ForwardedPort("JupyterHub", local, JUPYTERHUB_PORT, "https"))
    elif "JupyterEnterpriseGateway" in applications:
        found.insert(0, ForwardedPort("Jupyter Enterprise Gateway", local, gateway, "https"))
    return found


def ssh_command(
    found: Sequence[ForwardedPort], address: tuple[str, int], key: Path, known_hosts: Path
) -> list[str]:
    """The `ssh` that opens all doors at once.

    Parameters
    ----------
    found : sequence of Door
    address : tuple of str and int
        Host and port.
    key : pathlib.Path
        The private half of the key pair.
    known_hosts : pathlib.Path
        A file of this cluster's own: EC2 gives the same names to other machines later on, with other keys.
    """
    options = {
        "ExitOnForwardFailure": "yes",
        "ConnectTimeout": "10",
        "ServerAliveInterval": "15",  # a tunnel that is silently dead is ended, and told
        "ServerAliveCountMax": "3",
        "IdentitiesOnly": "yes",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "StrictHostKeyChecking": "accept-new",
        "UserKnownHostsFile": str(known_hosts),
        "LogLevel": "ERROR",
    }
    host, port = address
    forwards = [w for d in found for w in ("-L", f"127.0.0.1:{d.local}:localhost:{d.remote}")]
    option_arguments = [
        word for name, value in options.items() for word in ("-o", f"{name}={value}")
    ]
    return [
        "ssh",
        "-N",
        *forwards,
        "-i",
        str(key),
        *option_arguments,
        "-p",
        str(port),
        f"{SSH_USER}@{host}",
    ]


def session_commands(found: Sequence[ForwardedPort], instance: str, region: str) -> list[list[str]]:
    """The sessions of Session Manager, one a door: it needs no open port and no key."""
    return [
        [
            "aws", "ssm", "start-session", "--region", region, "--target", instance,
            "--document-name", "AWS-StartPortForwardingSession",
            "--parameters", f"portNumber={forwarded.remote},localPortNumber={forwarded.local}",
        ]
        for forwarded in found
    ]  # fmt: skip
