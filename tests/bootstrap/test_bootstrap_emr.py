"""Tests for `bootstrap/bootstrap_emr.sh`: it runs on a bare node without a network, twice, and fails loudly."""

from __future__ import annotations

import io
import os
import platform
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from support.minimal_rootfs import MinimalRoot, create_minimal_root, which

SCRIPT = Path(__file__).parents[2] / "bootstrap" / "bootstrap_emr.sh"
WORKS = "#!/bin/sh\n"
#: An older C library than any, on this machine: what the archive asks of a node.
NEEDS = f"machine {platform.machine()}\nglibc 2.17\n"


def archive(file: Path, **changes: str | None) -> Path:
    """An environment whose programs are shell scripts; None leaves a file out."""
    contents: dict[str, str | None] = {
        "ENVIRONMENT": NEEDS,
        "bin/python": WORKS,
        "bin/pomona": f"{WORKS}echo pomona 1.2.3\n",
    }
    contents |= {name.replace("_", "/"): text for name, text in changes.items()}
    with tarfile.open(file, "w:gz") as tar:
        for name, text in contents.items():
            if text is not None:
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(text.encode()), 0o755
                tar.addfile(entry, io.BytesIO(text.encode()))
    return file


@pytest.fixture
def node(tmp_path: Path) -> MinimalRoot:
    root = create_minimal_root(tmp_path / "node")
    root.put(SCRIPT, "/script")
    return root


def bootstrap(node: MinimalRoot, *words: str) -> tuple[int, str]:
    done = node.run("bash", "/script", *words)
    assert done.stdout == ""
    return done.returncode, done.stderr


def files(node: MinimalRoot) -> Mapping[str, bytes]:
    """All files of a node by name."""
    found = {}
    for folder, _, names in os.walk(node.folder):
        for name in names:
            file = Path(folder, name)
            if file.is_file():
                found[str(file.relative_to(node.folder))] = file.read_bytes()
    return found


def test_shellcheck_finds_nothing() -> None:
    shellcheck = shutil.which("shellcheck", path=str(Path(sys.executable).parent))
    if not shellcheck:
        pytest.skip("shellcheck is not installed: `make setup`")
    done = subprocess.run(
        [shellcheck, "--severity=style", SCRIPT],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == ""


def test_a_bare_node_gets_the_environment_and_nothing_else_changes(
    node: MinimalRoot, tmp_path: Path
) -> None:
    node.put(archive(tmp_path / "one.tar.gz"), "/one.tar.gz")
    before = files(node)
    status, stderr = bootstrap(node, "file:///one.tar.gz")
    assert status == 0, stderr
    assert "/opt/pomona now contains pomona 1.2.3" in stderr
    after = files(node)
    added = {name for name in after if name not in before}
    assert {name.removeprefix("opt/pomona/") for name in added} == {
        *("ENVIRONMENT", "ARCHIVE", "bin/python", "bin/pomona"),
    }
    assert {name: after[name] for name in before} == before
    assert node.run("/opt/pomona/bin/pomona").stdout == "pomona 1.2.3\n"


def test_whoever_runs_there_may_read_and_run_it(node: MinimalRoot, tmp_path: Path) -> None:
    node.put(archive(tmp_path / "one.tar.gz"), "/one.tar.gz")
    assert node.run("bash", "-c", "umask 077; bash /script file:///one.tar.gz").returncode == 0
    place = node.folder / "opt" / "pomona"
    for file in (place, place / "bin", place / "bin" / "python"):
        assert file.stat().st_mode & 0o777 == 0o755


def test_run_twice_it_changes_nothing(node: MinimalRoot, tmp_path: Path) -> None:
    node.put(archive(tmp_path / "one.tar.gz"), "/one.tar.gz")
    bootstrap(node, "file:///one.tar.gz")
    place = node.folder / "opt" / "pomona"
    inode, before = place.stat().st_ino, files(node)
    status, stderr = bootstrap(node, "file:///one.tar.gz")
    assert status == 0
    assert "is up to date" in stderr
    assert place.stat().st_ino == inode
    assert files(node) == before


def test_a_newer_archive_replaces_the_older_one(node: MinimalRoot, tmp_path: Path) -> None:
    node.put(archive(tmp_path / "one.tar.gz", extra="old"), "/one.tar.gz")
    node.put(archive(tmp_path / "two.tar.gz", bin_pomona=f"{WORKS}echo pomona 2\n"), "/two.tar.gz")
    bootstrap(node, "file:///one.tar.gz")
    status, stderr = bootstrap(node, "file:///two.tar.gz")
    assert status == 0
    assert "now contains pomona 2" in stderr
    assert os.listdir(node.folder / "opt") == ["pomona"]
    assert not (node.folder / "opt" / "pomona" / "extra").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ENVIRONMENT": None}, "is not a Pomona environment"),
        ({"ENVIRONMENT": "machine vax\nglibc 2.17\n"}, "for vax, but this node is"),
        ({"ENVIRONMENT": NEEDS.replace("2.17", "2.99")}, "needs glibc 2.99, but this node has 2."),
        ({"bin_python": f"{WORKS}exit 3\n"}, "the Python of file:///next.tar.gz does not run"),
        ({"bin_python": None}, "the Python of file:///next.tar.gz does not run"),
        ({"bin_pomona": f"{WORKS}exit 1\n"}, "the command of file:///next.tar.gz does not run"),
    ],
)
def test_an_archive_that_does_not_run_here_is_refused_and_the_old_one_stays(
    node: MinimalRoot, tmp_path: Path, changes: dict[str, str | None], message: str
) -> None:
    node.put(archive(tmp_path / "one.tar.gz"), "/one.tar.gz")
    bootstrap(node, "file:///one.tar.gz")
    node.put(archive(tmp_path / "next.tar.gz", **changes), "/next.tar.gz")
    before = files(node)
    status, stderr = bootstrap(node, "file:///next.tar.gz")
    assert status == 1
    assert f"FAILED: {message}" in stderr or message in stderr
    assert files(node) == before
    assert os.listdir(node.folder / "opt") == ["pomona"]


