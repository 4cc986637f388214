"""The forwarded ports of a cluster's primary node, and the commands that open a tunnel to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bootstrap.aws.request import Ask, Parameters
from bootstrap.errors import CloudError

#: Where JupyterHub listens, and where a tunnel to it or to what takes its place begins.
HUB = 9443
#: Where EMR lets notebooks in: Jupyter Enterprise Gateway is behind it.
GATEWAY = 18888
#: Where Spark's history server listens, which shows running applications too.
HISTORY = 18080
#: Whom EMR's nodes let in.
USER = "hadoop"


@dataclass(frozen=True)
class Door:
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


def primary_node(cluster: Parameters, ask: Ask) -> Node:
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
    asked = {"ClusterId": called, "InstanceGroupTypes": ["MASTER"]}
    instances = (ask("emr", "list_instances", asked) or {}).get("Instances", [])
    return Node(
        cluster=called,
        applications=tuple(one["Name"] for one in cluster.get("Applications") or ()),
        host=str(cluster.get("MasterPublicDnsName") or ""),
        key=cluster.get("Ec2InstanceAttributes", {}).get("Ec2KeyName"),
        instance=instances[0]["Ec2InstanceId"] if instances else "",
    )


def doors(
    applications: Sequence[str], local: int, spark: int, gateway: int = GATEWAY
) -> list[Door]:
    """What is behind the tunnel: JupyterHub or what the cluster has in its place, and Spark's UI.

    Parameters
    ----------
    applications : sequence of str
    local, spark : int
        Ports of this machine for Jupyter and for Spark's UI.
    gateway : int
        The node's port of Jupyter Enterprise Gateway.
    """
    found = [Door("Spark UI", spark, HISTORY, "http")]
    if "JupyterHub" in applications:
        found.insert(0, Door("JupyterHub", local, HUB, "https"))
    elif "JupyterEnterpriseGateway" in applications:
        found.insert(0, Door("Jupyter Enterprise Gateway", local, gateway, "https"))
    return found


def ssh_command(
    found: Sequence[Door], address: tuple[str, int], key: Path, known_hosts: Path
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
    told = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    return ["ssh", "-N", *forwards, "-i", str(key), *told, "-p", str(port), f"{USER}@{host}"]


def session_commands(found: Sequence[Door], instance: str, region: str) -> list[list[str]]:
    """The sessions of Session Manager, one a door: it needs no open port and no key."""
    return [
        [
            "aws", "ssm", "start-session", "--region", region, "--target", instance,
            "--document-name", "AWS-StartPortForwardingSession",
            "--parameters", f"portNumber={door.remote},localPortNumber={door.local}",
        ]
        for door in found
    ]  # fmt: skip
