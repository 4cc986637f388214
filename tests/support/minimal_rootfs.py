"""A root folder with a C library, a shell and the few programs of every Linux: no Python, no network."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

PROGRAMS = (
    *("awk", "bash", "cat", "chmod", "cp", "date", "dirname", "getconf", "id", "mkdir", "mktemp"),
    *("gzip", "mv", "readlink", "rm", "sh", "sha256sum", "sort", "tail", "tar", "tee", "uname"),
)
#: Libraries that packages of an index take for granted.
LIBRARIES = ("libstdc++.so.6", "libgcc_s.so.1", "libm.so.6", "libpthread.so.0", "librt.so.1")
LIBRARIES += ("libdl.so.2", "libutil.so.1")
#: `env` as a login has it, less whatever leads to this machine's programs.
PATH = "/usr/bin"


@dataclass(frozen=True)
class MinimalRoot:
    """A root folder; what runs in it sees nothing else."""

    folder: Path

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a program in it, as root, without a network."""
        apart = [which("unshare"), "--net", "--pid", "--fork", f"--mount-proc={self.folder}/proc"]
        return subprocess.run(
            [*apart, which("chroot"), self.folder, *words],
            env={"PATH": PATH, "HOME": "/"},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    def put(self, file: Path, name: str) -> None:
        """Copy a file in."""
        place = self.folder / name.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, place)


def create_minimal_root(folder: Path) -> MinimalRoot:
    """Make one of this machine's own programs; skips where this user may not."""
    root = MinimalRoot(folder)
    for name in PROGRAMS:
        file = which(name)
        root.put(Path(file).resolve(), f"/usr/bin/{name}")
        _put_libraries(root, file)
    listed = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True)
    for name in LIBRARIES:
        found = re.search(rf"^\s*{re.escape(name)} .*x86-64.* => (\S+)$", listed.stdout, re.M)
        if found:
            root.put(Path(found[1]), found[1])
            _put_libraries(root, found[1])
    (folder / "tmp").mkdir(mode=0o1777)
    (folder / "bin").symlink_to("usr/bin")
    for name in ("proc", "dev"):
        (folder / name).mkdir()
    try:
        os.mknod(folder / "dev" / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except PermissionError as error:
        pytest.skip(f"no clean root for this user: {error}")
    tried = root.run("bash", "-c", "true")
    if tried.returncode:
        pytest.skip(f"no clean root for this user: {tried.stderr.strip()}")
    return root


def which(name: str) -> str:
    """Where a program lies on this machine."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    assert found, name
    return found


def _put_libraries(root: MinimalRoot, file: str) -> None:
    told = subprocess.run(["ldd", file], capture_output=True, text=True, check=False).stdout
    for place in re.findall(r"(/\S+) \(0x", told):
        if not (root.folder / place.lstrip("/")).exists():
            root.put(Path(place), place)
