"""An environment with Pomona's wheel and the packages that it requires, outside the checkout; nothing is downloaded."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections import Counter
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from support.processes.shared_folders import created_once

ROOT = Path(__file__).parents[3]


def build_distributions() -> Path:
    """Return a folder with the wheel and the sdist, as `make dist` builds them; built once per run of pytest."""

    def build(folder: Path) -> None:
        subprocess.run(
            [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT],
            check=True,
            capture_output=True,
            timeout=300,
        )

    return created_once("dist", build)


class WheelEnvironment:
    """A new environment with the wheel and links to the packages that it names, taken from this environment."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.bin = folder / "env" / "bin"
        venv.create(folder / "env")
        (wheel,) = build_distributions().glob("*.whl")
        installed = self.pip("install", "--no-index", "--no-deps", wheel)
        assert installed.returncode == 0, installed.stderr
        (site,) = (folder / "env" / "lib").glob("*/site-packages")
        #: What `pip check` prints before the packages are there.
        self.missing = self.pip("check").stdout
        link_packages(required_packages(site), site)

    @property
    def env(self) -> dict[str, str]:
        """Environment variables without those of Python."""
        return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}

    def pip(self, *args: object) -> subprocess.CompletedProcess[str]:
        """Run pip of this environment on the new one."""
        python = str(self.bin / "python")
        return subprocess.run(
            [sys.executable, "-m", "pip", "--python", python, *map(str, args)],
            cwd=self._folder,
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )


def required_packages(site: Path) -> list[Distribution]:
    """Return the installed distributions that Pomona in a folder requires, directly or indirectly."""
    found: dict[str, Distribution] = {}
    (wheel,) = distributions(name="pomona", path=[str(site)])
    pending = list(wheel.requires or ())
    while pending:
        requirement = Requirement(pending.pop())
        needed = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if needed and canonicalize_name(requirement.name) not in found:
            package = distribution(requirement.name)
            found[canonicalize_name(requirement.name)] = package
            pending += package.requires or ()
    return list(found.values())


def link_packages(packages: list[Distribution], site: Path) -> None:
    """Link the files of distributions into another environment, and no file of other distributions."""
    # Each distribution once: every use of `files` and `name` parses the metadata again.
    owners = Counter(first for package in distributions() for first in first_parts(package))
    for package in packages:
        for first, files in first_parts(package).items():
            # A folder of one distribution is linked as a whole, with what Python has compiled.
            for file in files if owners[first] > 1 else [Path(first)]:
                target = site / file
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(str(package.locate_file(file)))


def first_parts(package: Distribution) -> dict[str, list[Path]]:
    """Return the files of a distribution below `site-packages` by the first part of their paths."""
    files: dict[str, list[Path]] = {}
    for file in package.files or ():
        if file.parts[0] not in ("..", "__pycache__"):
            files.setdefault(file.parts[0], []).append(Path(file))
    return files