def test_an_archive_that_is_cut_short_is_refused(node: MinimalRoot, tmp_path: Path) -> None:
    whole = archive(tmp_path / "one.tar.gz", extra="x" * 5000).read_bytes()
    (node.folder / "half.tar.gz").write_bytes(whole[: len(whole) // 2])
    status, stderr = bootstrap(node, "file:///half.tar.gz")
    assert status == 1
    assert "file:///half.tar.gz is not a complete .tar.gz, or the disk is full" in stderr
    assert os.listdir(node.folder / "opt") == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "expected one argument"),
        (("file:///one.tar.gz", "--force"), "expected one argument"),
        (("ftp://somewhere/one.tar.gz",), "ftp://somewhere/one.tar.gz: give the s3://"),
        (("file:///absent.tar.gz",), "file:///absent.tar.gz: no such file"),
        (("s3://bucket/one.tar.gz",), "the aws command is not installed on this node"),
    ],
)
def test_what_cannot_be_fetched_is_named(
    node: MinimalRoot, words: tuple[str, ...], message: str
) -> None:
    status, stderr = bootstrap(node, *words)
    assert status == 1
    assert f"FAILED: {message}" in stderr


# The command of that name on a node, as far as the script uses it: boto3 does the same, over HTTP.
_AWS = """#!{python}
import sys
import boto3
assert sys.argv[1:4] == ["s3", "cp", "--only-show-errors"] and sys.argv[5:] == ["-"], sys.argv
bucket, _, key = sys.argv[4].removeprefix("s3://").partition("/")
boto3.client("s3").download_fileobj(bucket, key, sys.stdout.buffer)
"""


@pytest.mark.s3
@pytest.mark.parametrize("scheme", ["s3", "s3a"])
def test_the_archive_comes_from_the_bucket(bucket: str, tmp_path: Path, scheme: str) -> None:
    from streaming.storage.s3_client import s3_client

    file = archive(tmp_path / "one.tar.gz")
    s3_client().upload_file(str(file), bucket, "releases/1/environment.tar.gz")
    (tmp_path / "programs").mkdir()
    aws = tmp_path / "programs" / "aws"
    aws.write_text(_AWS.format(python=sys.executable))
    aws.chmod(0o755)
    opt = tmp_path / "opt"
    opt.mkdir()

    def run(key: str) -> subprocess.CompletedProcess[str]:
        # This machine with another folder in the place of /opt.
        there = f"mount --bind '{opt}' /opt && exec bash '{SCRIPT}' {scheme}://{bucket}/{key}"
        return subprocess.run(
            [which("unshare"), "--mount", "bash", "-c", there],
            env=os.environ | {"PATH": f"{aws.parent}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    done = run("releases/1/environment.tar.gz")
    if "unshare failed" in done.stderr or "mount: " in done.stderr:
        pytest.skip("this user may not mount a folder")
    assert done.returncode == 0, done.stderr
    assert (opt / "pomona" / "bin" / "pomona").exists()
    absent = run("releases/2/environment.tar.gz")
    assert absent.returncode == 1
    assert f"cannot download {scheme}://{bucket}/releases/2/environment.tar.gz: " in absent.stderr
    assert os.listdir(opt) == ["pomona"]
