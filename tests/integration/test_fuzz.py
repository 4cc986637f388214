"""Tests for damaged images: each decodes or has a reason, without a crash, a hang or too much memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from streaming.outcomes import Reason
from support.images.mutated_images import MUTATIONS, mutated_images

COUNT = 600
MAX_MEGABYTES = 800  # 128 MB, and 48 bytes per pixel of the largest image that decodes
PROGRAM = f"""
import collections, json, sys
from pathlib import Path
from support.images.mutated_images import mutated_images
from streaming.images.decode import DecodeSettings, UndecodableImage, decode
from streaming.images.resource_limits import MEMORY_HEADROOM, limit_cpu_time

def peak():
    status = Path("/proc/self/status")
    return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024 if status.exists() else 0

settings = DecodeSettings(max_pixels=10_000_000, memory_headroom=MEMORY_HEADROOM)
seen, before = collections.Counter(), peak()
for name, content in mutated_images(int(sys.argv[1]), {COUNT}):
    print(name, file=sys.stderr, flush=True)
    with limit_cpu_time(20):
        try:
            pixels = decode(content, settings).pixels
            assert pixels.shape == (224, 224, 3) and abs(pixels).max() <= 1
            seen["decodes"] += 1
        except UndecodableImage as error:
            seen[error.reason] += 1
print(json.dumps([seen, peak() - before]))
"""


@pytest.mark.slow
def test_mutated_images_decode_or_have_a_reason() -> None:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, "1"],
        capture_output=True,
        text=True,
        env=env,
        cwd=Path(__file__).parent,
        check=False,
    )
    assert done.returncode == 0, done.stderr.splitlines()[-1]  # the name of the last image
    seen, megabytes = json.loads(done.stdout)
    assert sum(seen.values()) == COUNT
    assert seen["decodes"] > COUNT / 20
    assert {Reason.EMPTY, Reason.UNIDENTIFIED, Reason.TRUNCATED, Reason.CORRUPT} < set(seen)
    assert seen[Reason.TOO_MANY_PIXELS] > 0
    assert megabytes < MAX_MEGABYTES


def test_same_seed_generates_same_images() -> None:
    first, again, other = (list(mutated_images(seed, 40)) for seed in (3, 3, 4))
    assert first == again != other
    assert {name.split("/")[0] for name, _ in mutated_images(3, 40)} <= set(MUTATIONS)
