"""`pomona cloud tunnel`: forward JupyterHub and the Spark UI of a cluster, with checks before and after."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
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


@dataclass(frozen=True)
class TunnelOptions:
    """What `pomona cloud tunnel` was asked for.

    Parameters
    ----------
    cluster : str or None
        Name or id; None: the description's.
    via : str
        ``ssh`` or ``session-manager``.
    key : str or None
    to : str or None
        Host, or host:port, in place of the node's public name.
    port, spark_port : int
        Of this machine.
    gateway_port : int or None
        Of the node.
    print_only, check : bool
        Only print the command; or close the tunnel when it was checked.
    """

    cluster: str | None
    via: str
    key: str | None
    to: str | None
    port: int
    spark_port: int
    gateway_port: int | None
    print_only: bool
    check: bool


def open_and_tell(file: str, options: TunnelOptions, *, as_json: bool) -> None:
    """Open a tunnel, tell what is behind it, and hold it until Ctrl-C."""
    import shlex

    from pomona.cloud.session import open_names, translate_cloud_errors
    from pomona.output.console import Console
    from streaming.cache_dir import cache_folder

    _require_sense(options)
    with translate_cloud_errors():
        from bootstrap.tunnel.commands import GATEWAY_PORT, forwarded_ports
        from bootstrap.tunnel.session import open_tunnel

        screen = Console(as_json=as_json)
        with screen.working("asking"):
            names, account = open_names(file)
            node = _node(names, account, options)
            gateway = options.gateway_port or GATEWAY_PORT
            found = forwarded_ports(node.applications, options.port, options.spark_port, gateway)
            known = cache_folder() / "known_hosts" / node.cluster
            commands = _commands(found, node, options, names.config.region, known)
        lines = [shlex.join(command) for command in commands]
        if options.print_only:
            if as_json:
                return screen.show({"cluster": node.cluster, "commands": commands})
            for line in lines:
                screen.line(line)
            return
        known.parent.mkdir(parents=True, exist_ok=True)
        with _until_stopped(screen), open_tunnel(commands, found, str(known)) as tunnel:
            with screen.working("opening the tunnel"):
                silent = tunnel.wait_until_open()
            answer = {
                "cluster": node.cluster,
                "commands": commands,
                "doors": [
                    {"name": one.name, "url": one.url, "answers": one not in silent}
                    for one in found
                ],
            }
            if as_json:
                screen.show(answer)
            else:
                for line in lines:
                    screen.line(line)
                for one in found:
                    screen.line(f"{one.name}: {one.url}{_silence(one, silent)}")
            if options.check:
                return
            screen.line("open until Ctrl-C")
            tunnel.wait()


@contextmanager
def _until_stopped(screen: Console) -> Iterator[None]:
    """Take Ctrl-C and SIGTERM for what they are here, the ordinary end, so that `ssh` does not outlive the command."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        screen.line("closed")
    finally:
        signal.signal(signal.SIGTERM, before)


def _silence(door: ForwardedPort, silent: list[ForwardedPort]) -> str:
    if door not in silent:
        return ""
    return f" does not answer: port {door.remote} of the node is silent; it may need minutes after the start"


def _require_sense(options: TunnelOptions) -> None:
    if options.via not in (SSH, SESSION_MANAGER):
        raise UsageError(f"--via {options.via}: it must be {SSH} or {SESSION_MANAGER}")
    for name in ("port", "spark_port", "gateway_port"):
        value = getattr(options, name)
        if value is not None and not 0 < value < 65536:
            raise UsageError(f"--{name.replace('_', '-')} {value}: it must be 1 to 65535")
    if options.port == options.spark_port:
        raise UsageError(f"--port and --spark-port are both {options.port}: they must differ")
    if options.to is not None:
        _address(options.to)
    if options.via == SESSION_MANAGER and (options.key or options.to):
        raise UsageError("--key and --to are for --via ssh: Session Manager needs neither")


def _node(names: Names, account: Account, options: TunnelOptions) -> Node:
    from bootstrap.aws.describe_cluster import find_cluster
    from bootstrap.tunnel.commands import primary_node

    name = options.cluster or names.config.name
    cluster = find_cluster(account.read, name, live=False)
    if cluster is None and names.config.mode == "serverless":
        raise AccountError(
            "EMR Serverless has no node that a tunnel could lead to: EMR Studio shows the Spark UI of its jobs"
        )
    if cluster is None:
        raise AccountError(f"no cluster {name}: `pomona cloud up` makes one")
    return primary_node(cluster, account.read)


def _commands(
    found: list[ForwardedPort], node: Node, options: TunnelOptions, region: str, known: Path
) -> list[list[str]]:
    """The commands that open the doors, after what can be checked before."""
    from bootstrap.tunnel.checks import check_installed, check_port_free, check_reachable, find_key
    from bootstrap.tunnel.commands import session_commands, ssh_command

    if options.via == SSH:
        check_installed("ssh", "install OpenSSH's client, or take --via session-manager")
        key, address = find_key(options.key, node), _address(options.to or node.host)
        commands = [ssh_command(found, address, key, known)]
    else:
        check_installed("aws", "install the AWS CLI, or take --via ssh")
        check_installed("session-manager-plugin", "install AWS's Session Manager plugin")
        commands = session_commands(found, node.instance, region)
    if not options.print_only:
        for door in found:
            check_port_free(door, "--spark-port" if door.local == options.spark_port else "--port")
        if options.via == SSH:
            check_reachable(*address)
    return commands


def _address(text: str) -> tuple[str, int]:
    """Host and port of ``host``, ``host:port``, ``[v6]:port`` or a bare IPv6 address."""
    if text.count(":") > 1 and not text.startswith("["):
        return text, 22
    found = re.fullmatch(r"\[?([^\[\]]+?)\]?(?::(\d{1,5}))?", text)
    if not found or text.startswith("-"):
        raise UsageError(f"--to {text}: give a host, or host:port")
    return found[1], int(found[2] or 22)


def tunnel(
    cluster: Annotated[
        str | None,
        typer.Argument(metavar="CLUSTER", help="Name or id (the description's)."),
    ] = None,
    file: ConfigFile = "cluster.toml",
    via: Annotated[str, typer.Option(help="ssh or session-manager.")] = "ssh",
    key: Annotated[
        str | None, typer.Option(help="Private key (~/.ssh/, by the name of the key pair).")
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(help="Address in place of the node's public name: host or host:port."),
    ] = None,
    port: Annotated[int, typer.Option(help="Port of this machine for Jupyter.")] = 9443,
    spark_port: Annotated[int, typer.Option(help="Port of this machine for Spark's UI.")] = 18080,
    gateway_port: Annotated[
        int | None, typer.Option(help="The node's port of Jupyter Enterprise Gateway (18888).")
    ] = None,
    print_only: Annotated[
        bool, typer.Option("--print", help="Print the command, and open nothing.")
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="Open, check, and close again.")] = False,
    as_json: Json = False,
) -> None:
    """Open a tunnel to JupyterHub (or its gateway) and to the Spark UI of a cluster, until Ctrl-C.

    Example: pomona cloud tunnel --key ~/.ssh/my-key.pem
    """

    options = TunnelOptions(
        cluster, via, key, to, port, spark_port, gateway_port, print_only, check
    )
    open_and_tell(file, options, as_json=as_json)
