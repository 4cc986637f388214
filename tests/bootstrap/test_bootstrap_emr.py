"""Tests for `bootstrap/bootstrap_emr.sh` in a minimal root without network: install, update, and failures."""

from __future__ import annotations

import hashlib
import io
import os
import platform
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from support.processes.minimal_rootfs import MinimalRoot, create_minimal_root, which

SCRIPT = Path(__file__).parents[2] / "bootstrap" / "bootstrap_emr.sh"
SHEBANG = "#!/bin/sh\n"
#: Manifest of an archive that runs on this machine.
REQUIREMENTS = f"machine {platform.machine()}\nglibc 2.17\n"


def archive(file: Path, **changes: str | None) -> Path:
    """Create an environment with shell scripts as programs; None omits a file."""
    contents: dict[str, str | None] = {
        "ENVIRONMENT": REQUIREMENTS,
        "bin/python": SHEBANG,
        "bin/pomona": f"{SHEBANG}echo pomona 1.2.3\n",
    }
    contents |= {name.replace("_", "/"): text for name, text in changes.items()}
    with tarfile.open(file, "w:gz") as tar:
        for name, text in contents.items():
            if text is not None:
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(text.encode()), 0o755
                tar.addfile(entry, io.BytesIO(text.encode()))
    return file


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> MinimalRoot:
    root = create_minimal_root(tmp_path_factory.mktemp("template") / "node")
    root.put(SCRIPT, "/script")
    return root


@pytest.fixture
def node(template: MinimalRoot, tmp_path: Path) -> MinimalRoot:
    return template.copy(tmp_path / "node")


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def bootstrap(node: MinimalRoot, name: str, expected: str | None = None) -> tuple[int, str]:
    """Run the script with an archive in the root of the node; `expected` is its SHA-256 by default."""
    return run_script(node, f"file:///{name}", expected or sha256(node.folder / name))


def run_script(node: MinimalRoot, *args: str) -> tuple[int, str]:
    done = node.run("bash", "/script", *args)
    assert done.stdout == ""
    return done.returncode, done.stderr


def files(node: MinimalRoot) -> Mapping[str, bytes]:
    """Return the content of all files of a node by name."""
    contents = {}
    for folder, _, names in os.walk(node.folder):
        for name in names:
            file = Path(folder, name)
            if file.is_file():
                contents[str(file.relative_to(node.folder))] = file.read_bytes()
    return contents


def test_shellcheck_reports_no_issues() -> None:
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


def test_script_installs_environment_and_changes_nothing_else(
    node: MinimalRoot, tmp_path: Path
) -> None:
    node.put(archive(tmp_path / "one.tar.gz"), "/one.tar.gz")
    before = files(node)
    status, stderr = bootstrap(node, "one.tar.gz")
    assert status == 0, stderr
    assert "/opt/pomona now contains pomona 1.2.3" in stderr
    after = files(node)
    added = {name for name in after if name not in before}
    assert {name.removeprefix("opt/pomona/") for name in added} == {
        *("ENVIRONMENT", "ARCHIVE", "bin/python", "bin/pomona"),
    }
    assert {name: after[name] for name in before} == before
    assert node.run("/opt/pomona/bin/pomona").stdout == "pomona 1.2.3\n"


def test_environment_is_readable_by_all_users(node: MinimalRoot, tmp_path: Path) -> None:
    node.put(archive(tmp_path / "one.tar.gz"), "/one.tar.gz")
    command = f"umask 077; bash /script file:///one.tar.gz {sha256(node.folder / 'one.tar.gz')}"
    assert node.run("bash", "-c", command).returncode == 0
    target = node.folder / "opt" / "pomona"
    for file in (target, target / "bin", target / "bin" / "python"):
        assert file.stat().st_mode & 0o777 == 0o755


def test_second_run_changes_nothing(node: MinimalRoot, tmp_path: Path) -> None:
    node.put(archive(tmp_path / "one.tar.gz"), "/one.tar.gz")
    bootstrap(node, "one.tar.gz")
    target = node.folder / "opt" / "pomona"
    inode, before = target.stat().st_ino, files(node)
    status, stderr = bootstrap(node, "one.tar.gz")
    assert status == 0
    assert "is up to date" in stderr
    assert target.stat().st_ino == inode
    assert files(node) == before


def test_newer_archive_replaces_environment(node: MinimalRoot, tmp_path: Path) -> None:
    node.put(archive(tmp_path / "one.tar.gz", extra="old"), "/one.tar.gz")
    node.put(
        archive(tmp_path / "two.tar.gz", bin_pomona=f"{SHEBANG}echo pomona 2\n"), "/two.tar.gz"
    )
    bootstrap(node, "one.tar.gz")
    status, stderr = bootstrap(node, "two.tar.gz")
    assert status == 0
    assert "now contains pomona 2" in stderr
    assert os.listdir(node.folder / "opt") == ["pomona"]
    assert not (node.folder / "opt" / "pomona" / "extra").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ENVIRONMENT": None}, "is not a Pomona environment"),
        ({"ENVIRONMENT": "machine vax\nglibc 2.17\n"}, "for vax, but this node is"),
        (
            {"ENVIRONMENT": REQUIREMENTS.replace("2.17", "2.99")},
            "needs glibc 2.99, but this node has 2.",
        ),
        ({"bin_python": f"{SHEBANG}exit 3\n"}, "the Python of file:///next.tar.gz does not run"),
        ({"bin_python": None}, "the Python of file:///next.tar.gz does not run"),
        ({"bin_pomona": f"{SHEBANG}exit 1\n"}, "the command of file:///next.tar.gz does not run"),
    ],
)
def test_invalid_archive_is_rejected_and_environment_kept(
    node: MinimalRoot, tmp_path: Path, changes: dict[str, str | None], message: str
) -> None:
    node.put(archive(tmp_path / "one.tar.gz"), "/one.tar.gz")
    bootstrap(node, "one.tar.gz")
    node.put(archive(tmp_path / "next.tar.gz", **changes), "/next.tar.gz")
    before = files(node)
    status, stderr = bootstrap(node, "next.tar.gz")
    assert status == 1
    assert f"FAILED: {message}" in stderr or message in stderr
    assert files(node) == before
    assert os.listdir(node.folder / "opt") == ["pomona"]


