"""Tests for repeated kills of a stream with its JVM and workers, while images keep arriving.

`POMONA_CHAOS_KILLS` (100) and `POMONA_CHAOS_KILLS_S3` (10) set the number of kills, `POMONA_CHAOS_SEED` (1) the
moments.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from streaming.lake.layout import Lake
from support.aws.moto_server import MotoServer
from support.faults.kill_loop import KillLoop
from support.faults.kill_points import BEGINNING, FOLDER, REFIT, S3, plan
from support.images.arriving_images import Arrivals
from support.lakes.lake_invariants import LakeChecker
from support.lakes.small_lakes import put, upload_tree
from support.processes.cli import environment
from support.processes.inotify_watch import Watch

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(4 * 3600)]

KILLS = int(os.environ.get("POMONA_CHAOS_KILLS", "100"))
KILLS_S3 = int(os.environ.get("POMONA_CHAOS_KILLS_S3", "10"))
SEED = int(os.environ.get("POMONA_CHAOS_SEED", "1"))


def print_figures(loop: KillLoop, started: float) -> None:
    """Print the number of kills and images, and the duration."""
    print(f"{loop.kills.total()} kills of {loop.processes} processes", end=", ")
    print(f"{len(loop.arrivals.content)} images, {time.monotonic() - started:.0f} s")
    for name, times in sorted(loop.kills.items()):
        print(f"{times:4} {name}")
    print(f"missed: {dict(loop.missed)}", flush=True)


def test_hundred_kills_on_folders(random_model: Path, tmp_path: Path) -> None:
    started, rng = time.monotonic(), random.Random(SEED)
    source, lake = tmp_path / "images", tmp_path / "My lake"
    shutil.copytree(random_model, lake / "models")
    loop = KillLoop(
        tmp_path,
        str(source),
        str(lake),
        Arrivals(lambda name, content: put(source / name, content), SEED),
        LakeChecker(Lake.at(str(lake)), f"file:{source}"),
        lambda: {
            "lake": Watch(lake, "create", "moved"),
            "source": Watch(source, "open", "closed"),
        },
        rng,
    )
    loop.kill_at_each(BEGINNING, BEGINNING)
    points = FOLDER | REFIT
    loop.kill_at_each(points, plan(points, KILLS - len(BEGINNING), rng))
    loop.finish()
    refits = loop.finish_refits()
    print_figures(loop, started)
    expected = [len(loop.arrivals.hashes(good=good)) for good in (True, False)] + [refits]
    found = loop.count_with_plain_spark()
    assert list(found.values()) == [[number, number] for number in expected]
    assert loop.kills.total() > KILLS * 0.9


@pytest.fixture
def moto(monkeypatch: pytest.MonkeyPatch) -> Iterator[MotoServer]:
    running = MotoServer()
    for name, value in running.variables.items():
        monkeypatch.setenv(name, value)
    yield running
    running.stop()


@pytest.mark.s3
def test_ten_kills_on_s3(moto: MotoServer, random_model: Path, tmp_path: Path) -> None:
    from streaming.storage.s3 import S3Storage
    from streaming.storage.s3_client import s3_client

    started, rng = time.monotonic(), random.Random(SEED)
    client = s3_client()
    client.create_bucket(
        Bucket="fruit", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    upload_tree(random_model, "fruit", "lake/models")

    def put_object(name: str, content: bytes) -> None:
        client.put_object(Bucket="fruit", Key=f"images/{name}", Body=content)

    loop = KillLoop(
        tmp_path,
        "s3://fruit/images",
        "s3://fruit/lake",
        Arrivals(put_object, SEED),
        LakeChecker(
            Lake.at("s3://fruit/lake"),
            "s3a://fruit/images",
            {**moto.variables, "AWS_ALLOW_HTTP": "true"},
            S3Storage(),
        ),
        lambda: {"lake": moto},
        rng,
        environment(POMONA_LEASE_TERM="5"),
        pause=10,
    )
    loop.kill_at_each(S3, plan(S3, KILLS_S3, rng))
    loop.finish()
    refits = loop.finish_refits()
    print_figures(loop, started)
    expected = [len(loop.arrivals.hashes(good=good)) for good in (True, False)] + [refits]
    assert list(loop.count_with_plain_spark().values()) == [[n, n] for n in expected]
    assert loop.kills.total() > KILLS_S3 * 0.7
