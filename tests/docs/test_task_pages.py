"""Tests for docs/: each command on a page is run, in the order of the page, and ends as the page says."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from batch_pca.pca.fit import FitOptions
from batch_pca.refit import RefitOptions, refit
from streaming.ingest.pipeline import ingest
from streaming.lake.layout import Lake
from streaming.storage.s3_client import s3_client
from support.cli import PROGRAM, Command, environment
from support.deltars_lakes import own_cache
from support.docs_pages import DOCS, lines, listed, programs
from support.lakes import ONCE, jpeg, photos, put, put_all, upload_tree

#: What needs an account has a test of its own, `test_cloud_tasks`.
ON_AWS = "run-on-aws.md"
PAGES = [page for page in listed()[0] if page.name != ON_AWS]


def test_there_is_a_page_for_each_task_and_all_are_listed() -> None:
    tasks, others = listed()
    assert sorted([*tasks, *others, DOCS / "README.md"]) == sorted(DOCS.glob("*.md"))
    assert all(len(lines(page)) >= 4 for page in tasks)
    assert all(line.words[0] == "pomona" for page in tasks for line in lines(page))
    assert not any(lines(page) for page in others)  # nobody runs them


def a_history(place: Path) -> None:
    """Half of the images and a refit five days ago, the others now."""
    lake = Lake.at(str(place / "lake"))
    put_all(place / "fruits", photos("Fig", range(4)))
    ingest(str(place / "fruits"), lake.root, ONCE)
    refit(lake.root, RefitOptions(FitOptions(components=3)))
    then = time.time() - 5 * 86400
    for log in (place / "lake").glob("*/_delta_log/*.json"):
        os.utime(log, (then, then))
    put_all(place / "fruits", photos("Kiwi", range(4, 8)))
    ingest(str(place / "fruits"), lake.root, ONCE)


def images(place: Path) -> None:
    """Good images and a broken one, in the lake already."""
    put_all(place / "fruits", photos("Fig", range(4)) | photos("Kiwi", range(4, 8)))
    put(place / "fruits" / "Fig" / "broken.jpg", jpeg(9)[:200])
    ingest(str(place / "fruits"), str(place / "lake"), ONCE)


def a_bucket(place: Path) -> None:
    """Good images in a bucket, and a lake that has its network."""
    client = s3_client()
    where = {"LocationConstraint": client.meta.region_name}
    client.create_bucket(Bucket="my-bucket", CreateBucketConfiguration=where)
    for name, content in photos("Fig", range(8)).items():
        client.put_object(Bucket="my-bucket", Key=f"fruits/{name}", Body=content)
    upload_tree(place / "lake" / "models", "my-bucket", "lake/models")


PREPARED = {
    "go-back-in-time.md": a_history,
    "ask.md": a_history,
    "your-own-bucket.md": a_bucket,
}


@pytest.mark.spark
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_each_command_of_a_page_ends_as_it_says(
    page: Path,
    spark: Any,
    new_lake: Callable[[], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.move(new_lake(), tmp_path / "lake")
    monkeypatch.chdir(tmp_path)
    own_cache(monkeypatch, tmp_path / "cache")
    PREPARED.get(page.name, images)(tmp_path)
    for line in lines(page):
        if line.runs_on:
            run_until_stopped(line.words[1:], tmp_path)
            continue
        done = Command(monkeypatch, capsys)(*line.words[1:])
        assert done.status == line.status, f"{shlex.join(line.words)}\n{done.out}{done.err}"
        assert "Traceback" not in done.err
        assert done.out or line.status
    for program in programs(page):
        exec(compile(program, page.name, "exec"), {})


def run_until_stopped(words: list[str], place: Path) -> None:
    """Start a command that runs on, wait for its first refit, and end it as an init system does."""
    before = len(list(place.glob("lake/reduced/*/report.html")))
    running = subprocess.Popen([PROGRAM, *words], cwd=place, env=environment(), text=True)
    try:
        until = time.monotonic() + 300
        while len(list(place.glob("lake/reduced/*/report.html"))) == before:
            assert running.poll() is None
            assert time.monotonic() < until
            time.sleep(0.2)
        running.send_signal(signal.SIGTERM)
        assert running.wait(120) == 0
    finally:
        running.kill()
        running.wait()
