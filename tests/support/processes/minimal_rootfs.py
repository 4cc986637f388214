"""Create a root file system with a C library, a shell and basic programs, without Python or network."""

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
#: Libraries that the manylinux policy allows wheels to expect.
LIBRARIES = ("libstdc++.so.6", "libgcc_s.so.1", "libm.so.6", "libpthread.so.0", "librt.so.1")
LIBRARIES += ("libdl.so.2", "libutil.so.1")
#: PATH inside the root; it contains no program of this machine.
PATH = "/usr/bin"


@dataclass(frozen=True)
class MinimalRoot:
    """A root folder for `chroot`."""

    folder: Path

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Run a program in it as root, without network."""
        isolated = [
            which("unshare"),
            "--net",
            "--pid",
            "--fork",
            f"--mount-proc={self.folder}/proc",
        ]
        return subprocess.run(
            [*isolated, which("chroot"), self.folder, *args],
            env={"PATH": PATH, "HOME": "/"},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    def put(self, file: Path, name: str) -> None:
        """Copy a file into the root."""
        target = self.folder / name.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)

    def copy(self, folder: Path) -> MinimalRoot:
        """Copy the root to a new folder, with its links and devices."""
        subprocess.run(["cp", "--archive", self.folder, folder], check=True)
        return MinimalRoot(folder)


def create_minimal_root(folder: Path) -> MinimalRoot:
    """Create a root from the programs of this machine; skip the test if this user lacks the permissions."""
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
        pytest.skip(f"cannot create a root file system as this user: {error}")
    done = root.run("bash", "-c", "true")
    if done.returncode:
        pytest.skip(
            f"cannot run programs in a root file system as this user: {done.stderr.strip()}"
        )
    return root


def which(name: str) -> str:
    """Return the path of a program on this machine."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    assert found, name
    return found


def _put_libraries(root: MinimalRoot, file: str) -> None:
    output = subprocess.run(["ldd", file], capture_output=True, text=True, check=False).stdout
    for library in re.findall(r"(/\S+) \(0x", output):
        if not (root.folder / library.lstrip("/")).exists():
            root.put(Path(library), library)
