"""Tests for `streaming.images.resource_limits`: CPU time, memory, OOM score and exit descriptions."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from streaming.images.decode import DecodeSettings
from streaming.images.resource_limits import MEMORY_HEADROOM, describe_exit, limit_cpu_time
from streaming.outcomes import Reason
from support.images.image_files import png_with_size, reason_of, tile_bomb

LINUX = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="requires /proc of Linux")


def run(program: str) -> tuple[int, str]:
    """Run Python code in a separate process; return its exit status and output."""
    lines = (
        "from streaming.images.resource_limits import *\nfrom streaming.images.resource_limits import resource\n"
        + program
    )
    done = subprocess.run(
        [sys.executable, "-c", lines], capture_output=True, text=True, timeout=100, check=False
    )
    return done.returncode, done.stdout


def test_cpu_limit_kills_loop_in_c_code() -> None:
    hang = "with limit_cpu_time(0.2): sum(range(10**12))"
    assert run(hang) == (-signal.SIGPROF, "")
    assert "more than 0.2 s" in describe_exit(-signal.SIGPROF, 0.2)


def test_cpu_limit_is_removed_after_block() -> None:
    with limit_cpu_time(50.0):
        assert signal.getitimer(signal.ITIMER_PROF)[0] > 40
    assert signal.getitimer(signal.ITIMER_PROF)[0] == 0


def test_describe_exit_distinguishes_causes() -> None:
    texts = {describe_exit(code, 1) for code in (-signal.SIGKILL, -signal.SIGSEGV, 71, 1)}
    assert len(texts) == 4
    assert any("SIGSEGV" in text for text in texts)


ALLOCATE = """
try:
    with limit_memory(64 << 20):
        bytearray(256 << 20)
except MemoryError as error:
    print(type(error).__name__)
"""


@LINUX
def test_memory_limit_applies_within_block_only() -> None:
    fits = "with limit_memory(64 << 20): bytearray(32 << 20)\n"
    assert run(ALLOCATE + fits + "print(len(bytearray(256 << 20)))") == (
        0,
        f"MemoryError\n{256 << 20}\n",
    )


@LINUX
def test_out_of_memory_on_host_is_distinguished_from_limit() -> None:
    setup = "used = int(open('/proc/self/statm').read().split()[0]) * 4096\n"
    setup += "resource.setrlimit(resource.RLIMIT_AS, (used + (40 << 20),) * 2)\n"
    assert run(setup + ALLOCATE) == (0, "HostOutOfMemory\n")


@LINUX
def test_raise_oom_score() -> None:
    code = "raise_oom_score(); raise_oom_score(); print(open('/proc/self/oom_score_adj').read().strip())"
    assert run(code) == (0, "500\n")


@LINUX
@pytest.mark.slow
def test_content_needing_too_much_memory_is_corrupt() -> None:
    limited = DecodeSettings(memory_headroom=MEMORY_HEADROOM)
    assert reason_of(tile_bomb(512), limited) is None
    assert reason_of(tile_bomb(9216), limited) is Reason.CORRUPT
    assert reason_of(png_with_size(9000, 9000), limited) is Reason.CORRUPT