def test_truncated_archive_is_rejected(node: MinimalRoot, tmp_path: Path) -> None:
    content = archive(tmp_path / "one.tar.gz", extra="x" * 5000).read_bytes()
    (node.folder / "half.tar.gz").write_bytes(content[: len(content) // 2])
    status, stderr = bootstrap(node, "half.tar.gz")
    assert status == 1
    assert "file:///half.tar.gz is not a .tar.gz, or the disk is full" in stderr
    assert os.listdir(node.folder / "opt") == []


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content[:-1],
        lambda content: content + b"x",
        lambda content: content + content,
        lambda content: content[:4] + bytes([content[4] ^ 1]) + content[5:],  # the time in the header
        lambda _: b"",
    ],
)  # fmt: skip
def test_changed_archive_is_rejected_before_it_is_unpacked(
    node: MinimalRoot, tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    node.put(archive(tmp_path / "one.tar.gz"), "/one.tar.gz")
    bootstrap(node, "one.tar.gz")
    content = archive(tmp_path / "next.tar.gz", extra="x").read_bytes()
    (node.folder / "next.tar.gz").write_bytes(change(content))
    expected = hashlib.sha256(content).hexdigest()
    before = files(node)
    status, stderr = bootstrap(node, "next.tar.gz", expected)
    assert status == 1
    (line,) = [one for one in stderr.splitlines() if "FAILED" in one]
    changed = sha256(node.folder / "next.tar.gz")
    assert f"the SHA-256 of file:///next.tar.gz is {changed}, expected {expected}: it was" in line
    assert line.endswith("it was changed; `pomona cloud up` uploads it again")
    assert files(node) == before
    assert os.listdir(node.folder / "opt") == ["pomona"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((), "expected two arguments"),
        (("file:///one.tar.gz",), "expected two arguments"),
        (("file:///one.tar.gz", "0" * 64, "--force"), "expected two arguments"),
        (("file:///one.tar.gz", ""), ": expected a SHA-256, 64 of 0-9 and a-f"),
        (("file:///one.tar.gz", "0" * 63), f"{'0' * 63}: expected a SHA-256"),
        (("file:///one.tar.gz", "A" * 64), f"{'A' * 64}: expected a SHA-256"),
        (("file:///one.tar.gz", "${environment.sha256}"), "${environment.sha256}: expected a SHA-"),
        (("ftp://host/one.tar.gz", "0" * 64), "ftp://host/one.tar.gz: give the s3://"),
        (("file:///absent.tar.gz", "0" * 64), "file:///absent.tar.gz: no such file"),
        (("s3://bucket/one.tar.gz", "0" * 64), "the aws command is not installed on this node"),
    ],
)
def test_invalid_arguments_are_reported(
    node: MinimalRoot, args: tuple[str, ...], message: str
) -> None:
    status, stderr = run_script(node, *args)
    assert status == 1
    assert f"FAILED: {message}" in stderr


# A substitute for the `aws` command with the one operation that the script uses; boto3 sends it over HTTP.
_AWS = """#!{python}
import sys
import boto3
assert sys.argv[1:4] == ["s3", "cp", "--only-show-errors"] and sys.argv[5:] == ["-"], sys.argv
bucket, _, key = sys.argv[4].removeprefix("s3://").partition("/")
boto3.client("s3").download_fileobj(bucket, key, sys.stdout.buffer)
"""


@pytest.mark.s3
@pytest.mark.parametrize("scheme", ["s3", "s3a"])
def test_archive_is_downloaded_from_bucket(bucket: str, tmp_path: Path, scheme: str) -> None:
    from streaming.storage.s3_client import s3_client

    file = archive(tmp_path / "one.tar.gz")
    s3_client().upload_file(str(file), bucket, "releases/1/environment.tar.gz")
    (tmp_path / "programs").mkdir()
    aws = tmp_path / "programs" / "aws"
    aws.write_text(_AWS.format(python=sys.executable))
    aws.chmod(0o755)
    opt = tmp_path / "opt"
    opt.mkdir()

    def run(key: str, expected: str) -> subprocess.CompletedProcess[str]:
        # Mount another folder at /opt, visible only to the script.
        command = f"mount --bind '{opt}' /opt && exec bash '{SCRIPT}' {scheme}://{bucket}/{key} {expected}"
        return subprocess.run(
            [which("unshare"), "--mount", "bash", "-c", command],
            env=os.environ | {"PATH": f"{aws.parent}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    done = run("releases/1/environment.tar.gz", sha256(file))
    if "unshare failed" in done.stderr or "mount: " in done.stderr:
        pytest.skip("this user cannot mount a folder")
    assert done.returncode == 0, done.stderr
    assert (opt / "pomona" / "bin" / "pomona").exists()
    changed = run("releases/1/environment.tar.gz", "0" * 64)
    assert changed.returncode == 1
    assert f"the SHA-256 of {scheme}://{bucket}/releases/1/environment.tar.gz is" in changed.stderr
    absent = run("releases/2/environment.tar.gz", sha256(file))
    assert absent.returncode == 1
    assert f"cannot download {scheme}://{bucket}/releases/2/environment.tar.gz: " in absent.stderr
    assert os.listdir(opt) == ["pomona"]
