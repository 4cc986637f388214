"""Run the command `pomona` in this process or as a program; parse its arguments."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import h5py
import pytest
import typer.main

from pomona import cli
from streaming.signals import restore_signals
from support.lakes.small_lakes import jpeg, put

#: The console script of this environment.
PROGRAM = Path(sys.executable).with_name("pomona")
APP = cli.app


@dataclass(frozen=True)
class CommandResult:
    """Exit status and output of a command."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, parsed as one JSON document."""
        return json.loads(self.out)

    @property
    def error_line(self) -> str:
        """The only line on standard error; fail if there is other output."""
        assert self.out == ""
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("pomona: ")
        return lines[0]


@dataclass(frozen=True)
class Command:
    """Calls `pomona.cli.main` in this process, like the console script."""

    patch: pytest.MonkeyPatch
    capture: pytest.CaptureFixture[str]

    def __call__(self, *args: object) -> CommandResult:
        """Run the command with these arguments."""
        self.patch.setattr(sys, "argv", ["pomona", *map(str, args)])
        # Typer would build all commands again for each call, which takes 0.1 s.
        self.patch.setattr(cli, "app", command_group())
        self.capture.readouterr()
        status: Any = 0
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            cli.main()
        except SystemExit as error:
            status = error.code or 0
        finally:
            restore_signals(before)
        return CommandResult(status, *self.capture.readouterr())


def environment(**changes: str | None) -> dict[str, str]:
    """Return the environment of this process without the variables of Spark; None removes a variable."""
    spark = ("SPARK_", "PYSPARK_", "JAVA_HOME", "COV_")
    variables = {key: value for key, value in os.environ.items() if not key.startswith(spark)}
    variables |= {key: value for key, value in changes.items() if value is not None}
    return {key: value for key, value in variables.items() if changes.get(key, "") is not None}


def program(
    *args: object,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    path: Path = PROGRAM.parent,
) -> CommandResult:
    """Run the console script in a folder until it ends; by default that of this environment."""
    done = subprocess.run(
        [path / "pomona", *map(str, args)],
        env=env or environment(),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    return CommandResult(done.returncode, done.stdout, done.stderr)


def slowness() -> float:
    """Return the factor by which the load of the machine may lengthen a wait."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


@cache
def command_group() -> Any:
    """Return `pomona` itself, with its own options and its commands."""
    return typer.main.get_command(APP)


def commands() -> dict[str, Any]:
    """Return the commands by name."""
    return dict(command_group().commands)


def parse(args: Sequence[str]) -> dict[str, Any]:
    """Parse the arguments after `pomona` without running the command; raise an exception if they are invalid."""
    name, *rest = args
    if name.startswith("--"):
        own = {option for parameter in command_group().params for option in parameter.opts}
        assert name in own | {"--help"}, name
        return {}
    if "--help" in rest:
        return {"help": name} if name in commands() else pytest.fail(f"no command {name}")
    command = commands()[name]
    while hasattr(command, "commands") and rest:  # `cloud plan`
        name, *rest = rest
        command = command.commands[name]
    # A command keeps the help options of its first context, which inherits them from `pomona`.
    group = command_group()
    parent = group.context_class(group, **group.context_settings)
    parsed: dict[str, Any] = command.make_context(name, rest, parent=parent).params
    return parsed


def is_name(args: Sequence[str]) -> bool:
    """Return whether the arguments are the name of a command or subcommand without further arguments."""
    inner: Any = commands()
    for name in args:
        if name not in inner:
            return False
        inner = getattr(inner[name], "commands", {})
    return True


@cache
def options() -> frozenset[str]:
    """Return the options of `pomona`, and of all commands and subcommands."""
    found, remaining = set[str](), [command_group()]
    while remaining:
        command = remaining.pop()
        remaining += getattr(command, "commands", {}).values()
        found |= {
            option for param in command.params for option in (*param.opts, *param.secondary_opts)
        }
    return frozenset(found)


needs_program = pytest.mark.skipif(
    not PROGRAM.exists() and not shutil.which("pomona"), reason="Pomona is not installed"
)


class SparkStarted(BaseException):
    """Not caught by the command, so that the test fails."""


def forbid_spark(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the test fail if Spark or TensorFlow would start."""

    def refuse(*_args: Any, **_options: Any) -> NoReturn:
        raise SparkStarted

    # Not `start_session`: modules imported during the test would keep the patched function.
    monkeypatch.setattr("streaming.spark.session.check_package", refuse)
    monkeypatch.setattr("streaming.model.export.convert", refuse)
    monkeypatch.setattr("streaming.model.export.fetch_imagenet", refuse)


def make_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Create a folder with images, weights and other files, and make it the working directory."""
    put(tmp_path / "photos" / "Fig" / "a.jpg", jpeg())
    put(tmp_path / "other" / "notes.txt", b"text")
    put(tmp_path / "notes.txt", b"text")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    with h5py.File(tmp_path / "another.h5", "w") as file:
        file.attrs["layer_names"] = ["dense"]
        dense = file.create_group("dense")
        dense.attrs["weight_names"] = ["kernel"]
        dense["kernel"] = [[0.0] * 1000] * 10
    content = (tmp_path / "another.h5").read_bytes()
    (tmp_path / "half.h5").write_bytes(content[: len(content) // 2])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shown(location: str) -> str:
    """Return a location as the command prints it: a path, or an ``s3://`` URI."""
    return location.removeprefix("file:").replace("s3a://", "s3://", 1)


def set_terminal_input(patch: pytest.MonkeyPatch, text: str) -> None:
    """Replace standard input with a terminal that contains this text."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    patch.setattr(sys, "stdin", Terminal(text))
