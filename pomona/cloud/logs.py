"""`pomona cloud logs`: print and follow the logs of a step or job and of its driver."""

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


#: Seconds between polls: EMR Serverless updates its logs every 15 s, EMR on EC2 every few minutes.
POLL_INTERVAL = 15.0


def logs(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="ingest, refit, or the ID of a step or job.")
    ] = "ingest",
    file: ConfigFile = "cluster.toml",
    cluster: Annotated[
        str | None,
        typer.Option(help="Name or ID of a cluster or application (default: the newest)."),
    ] = None,
    part: Annotated[str, typer.Option(help="step, driver or all.")] = "all",
    lines: Annotated[int, typer.Option(help="Last lines of each file; 0: all.")] = 100,
    follow: Annotated[
        bool, typer.Option("--follow", help="Print new lines until the run ends, or Ctrl-C.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Print the logs of a step or job and of its driver.

    Example: pomona cloud logs ingest --follow
    """
    from pomona.cloud.session import connect, translate_cloud_errors
    from pomona.output.console import Console

    if part not in ("step", "driver", "all"):
        raise UsageError(f"--part {part}: it must be step, driver or all")
    if lines < 0:
        raise UsageError(f"--lines {lines}: it must be 0, for all, or more")
    if follow and as_json:
        raise UsageError("--follow and --json cannot be combined: drop one")
    console = Console(as_json=as_json)
    with translate_cloud_errors():
        from bootstrap.monitor.logs import LogReader
        from bootstrap.monitor.runs import find_run

        with console.status("querying AWS"):
            names, account = connect(file)
            run = find_run(names, account.read, name, cluster)
        reader = LogReader(names, account.read, run, part)
        added = [(uri, [*deque(new, lines or None)]) for uri, new in reader.read_new_lines()]
        if not follow:
            added = _append_unterminated(added, reader.unterminated_lines())
        if as_json:
            files = [{"uri": uri, "lines": content} for uri, content in added]
            return console.print_json(
                {"name": run.name, "id": run.id, "state": run.state, "logs": files}
            )
        console.print(f"{run.name} {run.id} {run.state}")
        _render(console, added)
        if not added and not follow:
            raise AccountError(
                f"no logs of {run.name} below s3://{names.log_bucket}/{run.prefix} yet: "
                "EMR uploads them some minutes after the start; --follow waits for them"
            )
        if follow:
            with suppress(KeyboardInterrupt):  # the usual way to stop following
                _follow(console, reader, account)


def _follow(console: Console, reader: LogReader, account: Account) -> None:
    """Print new lines until the run has finished, and poll once more: the last lines are uploaded late."""
    finished = False
    while not finished:
        finished = reader.run.is_finished(account.read)
        sleep(POLL_INTERVAL)
        _render(console, reader.read_new_lines())
    _render(console, reader.unterminated_lines())
    console.print(f"{reader.run.name} {reader.run.id} has finished")


def _append_unterminated(
    added: list[tuple[str, list[str]]], unterminated: Iterable[tuple[str, list[str]]]
) -> list[tuple[str, list[str]]]:
    """Append to each file its last line if that has no line end."""
    by_uri = dict(added)
    for uri, lines in unterminated:
        by_uri[uri] = by_uri.get(uri, []) + lines
    return [*by_uri.items()]


def _render(console: Console, files: Iterable[tuple[str, list[str]]]) -> None:
    for uri, lines in files:
        console.print(f"== {uri}")
        for line in lines:
            console.print(line)
