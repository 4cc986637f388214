"""Tests for file writes: every path that an ingestion and a refit create, rename, delete or open for writing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from streaming.cache_dir import cache_folder
from support.faults.hostile_names import put_hostile_images
from support.processes.cli import environment

PROGRAM = """
import sys
from pomona.cli import main
for arguments in {commands!r}:
    sys.argv = ["pomona", *arguments]
    try:
        main()
    except SystemExit as error:
        assert not error.code
"""
_CHANGES = "creat,rename,renameat,renameat2,mkdir,mkdirat,unlink,unlinkat,rmdir,symlink,symlinkat"
_CHANGES += ",link,linkat,truncate,chmod,fchmodat,mknod,mknodat"
_WRITES = re.compile(r"O_(WRONLY|RDWR|CREAT|TRUNC)")
# `openat(5</folder>, "name", …`: a name, relative to a folder if there is one.
_NAME = re.compile(r'(?:(?:AT_FDCWD|\d+)<([^>]*)>, )?"((?:[^"\\]|\\.)*)"')


def written(trace: str) -> set[str]:
    """Return the paths that the successful system calls in a trace changed."""
    found = set()
    for line in trace.splitlines():
        call = re.match(r"(\w+)\((.*)\) += \d", line)
        if not call or (call[1].startswith("open") and not _WRITES.search(call[2])):
            continue
        for folder, name in _NAME.findall(call[2]):
            plain = (
                name.encode().decode("unicode_escape").encode("latin-1").decode(errors="replace")
            )
            found.add(os.path.normpath(os.path.join(folder or "/", plain)))
    return found


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
def test_only_lake_temporary_files_and_cache_are_written(
    tmp_path: Path, random_model: Path
) -> None:
    root = tmp_path.resolve()
    for folder in ("home", "tmp", "lake", "trace"):
        (root / folder).mkdir()
    put_hostile_images(root / "photos")
    shutil.copytree(random_model, root / "lake" / "models")
    lake = str(root / "lake")
    commands = [
        ["ingest", str(root / "photos"), lake, "--once", "--settle", "0"],
        ["refit", lake, "--components", "2"],
        ["status", lake],
    ]
    tracing = ["strace", "-ff", "-qq", "-y", "-s", "4096", "-e", "signal=none"]
    tracing += ["-e", f"trace=open,openat,{_CHANGES}", "-o", str(root / "trace" / "of")]
    subprocess.run(
        [*tracing, sys.executable, "-c", PROGRAM.format(commands=commands)],
        cwd=root / "home",
        env=environment(
            HOME=str(root / "home"),
            TMPDIR=str(root / "tmp"),
            XDG_CACHE_HOME=str(cache_folder().parent),
            PYTHONPATH=os.pathsep.join(sys.path),
            PYTHONDONTWRITEBYTECODE="1",
            ORT_DISABLE_TELEMETRY=None,
        ),
        check=True,
        timeout=580,
    )
    # One file per thread: calls of other threads do not split a line.
    traces = (file.read_text(errors="replace") for file in (root / "trace").iterdir())
    paths = set().union(*map(written, traces))
    inside = {path for path in paths if path.startswith(f"{lake}/")}
    assert any(path.endswith("report.html") for path in inside)
    own = (f"{lake}/", f"{root}/tmp/", f"{cache_folder()}/", "/dev/", "/proc/")
    settings = f"{root}/home/.config"  # matplotlib's, an empty folder
    unexpected = {path for path in paths - inside if not path.startswith(own)}
    unexpected -= {settings, f"{settings}/matplotlib"}
    # Java deletes the files of killed Java processes from its folder in /tmp, with relative names.
    unexpected = {path for path in unexpected if not re.fullmatch(r"/\d+", path)}
    # Java and Spark ignore TMPDIR and write to /tmp.
    of_java = {p for p in unexpected if p.startswith("/tmp/") and not p.startswith(f"{root}/")}
    assert unexpected - of_java == set()
    assert not [path for path in of_java if Path(path).suffix in (".json", ".parquet", ".csv")]
