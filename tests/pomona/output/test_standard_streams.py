"""Tests for the command with full, closed or broken standard streams, other encodings, and forced colors."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from pomona.output.console import Console
from pomona.output.redacting_stream import RedactingStream
from streaming.errors import OutputError
from support.processes.cli import PROGRAM, environment, needs_program

FULL = "pomona: standard output cannot be written: No space left on device\n"


def shell(
    line: str, cwd: Path | None = None, **changes: str | None
) -> subprocess.CompletedProcess[str]:
    """Run a line of bash, in which `pomona` is the console script."""
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"],
        env=environment(PATH=f"{PROGRAM.parent}:{os.environ['PATH']}", **changes),
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@needs_program
@pytest.mark.end_to_end
@pytest.mark.parametrize(
    ("line", "status", "err"),
    [
        ("pomona --version >/dev/full", 1, FULL),
        ("pomona status --help >/dev/full", 1, FULL),
        ("pomona --version >&-", 0, ""),
        ("pomona --version <&- >&- 2>&-", 0, ""),
        ("pomona --help | true", 1, ""),
        ("pomona status absent 2>/dev/full", 1, ""),
        ("pomona status absent >&- 2>&-", 1, ""),
        ("pomona status 2>/dev/full", 2, ""),
        ("pomona tag absent --force 2>&-", 2, ""),
    ],
)
def test_broken_stream_has_exit_code_and_at_most_one_line(
    line: str, status: int, err: str, tmp_path: Path
) -> None:
    done = shell(line, tmp_path)
    assert (done.returncode, done.stderr) == (status, err)


@needs_program
@pytest.mark.end_to_end
def test_closed_streams_are_not_reused_by_opened_files(tmp_path: Path) -> None:
    """`os.open` returns the lowest free number; what a library writes to 1 or 2 must not reach that file."""
    program = (
        "import os; from pomona.output.redacting_stream import redact_output\n"
        f"with redact_output(): assert os.open({str(tmp_path / 'file')!r}, os.O_CREAT) > 2"
    )
    done = shell(f'"{PROGRAM.with_name("python")}" -c "$PROGRAM" <&- >&- 2>&-', PROGRAM=program)
    assert done.returncode == 0


@needs_program
@pytest.mark.end_to_end
def test_deleted_current_directory_is_reported_for_relative_paths(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    line = f"mkdir {gone}; cd {gone}; rmdir {gone}; pomona status"
    done = shell(f"{line} lake")
    assert done.returncode == 1
    assert done.stderr.startswith("pomona: lake: the current directory was deleted; change to")
    assert done.stderr.count("\n") == 1
    assert shell(f"{line} --help").returncode == 0
    assert f"pomona: {tmp_path}/lake" in shell(f"{line} {tmp_path}/lake").stderr


@needs_program
@pytest.mark.end_to_end
@pytest.mark.parametrize(
    "locale",
    [
        {"LC_ALL": "xx_YY.ISO-8859-1"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"},
    ],
)
def test_names_are_utf8_for_any_locale(locale: dict[str, str], tmp_path: Path) -> None:
    done = shell("pomona status Äpfel", tmp_path, **locale)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{tmp_path}/Äpfel" in done.stderr


def test_failure_of_a_stream_is_raised_again(tmp_path: Path) -> None:
    """Typer writes an empty text first, and ignores its error."""
    with open("/dev/full", "w", buffering=1) as full:
        stream = RedactingStream(full, str)
        for _ in range(2):
            with pytest.raises(OutputError):
                stream.write("text\n")
        with pytest.raises(OutputError):
            stream.flush()


def test_console_without_terminal_ignores_forced_colors(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("FORCE_COLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.setenv(name, "1")
    console = Console()
    with console.status("reading"):
        console.print_table({"name": "name"}, [{"name": "fig"}])
    out, err = capsys.readouterr()
    assert (out, err) == ("name\nfig \n", "")
