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
from support.cli import environment
from support.hostile_names import put_hostile_images

PROGRAM = """
import sys
from pomona.cli import main
for words in {commands!r}:
    sys.argv = ["pomona", *words]
    try:
        main()
    except SystemExit as left:
        assert not left.code
"""
_CHANGES = "creat,rename,renameat,renameat2,mkdir,mkdirat,unlink,unlinkat,rmdir,symlink,symlinkat"
_CHANGES += ",link,linkat,truncate,chmod,fchmodat,mknod,mknodat"
_WRITES = re.compile(r"O_(WRONLY|RDWR|CREAT|TRUNC)")
# `openat(5</folder>, "name", …`: a folder that a name is relative to, or a name alone.
_NAME = re.compile(r'(?:(?:AT_FDCWD|\d+)<([^>]*)>, )?"((?:[^"\\]|\\.)*)"')


def written(trace: str) -> set[str]:
    """The paths that calls of a trace which succeeded have changed."""
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
    place = tmp_path.resolve()
    for folder in ("home", "tmp", "lake", "trace"):
        (place / folder).mkdir()
    put_hostile_images(place / "photos")
    shutil.copytree(random_model, place / "lake" / "models")
    lake = str(place / "lake")
    commands = [
        ["ingest", str(place / "photos"), lake, "--once", "--settle", "0"],
        ["refit", lake, "--components", "2"],
        ["status", lake],
    ]
    tracing = ["strace", "-ff", "-qq", "-y", "-s", "4096", "-e", "signal=none"]
    tracing += ["-e", f"trace=open,openat,{_CHANGES}", "-o", str(place / "trace" / "of")]
    subprocess.run(
        [*tracing, sys.executable, "-c", PROGRAM.format(commands=commands)],
        cwd=place / "home",
        env=environment(
            HOME=str(place / "home"),
            TMPDIR=str(place / "tmp"),
            XDG_CACHE_HOME=str(cache_folder().parent),
            PYTHONPATH=os.pathsep.join(sys.path),
            PYTHONDONTWRITEBYTECODE="1",
            ORT_DISABLE_TELEMETRY=None,
        ),
        check=True,
        timeout=580,
    )
    # A file a thread: a call that another one interrupts stays in one line.
    traces = (file.read_text(errors="replace") for file in (place / "trace").iterdir())
    paths = set().union(*map(written, traces))
    inside = {path for path in paths if path.startswith(f"{lake}/")}
    assert any(path.endswith("report.html") for path in inside)
    own = (f"{lake}/", f"{place}/tmp/", f"{cache_folder()}/", "/dev/", "/proc/")
    settings = f"{place}/home/.config"  # matplotlib's, an empty folder
    strange = {path for path in paths - inside if not path.startswith(own)}
    strange -= {settings, f"{settings}/matplotlib"}
    # Java deletes what killed Java processes have left in its own folder of /tmp, by names below it.
    strange = {path for path in strange if not re.fullmatch(r"/\d+", path)}
    # Java and Spark know no TMPDIR, and put theirs beside the folder of this test.
    theirs = {p for p in strange if p.startswith("/tmp/") and not p.startswith(f"{place}/")}
    assert strange - theirs == set()
    assert not [path for path in theirs if Path(path).suffix in (".json", ".parquet", ".csv")]
