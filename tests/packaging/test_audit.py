"""Tests for `make audit`: every lock file is audited, in one environment, and each exception has a reason."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()
LOCKS = sorted(file.name for file in ROOT.glob("requirements*.lock"))


def pins(lock: str) -> dict[str, str]:
    """Versions by package."""
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", (ROOT / lock).read_text(), re.M))


def test_every_lock_file_is_audited() -> None:
    found = re.search(r"^LOCKS := (.+)$", MAKEFILE, re.M)
    assert found
    # The packages of the EMR releases are fixed by AWS, and only tested against.
    assert sorted(found[1].split()) == [lock for lock in LOCKS if "compat" not in lock]
    assert "--strict" in MAKEFILE  # what could not be looked up has not passed


def test_tool_versions_match_audited_environment() -> None:
    ours, tool = pins("requirements-dev.lock"), pins("requirements-audit.lock")
    assert tool["pip-audit"]
    shared = ours.keys() & tool.keys()
    assert {name: tool[name] for name in shared} == {name: ours[name] for name in shared}


def test_development_lock_contains_the_runtime_lock() -> None:
    runtime, dev = (
        set(re.findall(r"^[A-Za-z0-9._-]+==[^\s;]+", (ROOT / lock).read_text(), re.M))
        for lock in ("requirements.lock", "requirements-dev.lock")
    )
    assert len(runtime) > 50
    assert runtime <= dev


def test_each_exception_has_reason_and_is_passed_to_tool() -> None:
    lines = (ROOT / "audit-exceptions.txt").read_text().splitlines()
    for line in lines:
        assert re.match(r"#|$|(PYSEC|GHSA|CVE)-[A-Za-z0-9-]+ .{20,}", line), line
    found = re.search(r"^EXCEPTIONS = \$\(shell (sed .+) audit-exceptions\.txt\)$", MAKEFILE, re.M)
    assert found
    example = "# a comment\nGHSA-ab12-cd34-ef56 it is never called here\n"
    done = subprocess.run(
        found[1], shell=True, input=example, capture_output=True, text=True, check=True
    )
    assert done.stdout == "--ignore-vuln GHSA-ab12-cd34-ef56\n"
