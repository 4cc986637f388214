"""Tests for the command line: help with examples, usage errors, exit codes and interrupts."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest

from pomona import cli
from streaming import __version__
from streaming.errors import ExternalError
from support.processes.cli import (
    PROGRAM,
    Command,
    commands,
    environment,
    forbid_spark,
    make_workspace,
    needs_program,
    parse,
)


@pytest.fixture(autouse=True)
def no_spark(monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_spark(monkeypatch)


@pytest.fixture
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return make_workspace(tmp_path, monkeypatch)


@pytest.mark.parametrize("name", sorted(commands()))
def test_help_ends_with_a_valid_example(pomona: Command, name: str) -> None:
    done = pomona(name, "--help")
    assert (done.status, done.err) == (0, "")
    found = re.search(r"^ *Example: pomona (.+)$", done.out, re.MULTILINE)
    assert found
    arguments = shlex.split(found[1])
    assert arguments[0] == name
    parse(arguments)


def test_help_lists_all_commands(pomona: Command) -> None:
    assert {
        "demo",
        "ingest",
        "refit",
        "status",
        "history",
        "diff",
        "show",
        "tag",
        "quarantine",
        "forget",
    } <= set(commands())
    listed = pomona("--help").out
    assert all(f"  {name} " in listed for name in commands())
    assert pomona().status == 2


@pytest.mark.parametrize("line", ["", "cloud"])
def test_help_shows_the_summary_of_each_command_in_full(pomona: Command, line: str) -> None:
    summaries = pomona(*line.split(), "--help").out.partition("Commands:")[2]
    assert summaries
    assert "..." not in summaries


@pytest.mark.parametrize("line", ["", "status", "cloud", "cloud plan"])
def test_short_help_option_prints_the_help(pomona: Command, line: str) -> None:
    assert pomona(*line.split(), "-h").out == pomona(*line.split(), "--help").out != ""


@needs_program
@pytest.mark.end_to_end
@pytest.mark.parametrize(("words", "found"), [("in", "ingest"), ("ingest --we", "--weights")])
def test_bash_completion_lists_commands_and_options(words: str, found: str) -> None:
    completion = {"COMP_WORDS": f"pomona {words}", "COMP_CWORD": str(len(words.split()))}
    env = environment(_POMONA_COMPLETE="complete_bash", **completion)
    done = subprocess.run([PROGRAM], env=env, capture_output=True, text=True, check=False)
    assert (done.stdout.split(), done.stderr) == ([found], "")


def test_version_option_prints_the_package_version(pomona: Command) -> None:
    assert pomona("--version").out == f"pomona {__version__}\n"


USAGE_ERRORS = [
    ("nonsense", "nonsense"),
    ("ingest", "SOURCE"),
    ("ingest photos", "LAKE"),
    ("ingest photos lake more", "more"),
    ("ingest photos lake --bogus", "--bogus"),
    (
        "ingest photos lake --trigger soon",
        "'--trigger': soon: give seconds, or a number and a unit",
    ),
    (
        "ingest photos lake --sweep-every 10x",
        "'--sweep-every': 10x: give seconds, or a number and a unit",
    ),
    ("ingest photos lake --trigger -1", "--trigger"),
    ("ingest photos lake --trigger nan", "--trigger"),
    ("ingest photos lake --trigger inf", "--trigger"),
    ("ingest photos lake --settle -1", "--settle"),
    ("ingest photos lake --sweep-every 0", "--sweep-every"),
    ("ingest photos lake --max-files-per-trigger 0", "--max-files-per-trigger"),
    ("ingest photos lake --retry-timeout -1", "--retry-timeout"),
    ("ingest photos lake --patience -1", "--retry-timeout"),
    ("ingest photos lake --max-pixels 0", "--max-pixels"),
    ("ingest photos lake --max-prefetch-bytes 0", "--max-prefetch-bytes"),
    ("ingest photos lake --max-cpu-seconds 0", "--max-cpu-seconds"),
    (
        "ingest photos lake --max-failure-rate 1.5",
        "--max-failure-rate 1.5: give a fraction, 0 to 1",
    ),
    ("ingest photos lake --max-failure-rate nan", "give a fraction, 0 to 1"),
    ("ingest photos lake --file-source csv", "choose binaryFile or manifests"),
    ("ingest photos s3://bucket/lake --file-source manifests", "choose binaryFile"),
    ("ingest photos lake --engine nonsense", "onnxruntime, openvino or tensorflow"),
    ("ingest photos lake --precision int4", "float32, bfloat16 or int8"),
    ("ingest photos lake --device tpu", "cpu or cuda"),
    ("ingest photos lake --engine tensorflow --precision bfloat16", "openvino cpu bfloat16"),
    ("ingest photos lake --engine onnxruntime --precision int8", "openvino cpu int8"),
    ("ingest photos lake --device cuda --engine openvino", "onnxruntime cuda float32"),
    ("ingest photos lake --device cuda --precision bfloat16", "unsupported combination"),
    ("ingest gs://fruits lake", "gs:"),
    ("ingest photos hdfs://lake", "hdfs:"),
    ("ingest s3:// lake", "bucket"),
    ("ingest photos s3:///lake", "bucket"),
    ("ingest photos lake --once --weights gs://fruits/w.h5", "gs:"),
    ("refit", "LAKE"),
    ("refit lake --components 2 --variance 0.9", "cannot be combined"),
    ("refit lake --components 0", "--components 0: give 1 or more"),
    ("refit lake --components -3", "--components -3: give 1 or more"),
    ("refit lake --components many", "'--components': Input should be a valid integer"),
    ("refit lake --variance 0", "--variance 0: give a ratio above 0, up to 1"),
    ("refit lake --variance 1.5", "--variance 1.5: give a ratio"),
    ("refit lake --variance nan", "--variance nan: give a ratio"),
    ("refit lake --components 0 --variance 0.5", "cannot be combined"),
    ("refit lake --every nonsense", "nonsense"),
    ("refit lake --every 0h", "0h"),
    ("refit lake --every 1h --as-of 3", "--as-of"),
    ("refit gs://fruits", "gs:"),
    ("status gs://fruits", "gs:"),
    ("quarantine s3://", "bucket"),
    ("quarantine photos --reason nonsense", "choose one of empty, unidentified, unsupported"),
    (
        "quarantine photos --retry --reason nonsense",
        "choose one of empty, unidentified, unsupported",
    ),
    ("quarantine photos --retry --as-of 3", "--retry and --as-of cannot be combined"),
    (
        "refit lake --max-drift 30",
        "--max-drift 30: expected NAME=NUMBER with NAME angle, shift or label",
    ),
    ("refit lake --max-drift angle=steep", "--max-drift angle=steep"),
    ("refit lake --max-drift shift=-1", "--max-drift shift=-1.0"),
    ("diff lake 3", "'B'"),
    ("tag lake --as-of 3", "need the NAME of a tag"),
    ("tag lake --force", "need the NAME of a tag"),
    ("tag lake march --delete --force", "--delete cannot be combined with --as-of or --force"),
    ("show gs://fruits", "gs:"),
    ("forget lake", "PATH..."),
    ("forget lake gs://fruits/a.jpg", "gs:"),
    ("reconcile photos", "LAKE"),
    ("reconcile photos lake --remove-limit 2", "--remove-limit 2: give a fraction, 0 to 1"),
    ("ingest photos lake --remove-limit 1.5", "--remove-limit 1.5: give a fraction, 0 to 1"),
    ("ingest photos lake --remove-limit -1", "--remove-limit"),
    ("history s3a://", "bucket"),
]


@pytest.mark.parametrize(("line", "message"), USAGE_ERRORS)
def test_usage_error_exits_with_2_and_names_the_argument(
    pomona: Command, working_folder: Path, line: str, message: str
) -> None:
    done = pomona(*line.split())
    assert done.status == 2
    assert message in done.err
    assert "Traceback" not in done.err
    assert not (working_folder / "lake").exists()


@needs_program
@pytest.mark.end_to_end
def test_error_is_an_exit_code_and_one_line(working_folder: Path) -> None:
    for line, status in (("status photos", 1), ("tag lake --force", 2)):
        done = subprocess.run(
            [PROGRAM, *line.split()], capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == status
        assert done.stdout == ""
        assert done.stderr.startswith("pomona: ")
        assert done.stderr.count("\n") == 1


def test_closed_pipe_is_not_an_error(working_folder: Path) -> None:
    program = "import sys; sys.argv = ['pomona', '--help']; from pomona.cli import main; main()"
    writer = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert writer.stdout
    assert writer.stderr
    writer.stdout.close()
    assert writer.stderr.read() == b""
    writer.wait(60)


def test_early_interrupt_prints_no_traceback(
    pomona: Command, working_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> NoReturn:
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("the interrupt was swallowed")

    monkeypatch.setattr("streaming.ingest.pipeline.ensure_model", interrupted)
    done = pomona("ingest", "photos", "lake")
    assert done.status == 130
    assert "Traceback" not in done.err
    assert not (working_folder / "lake").exists()


def test_py4j_interrupt_log_is_not_printed() -> None:
    program = (
        "import logging, sys; sys.argv = ['pomona', '--version']\n"
        "from pomona.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "say = compile('logging.error(arguments)', '/x/py4j/java_gateway.py', 'exec')\n"
        "exec(say, {'logging': logging, 'arguments': 'KeyboardInterrupt while sending command.'})\n"
        "logging.getLogger('streaming').warning('this one counts')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env=environment(),
    )
    assert done.stderr == "pomona: this one counts\n"


def test_module_runs_the_command() -> None:
    assert cli.main.__module__ == "pomona.cli"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_during_the_imports_prints_no_traceback(number: signal.Signals) -> None:
    program = (
        "import builtins, signal\n"
        "original = builtins.__import__\n"
        "def interrupt(name, *arguments):\n"
        f"    if name == 'pomona.commands.refit': signal.raise_signal({number.value})\n"
        "    return original(name, *arguments)\n"
        "builtins.__import__ = interrupt\n"
        "import pomona.cli\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, "", "")


def test_sigterm_ends_a_command_with_143(
    pomona: Command, working_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def terminated(*_: Any, **__: Any) -> NoReturn:
        signal.raise_signal(signal.SIGTERM)
        raise AssertionError("the signal was swallowed")

    monkeypatch.setattr("streaming.ingest.pipeline.ensure_model", terminated)
    done = pomona("ingest", "photos", "lake")
    assert (done.status, done.err) == (143, "")


@pytest.mark.parametrize("error", [ExternalError("Java does not answer"), OSError("lost")])
def test_error_that_replaces_an_interrupt_is_not_printed(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def run(**_: object) -> NoReturn:
        try:
            raise KeyboardInterrupt
        finally:
            raise error

    monkeypatch.setattr(cli, "app", run)
    with pytest.raises(KeyboardInterrupt):
        cli._run()
