"""Build the environment of the nodes as one archive: a relocatable Python, Pomona, and its dependencies.

It excludes what the cluster provides (Spark, Delta Lake, Java) and TensorFlow, which only exports the network. The
packages are copied from the running environment, so it contains the versions of `requirements.lock`, and no index
is contacted.
"""

from __future__ import annotations

import gzip
import os
import platform
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from bootstrap.environment.glibc import NODE_GLIBC, lower_glibc_requirements, newest_glibc
from bootstrap.environment.interpreter import copy_interpreter
from bootstrap.environment.manifest import (
    MANIFEST,
    manifest_lines,
    required_distributions,
    source_folders,
)
from bootstrap.errors import CloudError

# Loads what a worker loads, but Spark.
_TRIAL = (
    "import ctypes, sqlite3, ssl; import boto3, deltalake, h5py, matplotlib, numpy, onnxruntime, pandas; "
    "import pyarrow.parquet, streaming.images.decode, streaming.images.fetch, streaming.engines.registry, pomona.cli"
)


def build_environment(target: Path) -> Path:
    """Make the archive from the interpreter and the packages that run this; the same ones give the same bytes.

    Parameters
    ----------
    target : Path
        A ``.tar.gz``; replaced when the new one is whole.

    Returns
    -------
    Path
        The target.

    Raises
    ------
    CloudError
        Where it would not run on a node, or a package is not installed.
    """
    target = target.absolute()
    if not target.name.endswith(".tar.gz"):
        raise CloudError(f"{target}: name a file that ends with .tar.gz")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as scratch:
        root = Path(scratch) / "environment"
        root.mkdir()
        packages = copy_interpreter(root)
        copied = _copy_packages(packages)
        _add_command(root)
        lower_glibc_requirements(root)
        glibc, file = newest_glibc(root)
        if glibc > NODE_GLIBC:
            raise CloudError(
                f"{file} of this machine needs glibc {_dotted(glibc)}, and EMR's nodes have {_dotted(NODE_GLIBC)}: "
                "make it with `docker build --target environment --output . .`"
            )
        lines = [f"machine {platform.machine()}", f"python {platform.python_version()}"]
        lines += [f"glibc {_dotted(glibc)}"]
        lines += manifest_lines(copied)
        (root / MANIFEST).write_text("\n".join(lines) + "\n")
        _compile_and_try(root)
        _pack(root, Path(scratch) / target.name)
        (Path(scratch) / target.name).replace(target)
    return target


def _copy_packages(folder: Path) -> dict[str, str]:
    copied = {}
    for name, package in required_distributions().items():
        copied[name] = package.version
        for file in package.files or ():
            if name == "pomona" and ".dist-info" not in file.parts[0]:
                continue  # an editable installation has links, and below all of it is copied anyway
            if ".." in file.parts or "tests" in file.parts or file.suffix == ".pyc":
                continue
            place = folder / file
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(Path(str(file.locate())), place)
    for source in source_folders():
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, folder / source.name, ignore=ignore, dirs_exist_ok=True)
    # Says where the sources lie on this machine.
    for lines in folder.glob("pomona-*.dist-info/direct_url.json"):
        lines.unlink()
    return copied


def _add_command(root: Path) -> None:
    script = root / "bin" / "pomona"
    script.write_text(
        "#!/bin/sh\n"
        'here=$(dirname "$(readlink -f "$0")")\n'
        'exec "$here/python" -c "import sys; sys.argv[0] = \'pomona\'; from pomona.cli import main; main()" "$@"\n'
    )
    script.chmod(0o755)


def _compile_and_try(root: Path) -> None:
    """Compile all modules, since nobody may write beside them on a node; see that they load."""
    python = root / "bin" / "python"
    clean = {"PATH": os.defpath, "LANG": "C.UTF-8"}
    how = ["-q", "-j", "0", "--invalidation-mode", "unchecked-hash", "-s", str(root)]
    subprocess.run(
        [python, "-I", "-m", "compileall", *how, *root.glob("lib*")], env=clean, check=False
    )
    tried = subprocess.run(
        [python, "-I", "-c", _TRIAL], env=clean, capture_output=True, text=True, check=False
    )
    if tried.returncode:
        last = (tried.stderr.strip().splitlines() or ["no output"])[-1]
        raise CloudError(f"the environment does not work ({last}): run `make setup`, and try again")


def _pack(root: Path, archive: Path) -> None:
    """Write all files, in order, without times and owners."""

    def anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.mtime = entry.uid = entry.gid = 0
        entry.uname = entry.gname = "root"
        return entry

    with (
        archive.open("wb") as raw,
        gzip.GzipFile("", "wb", 3, raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for file in sorted(root.rglob("*")):
            tar.add(file, file.relative_to(root), recursive=False, filter=anonymous)


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
