"""Tests for `streaming.spark.local_environment`: foreign settings and the current directory are ignored."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyspark
import pytest

import streaming
from streaming.spark.local_environment import (
    child_environment,
    foreign_settings,
    ignore_foreign_settings,
    search_path,
    spark_environment,
)
from support.processes.cli import PROGRAM, environment, needs_program

OWN = str(Path(streaming.__file__).parents[1])
NOTEBOOK_IMAGE = {
    "SPARK_HOME": "/usr/local/spark",
    "SPARK_CONF_DIR": "/etc/spark",
    "SPARK_LOCAL_DIRS": "/data",
    "SPARK_REMOTE": "sc://spark",
    "PYSPARK_SUBMIT_ARGS": "--master yarn pyspark-shell",
    "PYSPARK_PYTHON": "/opt/conda/bin/python",
    "PYSPARK_DRIVER_PYTHON": "jupyter",
    "PYTHONPATH": "/usr/local/spark/python",
    "HADOOP_CONF_DIR": "/etc/hadoop",
    "CLASSPATH": ".",
    "BASH_ENV": "profile.sh",
    "JAVA_TOOL_OPTIONS": "-Xmx1m",
    "_JAVA_OPTIONS": "-Xmx1m",
    "JDK_JAVA_OPTIONS": "-Xmx1m",
}


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"PATH": os.environ["PATH"], "LC_ALL": "C"})


def test_settings_of_another_spark_are_removed_and_reported_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    kept = {"SPARK_DRIVER_MEMORY": "4g", "AWS_PROFILE": "fruits", "PYTHONHASHSEED": "1"}
    os.environ.update(NOTEBOOK_IMAGE | kept)
    ignore_foreign_settings()
    ignore_foreign_settings()
    names = ", ".join(sorted(NOTEBOOK_IMAGE))
    assert [record.message for record in caplog.records] == [
        f"ignored {names}: Pomona uses its own Spark"
    ]
    assert set(os.environ) - {"PYTEST_CURRENT_TEST"} == {"PATH", "LC_ALL", *kept}


def test_child_environment_has_own_spark_and_utf8() -> None:
    os.environ.update(NOTEBOOK_IMAGE | {"PYTHONINSPECT": "1", "PYTHONIOENCODING": "ascii"})
    variables = child_environment()
    assert foreign_settings(variables) == [
        "PYSPARK_DRIVER_PYTHON",
        "PYSPARK_PYTHON",
        "SPARK_HOME",
        "SPARK_LAUNCHER_OPTS",
        "SPARK_LOCAL_IP",
    ]
    options = variables["SPARK_LAUNCHER_OPTS"].split()
    assert "-XX:-UsePerfData" in options  # no warning with a full /tmp
    # No dumps in the current directory.
    assert {"-XX:ErrorFile=/dev/null", "-XX:-DumpReplayDataOnError"} <= set(options)
    assert variables["SPARK_HOME"] == str(Path(pyspark.__file__).parent)
    assert variables["PYSPARK_PYTHON"] == variables["PYSPARK_DRIVER_PYTHON"] == sys.executable
    assert (variables["LC_ALL"], variables["PYTHONUTF8"]) == ("C.UTF-8", "1")
    assert not {"PYTHONINSPECT", "PYTHONIOENCODING", "JAVA_TOOL_OPTIONS"} & set(variables)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("", ""),
        (":", None),
        (".", None),
        ("lib:/usr/local/spark/python", None),
        (f"{OWN}", OWN),
        (f"{OWN}/", f"{OWN}/"),
        (f":lib:{OWN}:/opt/packages:", f"{OWN}:/opt/packages"),
    ],
)
def test_child_python_path_has_absolute_entries_of_own_installation(
    given: str, kept: str | None
) -> None:
    os.environ["PYTHONPATH"] = given
    assert child_environment().get("PYTHONPATH") == kept


@pytest.mark.parametrize("given", ["", ":", ".", "lib", "/usr/local/spark/python", "/opt/a/:"])
def test_search_path_drops_current_directory_and_foreign_entries(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    os.environ["PYTHONPATH"] = given
    kept = [OWN, "/usr/lib/python3"]
    foreign = [os.path.join(tmp_path, entry) for entry in given.split(":")]  # as Python adds them
    assert search_path(["", str(tmp_path), *foreign, *kept]) == kept


def test_search_path_keeps_folders_of_the_interpreter() -> None:
    own = [entry for entry in sys.path if entry.startswith(os.path.dirname(os.__file__))]
    os.environ["PYTHONPATH"] = os.pathsep.join(["/usr/local/spark/python", *own])
    kept = search_path(["/usr/local/spark/python", *own])
    assert kept == [entry for entry in own if entry in kept]
    assert os.path.dirname(os.__file__) in kept


def test_search_path_keeps_own_folder_as_current_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(OWN)
    assert search_path([OWN, "/usr/lib/python3"]) == [OWN, "/usr/lib/python3"]


def test_spark_environment_is_restored(tmp_path: Path) -> None:
    before = dict(os.environ)
    with pytest.raises(RuntimeError), spark_environment(tmp_path):
        assert os.environ["JAVA_HOME"] == str(tmp_path)
        raise RuntimeError
    assert os.environ == before


@pytest.mark.parametrize("entries", [":.:lib:{folder}", "{library}:{folder}"])
@needs_program
@pytest.mark.end_to_end
def test_command_loads_no_module_of_the_current_directory(tmp_path: Path, entries: str) -> None:
    """`re` is not among them: the console script itself imports it before Pomona."""
    (tmp_path / "lib").mkdir()
    for folder in (tmp_path, tmp_path / "lib"):
        for name in ("streaming", "typer", "logging", "queue", "json", "numpy", "rich"):
            (folder / f"{name}.py").write_text(f"raise SystemExit('loaded {name}')")
    python_path = entries.format(folder=tmp_path, library=os.path.dirname(os.__file__))
    for command in ([PROGRAM], [sys.executable, "-m", "pomona.cli"]):
        done = subprocess.run(
            [*command, "status", "absent"],
            env=environment(PYTHONPATH=python_path),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stderr.startswith("pomona: "), done.stderr
        assert done.stderr.count("\n") == 1
