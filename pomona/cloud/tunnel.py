"""`pomona cloud tunnel`: forward JupyterHub and the Spark UI of a cluster, with checks before and after."""

from __future__ import annotations

import re
import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from pomona.options import ConfigFile, Json
from streaming.errors import AccountError, UsageError

if TYPE_CHECKING:
    from bootstrap.aws.client import Account
    from bootstrap.config.names import Names
    from bootstrap.tunnel.commands import ForwardedPort, Node
    from pomona.output.console import Console


SSH, SESSION_MANAGER = "ssh", "session-manager"


def tunnel(
    cluster: Annotated[
        str | None,
        typer.Argument(metavar="CLUSTER", help="Name or ID (default: the configuration's)."),
    ] = None,
    file: ConfigFile = "cluster.toml",
    via: Annotated[str, typer.Option(help="ssh or session-manager.")] = SSH,
    key: Annotated[
        str | None, typer.Option(help="Private key (default: ~/.ssh/, named after the key pair).")
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(help="Host or host:port to use instead of the node's public name."),
    ] = None,
    port: Annotated[int, typer.Option(help="Local port for Jupyter.")] = 9443,
    spark_port: Annotated[int, typer.Option(help="Local port for the Spark UI.")] = 18080,
    gateway_port: Annotated[
        int | None, typer.Option(help="Port of Jupyter Enterprise Gateway on the node (18888).")
    ] = None,
    print_only: Annotated[
        bool, typer.Option("--print", help="Print the command without opening the tunnel.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Open the tunnel, check it, and close it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Open a tunnel to JupyterHub and the Spark UI.

    Clusters with Jupyter Enterprise Gateway forward it in place of JupyterHub. The tunnel is open until Ctrl-C.

    Example: pomona cloud tunnel --key ~/.ssh/my-key.pem
    """
    from pomona.cloud.session import connect, translate_cloud_errors
    from pomona.output.console import Console
    from streaming.cache_dir import cache_folder

    _validate_ports(port=port, spark_port=spark_port, gateway_port=gateway_port)
    _validate_backend(via, key=key, to=to)
    console = Console(as_json=as_json)
    with translate_cloud_errors():
        from bootstrap.tunnel.checks import (
            check_installed,
            check_port_free,
            check_reachable,
            find_key,
        )
        from bootstrap.tunnel.commands import (
            GATEWAY_PORT,
            forwarded_ports,
            session_commands,
            ssh_command,
        )
        from bootstrap.tunnel.session import open_tunnel

        with console.status("querying AWS"):
            names, account = connect(file)
            node = _find_node(names, account, cluster)
            ports = forwarded_ports(
                node.applications, port, spark_port, gateway_port or GATEWAY_PORT
            )
            known_hosts = cache_folder() / "known_hosts" / node.cluster
            address = None
            if via == SSH:
                check_installed("ssh", "install the OpenSSH client, or use --via session-manager")
                private_key, address = find_key(key, node), _parse_address(to or node.host)
                commands = [ssh_command(ports, address, private_key, known_hosts)]
            else:
                check_installed("aws", "install the AWS CLI, or use --via ssh")
                check_installed("session-manager-plugin", "install AWS's Session Manager plugin")
                commands = session_commands(ports, node, names.config.region)
            if not print_only:
                for one in ports:
                    check_port_free(one, "--spark-port" if one.local == spark_port else "--port")
                if address:
                    check_reachable(*address)
        lines = [shlex.join(command) for command in commands]
        if print_only:
            if as_json:
                return console.print_json({"cluster": node.cluster, "commands": commands})
            for line in lines:
                console.print(line)
            return
        known_hosts.parent.mkdir(parents=True, exist_ok=True)
        with _until_stopped(console), open_tunnel(commands, ports, str(known_hosts)) as session:
            with console.status("opening the tunnel"):
                silent = session.wait_until_open()
            if as_json:
                endpoints = [
                    {"name": one.name, "url": one.url, "responds": one not in silent}
                    for one in ports
                ]
                document = {"cluster": node.cluster, "commands": commands, "endpoints": endpoints}
                console.print_json(document)
            else:
                for line in lines:
                    console.print(line)
                for one in ports:
                    console.print(f"{one.name}: {one.url}{_warning(one) if one in silent else ''}")
            if check:
                return
            console.print("open until Ctrl-C")
            session.wait()


@contextmanager
def _until_stopped(console: Console) -> Iterator[None]:
    """Treat Ctrl-C and SIGTERM as the normal end, so that `ssh` does not outlive the command."""

    def stop(*_: object) -> None:
        """Handle SIGTERM like Ctrl-C."""
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        console.print("closed")
    finally:
        signal.signal(signal.SIGTERM, previous)


def _warning(port: ForwardedPort) -> str:
    return f" does not respond: port {port.remote} of the node; services can take minutes to start"


def _validate_ports(*, port: int, spark_port: int, gateway_port: int | None) -> None:
    options = {"--port": port, "--spark-port": spark_port, "--gateway-port": gateway_port}
    for option, value in options.items():
        if value is not None and not 0 < value < 65536:
            raise UsageError(f"{option} {value}: it must be 1 to 65535")
    if port == spark_port:
        raise UsageError(f"--port and --spark-port are both {port}: they must differ")


def _validate_backend(via: str, *, key: str | None, to: str | None) -> None:
    if via not in (SSH, SESSION_MANAGER):
        raise UsageError(f"--via {via}: it must be {SSH} or {SESSION_MANAGER}")
    if to is not None:
        _parse_address(to)
    if via == SESSION_MANAGER and (key or to):
        raise UsageError("--key and --to are for --via ssh: Session Manager needs neither")


def _find_node(names: Names, account: Account, cluster_name: str | None) -> Node:
    """Return the primary node of a cluster, by default of the configuration's."""
    from bootstrap.aws.describe_cluster import find_cluster
    from bootstrap.tunnel.commands import primary_node

    name = cluster_name or names.config.name
    cluster = find_cluster(account.read, name, live=False)
    if cluster is None and names.config.mode == "serverless":
        raise AccountError(
            "EMR Serverless has no node to open a tunnel to: EMR Studio shows the Spark UI of its jobs"
        )
    if cluster is None:
        raise AccountError(f"no cluster {name}: `pomona cloud up` creates one")
    return primary_node(cluster, account.read)


def _parse_address(text: str) -> tuple[str, int]:
    """Return host and port of ``host``, ``host:port``, ``[v6]:port`` or a bare IPv6 address."""
    if text.count(":") > 1 and not text.startswith("["):
        return text, 22
    match = re.fullmatch(r"\[?([^\[\]]+?)\]?(?::(\d{1,5}))?", text)
    if not match or text.startswith("-"):
        raise UsageError(f"--to {text}: give a host, or host:port")
    return match[1], int(match[2] or 22)
