"""Tests for `streaming.images.resource_limits`.

What one image takes of a worker has bounds that no code of ours must keep.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from streaming.images.decode import DecodeSettings
from streaming.images.resource_limits import MEMORY_HEADROOM, describe_exit, limit_cpu_time
from streaming.outcomes import Reason
from support.image_files import png_with_size, reason_of, tile_bomb

LINUX = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="Linux bounds memory")


def run(program: str) -> tuple[int, str]:
    """Exit status and output of Python code in a process of its own."""
    lines = (
        "from streaming.images.resource_limits import *\nfrom streaming.images.resource_limits import resource\n"
        + program
    )
    done = subprocess.run(
        [sys.executable, "-c", lines], capture_output=True, text=True, timeout=100, check=False
    )
    return done.returncode, done.stdout


def test_a_loop_in_c_that_hears_no_python_signal_is_ended() -> None:
    hang = "with limit_cpu_time(0.2): sum(range(10**12))"
    assert run(hang) == (-signal.SIGPROF, "")
    assert "more than 0.2 s" in describe_exit(-signal.SIGPROF, 0.2)


def test_what_keeps_within_the_limit_goes_on_without_one() -> None:
    with limit_cpu_time(50.0):
        assert signal.getitimer(signal.ITIMER_PROF)[0] > 40
    assert signal.getitimer(signal.ITIMER_PROF)[0] == 0


def test_each_end_has_its_words() -> None:
    words = {describe_exit(code, 1) for code in (-signal.SIGKILL, -signal.SIGSEGV, 71, 1)}
    assert len(words) == 4
    assert any("SIGSEGV" in text for text in words)


ASK = """
try:
    with limit_memory(64 << 20):
        bytearray(256 << 20)
except MemoryError as error:
    print(type(error).__name__)
"""


@LINUX
def test_memory_beyond_the_limit_is_refused_and_can_be_had_after_it() -> None:
    fits = "with limit_memory(64 << 20): bytearray(32 << 20)\n"
    assert run(ASK + fits + "print(len(bytearray(256 << 20)))") == (
        0,
        f"MemoryError\n{256 << 20}\n",
    )


@LINUX
def test_a_machine_without_memory_is_told_from_an_image_that_takes_too_much() -> None:
    little = "held = int(open('/proc/self/statm').read().split()[0]) * 4096\n"
    little += "resource.setrlimit(resource.RLIMIT_AS, (held + (40 << 20),) * 2)\n"
    assert run(little + ASK) == (0, "HostOutOfMemory\n")


@LINUX
def test_a_worker_offers_itself_where_memory_runs_out() -> None:
    ask = "raise_oom_score(); raise_oom_score(); print(open('/proc/self/oom_score_adj').read().strip())"
    assert run(ask) == (0, "500\n")


@LINUX
@pytest.mark.slow
def test_content_that_takes_more_memory_than_its_pixels_explain_is_corrupt() -> None:
    bounded = DecodeSettings(memory_headroom=MEMORY_HEADROOM)
    assert reason_of(tile_bomb(512), bounded) is None
    assert reason_of(tile_bomb(9216), bounded) is Reason.CORRUPT
    assert reason_of(png_with_size(9000, 9000), bounded) is Reason.TRUNCATED
