"""Build the environment of the nodes as one archive: a relocatable Python, Pomona, and its dependencies.

It excludes what the cluster provides (Spark, Delta Lake, Java) and TensorFlow, which is only needed to export the
network. The packages are copied from the running environment: they have the versions of `requirements.lock`, and no
package index is contacted.
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

# The imports of a worker, except Spark.
_IMPORT_CHECK = (
    "import ctypes, sqlite3, ssl; import boto3, deltalake, h5py, matplotlib, numpy, onnxruntime, pandas; "
    "import pyarrow.parquet, streaming.images.decode, streaming.images.fetch, streaming.engines.registry, pomona.cli"
)


def build_environment(target: Path) -> Path:
    """Build the archive from the running interpreter and its packages; the result is reproducible.

    Parameters
    ----------
    target : Path
        A ``.tar.gz`` file; replaced when the new one is complete.

    Returns
    -------
    Path
        Absolute path of the target.

    Raises
    ------
    CloudError
        If the archive would not run on a node, or a package is not installed.
    """
    target = target.absolute()
    if not target.name.endswith(".tar.gz"):
        raise CloudError(f"{target}: the file name must end with .tar.gz")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as scratch:
        root = Path(scratch) / "environment"
        root.mkdir()
        packages = copy_interpreter(root)
        copied = _copy_packages(packages)
        _add_command(root)
        _add_spark_files(root, packages)
        lower_glibc_requirements(root)
        glibc, file = newest_glibc(root)
        if glibc > NODE_GLIBC:
            raise CloudError(
                f"{file} of this machine needs glibc {_dotted(glibc)}, and EMR's nodes have {_dotted(NODE_GLIBC)}: "
                "build it with `docker build --target environment --output . .`"
            )
        lines = [
            f"machine {platform.machine()}",
            f"python {platform.python_version()}",
            f"glibc {_dotted(glibc)}",
            *manifest_lines(copied),
        ]
        (root / MANIFEST).write_text("\n".join(lines) + "\n")
        _compile_and_check(root)
        _pack(root, Path(scratch) / target.name)
        (Path(scratch) / target.name).replace(target)
    return target


def _copy_packages(folder: Path) -> dict[str, str]:
    """Copy the required packages and return their versions by name."""
    copied = {}
    for name, package in required_distributions().items():
        copied[name] = package.version
        for file in package.files or ():
            if name == "pomona" and ".dist-info" not in file.parts[0]:
                continue  # an editable installation has links; the sources are copied below
            if ".." in file.parts or "tests" in file.parts or file.suffix == ".pyc":
                continue
            destination = folder / file
            destination.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(Path(str(file.locate())), destination)
    for source in source_folders():
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, folder / source.name, ignore=ignore, dirs_exist_ok=True)
    # This file contains the path of the sources on the build machine.
    for url_file in folder.glob("pomona-*.dist-info/direct_url.json"):
        url_file.unlink()
    return copied


def _add_command(root: Path) -> None:
    """Write the script `bin/pomona`, which works in any folder."""
    script = root / "bin" / "pomona"
    script.write_text(
        "#!/bin/sh\n"
        'here=$(dirname "$(readlink -f "$0")")\n'
        'exec "$here/python" -c "import sys; sys.argv[0] = \'pomona\'; from pomona.cli import main; main()" "$@"\n'
    )
    script.chmod(0o755)


def _add_spark_files(root: Path, packages: Path) -> None:
    """Copy what `spark-submit` needs into `spark/`, a path that does not depend on the version of Python.

    The steps of a cluster use these files: the hash of the archive covers them.
    """
    (root / "spark").mkdir()
    for file in ("bootstrap/submit.py", "streaming/spark/fenced-log-store.jar"):
        shutil.copy(packages / file, root / "spark")


def _compile_and_check(root: Path) -> None:
    """Compile all modules, because the folder is read-only on a node, and check that they can be imported."""
    python = root / "bin" / "python"
    env = {"PATH": os.defpath, "LANG": "C.UTF-8"}
    options = ["-q", "-j", "0", "--invalidation-mode", "unchecked-hash", "-s", str(root)]
    subprocess.run(
        [python, "-I", "-m", "compileall", *options, *root.glob("lib*")], env=env, check=False
    )
    check = subprocess.run(
        [python, "-I", "-c", _IMPORT_CHECK], env=env, capture_output=True, text=True, check=False
    )
    if check.returncode:
        last = (check.stderr.strip().splitlines() or ["no output"])[-1]
        raise CloudError(
            f"the environment does not work ({last}): run `make install` and try again"
        )


def _pack(root: Path, archive: Path) -> None:
    """Write all files in sorted order, without times and owners."""

    def reset_metadata(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        """Remove time and owner from an entry."""
        entry.mtime = entry.uid = entry.gid = 0
        entry.uname = entry.gname = "root"
        return entry

    with (
        archive.open("wb") as raw,
        gzip.GzipFile("", "wb", 3, raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for file in sorted(root.rglob("*")):
            tar.add(file, file.relative_to(root), recursive=False, filter=reset_metadata)


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
