"""`pomona cloud logs`: print the logs of a step or job and its driver, and follow them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from time import sleep
from typing import TYPE_CHECKING, Annotated

import typer

from pomona.options import ConfigFile, Json
from streaming.errors import AccountError, UsageError

if TYPE_CHECKING:
    from bootstrap.aws.client import Account
    from bootstrap.monitor.logs import LogReader
    from pomona.output.console import Console


#: Seconds between two looks: EMR Serverless replaces its logs every 15, EMR on nodes every few minutes.
PAUSE = 15.0


def tell_logs(
    file: str,
    wanted: tuple[str, str | None],
    part: str,
    last: int,
    *,
    follow: bool,
    as_json: bool = False,
) -> None:
    """Tell the logs of a step or job.

    Parameters
    ----------
    file : str
    wanted : tuple of str
        ``ingest``, ``refit`` or an id, and the cluster's or application's name or id; None: the newest.
    part : str
        ``step``, ``driver`` or ``all``.
    last : int
        Lines of each file at first; 0: all.
    follow : bool
        Go on until it is over, or Ctrl-C.
    as_json : bool
    """
    from pomona.cloud.session import open_names, translate_cloud_errors
    from pomona.output.console import Console

    if part not in ("step", "driver", "all"):
        raise UsageError(f"--part {part}: it must be step, driver or all")
    if last < 0:
        raise UsageError(f"--lines {last}: it must be 0, for all, or more")
    if follow and as_json:
        raise UsageError("--follow has no end that --json could wait for: drop one")
    screen = Console(as_json=as_json)
    with translate_cloud_errors():
        from bootstrap.monitor.logs import LogReader
        from bootstrap.monitor.runs import find_run

        with screen.working("asking"):
            names, account = open_names(file)
            run = find_run(names, account.read, *wanted)
        reader = LogReader(names, account.read, run, part)
        found = [(uri, [*deque(lines, last or None)]) for uri, lines in reader.read_new_lines()]
        if not follow:
            found = _with_rest(found, reader.unterminated_lines())
        if as_json:
            logs = [{"uri": uri, "lines": lines} for uri, lines in found]
            return screen.show({"name": run.name, "id": run.id, "state": run.state, "logs": logs})
        screen.line(f"{run.name} {run.id} {run.state}")
        _print(screen, found)
        if not found and not follow:
            raise AccountError(
                f"no logs of {run.name} below s3://{names.log_bucket}/{run.prefix} yet: "
                "they come minutes after the start; --follow waits for them"
            )
        if follow:
            with suppress(KeyboardInterrupt):  # the ordinary end of following what goes on
                _follow(screen, reader, account)


def _follow(screen: Console, reader: LogReader, account: Account) -> None:
    """Print what comes until the run is over, and once more: the last lines come late."""
    over = False
    while not over:
        over = reader.run.is_finished(account.read)
        sleep(PAUSE)
        _print(screen, reader.read_new_lines())
    _print(screen, reader.unterminated_lines())
    screen.line(f"{reader.run.name} {reader.run.id} is over")


def _with_rest(
    found: list[tuple[str, list[str]]], rest: Iterable[tuple[str, list[str]]]
) -> list[tuple[str, list[str]]]:
    """The same with last lines that have no end, each behind those of its file."""
    made = dict(found)
    for uri, lines in rest:
        made[uri] = made.get(uri, []) + lines
    return [*made.items()]


def _print(screen: Console, found: Iterable[tuple[str, list[str]]]) -> None:
    for uri, lines in found:
        screen.line(f"== {uri}")
        for line in lines:
            screen.line(line)


def logs(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="ingest, refit, or the id of a step or job.")
    ] = "ingest",
    file: ConfigFile = "cluster.toml",
    cluster: Annotated[
        str | None, typer.Option(help="Of this cluster or application, in place of the newest.")
    ] = None,
    part: Annotated[str, typer.Option(help="step, driver or all.")] = "all",
    lines: Annotated[int, typer.Option(help="Last lines of each file; 0: all.")] = 100,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on until it is over, or Ctrl-C.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Print what a step or job and its driver have logged.

    Example: pomona cloud logs ingest --follow
    """

    tell_logs(file, (name, cluster), part, lines, follow=follow, as_json=as_json)
