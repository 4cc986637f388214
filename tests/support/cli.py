"""The command `pomona`, called in this process or as a program, and the words that it knows."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import h5py
import pytest
import typer.main

from pomona import cli
from support.lakes import jpeg, put

#: The console script of this environment.
PROGRAM = Path(sys.executable).with_name("pomona")


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, which must be one JSON document and nothing else."""
        return json.loads(self.out)

    @property
    def complaint(self) -> str:
        """The one line on standard error; nothing else may have been said."""
        assert self.out == ""
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("pomona: ")
        return lines[0]


@dataclass(frozen=True)
class Command:
    """Calls `pomona.cli.main` in this process, as the console script does."""

    patch: pytest.MonkeyPatch
    capture: pytest.CaptureFixture[str]

    def __call__(self, *words: object) -> Done:
        """Run the command with these words."""
        self.patch.setattr(sys, "argv", ["pomona", *map(str, words)])
        self.capture.readouterr()
        status: Any = 0
        try:
            cli.main()
        except SystemExit as left:
            status = left.code or 0
        return Done(status, *self.capture.readouterr())


def environment(**changes: str | None) -> dict[str, str]:
    """This process's environment, without what Spark has put in it; None takes a name away."""
    spark = ("SPARK_", "PYSPARK_", "JAVA_HOME", "COV_")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(spark)}
    kept |= {key: value for key, value in changes.items() if value is not None}
    return {key: value for key, value in kept.items() if changes.get(key, "") is not None}


def program(*words: object, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Done:
    """Run the installed console script to its end."""
    done = subprocess.run(
        [PROGRAM, *map(str, words)],
        env=env or environment(),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def slowness() -> float:
    """How many times as long as on an idle machine a thing may take, others being at work too."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def commands() -> dict[str, Any]:
    """The commands by name."""
    group: Any = typer.main.get_command(cli.app)
    return dict(group.commands)


def parse(words: Sequence[str]) -> dict[str, Any]:
    """What the words after `pomona` mean, without doing it; an exception where they mean nothing."""
    name, *rest = words
    if name.startswith("--"):
        assert name in ("--help", "--version"), name
        return {}
    if "--help" in rest:
        return {"help": name} if name in commands() else pytest.fail(f"no command {name}")
    command = commands()[name]
    while hasattr(command, "commands") and rest:  # `cloud plan`
        name, *rest = rest
        command = command.commands[name]
    parsed: dict[str, Any] = command.make_context(name, rest).params
    return parsed


def is_name(words: Sequence[str]) -> bool:
    """Whether words name a command, and no more."""
    inner: Any = commands()
    for word in words:
        if word not in inner:
            return False
        inner = getattr(inner[word], "commands", {})
    return True


def options() -> set[str]:
    """Every option of every command, and of the commands below it."""
    found, left = set[str](), [*commands().values()]
    while left:
        command = left.pop()
        left += getattr(command, "commands", {}).values()
        found |= {word for param in command.params for word in param.opts}
    return found


needs_program = pytest.mark.skipif(
    not PROGRAM.exists() and not shutil.which("pomona"), reason="Pomona is not installed"
)


class SparkStarted(BaseException):
    """Never caught by the command: the test fails."""


def forbid_spark(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the test fail where Spark or TensorFlow would start."""

    def refuse(*_args: Any, **_options: Any) -> NoReturn:
        raise SparkStarted

    # What a session begins with, not its name: modules imported meanwhile would keep a patched name for good.
    monkeypatch.setattr("streaming.spark.session.check_package", refuse)
    monkeypatch.setattr("streaming.model.export.convert", refuse)
    monkeypatch.setattr("streaming.model.export.fetch_imagenet", refuse)


def make_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the current folder one with images, weights, and things that are neither."""
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
    whole = (tmp_path / "another.h5").read_bytes()
    (tmp_path / "half.h5").write_bytes(whole[: len(whole) // 2])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shown(location: str) -> str:
    """Return a location as the command prints it: a path, or an ``s3://`` URI."""
    return location.removeprefix("file:").replace("s3a://", "s3://", 1)
