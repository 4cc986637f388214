"""Tests for the tutorial and the how-to guides: every command is run, in order, with its documented exit code."""

from __future__ import annotations

import re
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
from support.lakes.commit_times import set_commit_time
from support.lakes.deltars_lakes import use_cache_folder
from support.lakes.small_lakes import ONCE, jpeg, photos, put, put_all, upload_tree
from support.pages.docs_pages import (
    decision_records,
    listed_pages,
    page_commands,
    pages,
    python_blocks,
)
from support.processes.cli import PROGRAM, Command, environment
from support.processes.spark_standalone import SETTINGS

#: Its commands need a cluster: no test runs them.
ON_CLUSTER = "run-on-spark-cluster.md"
#: Their commands are run by test_aws_page.py.
ON_AWS = ("run-on-emr.md", "first-report-on-aws.md")
TASK_PAGES = [page for page in [*pages("tutorials"), *pages("how-to")] if page.name != ON_CLUSTER]
LOCAL_PAGES = [page for page in TASK_PAGES if page.name not in ON_AWS]


def test_index_lists_every_page_once() -> None:
    assert sorted([*listed_pages(), *decision_records()]) == pages()


def test_commands_are_on_tutorials_and_guides_only() -> None:
    commands = {page: page_commands(page) for page in pages()}
    assert all(len(commands[page]) >= 4 for page in TASK_PAGES)
    assert not any(commands[page] for page in set(commands) - set(TASK_PAGES))
    assert all(
        command.arguments[0] == "pomona" for page in TASK_PAGES for command in commands[page]
    )


def test_spark_submit_command_has_the_settings_of_the_table_and_of_the_tested_cluster() -> None:
    (page,) = (page for page in pages("how-to") if page.name == ON_CLUSTER)
    text = page.read_text()
    settings = dict(re.findall(r"^ +--conf=(\S+?)=(\S+) \\$", text, re.MULTILINE))
    rows = re.findall(r"^\| (`spark\..*?) \|", text, re.MULTILINE)
    assert sorted(settings) == sorted(name for row in rows for name in re.findall(r"`(.*?)`", row))
    assert settings.items() >= SETTINGS.items()


def prepare_history(folder: Path) -> None:
    """Ingest half of the images and refit, set the commits back by five days, then ingest the other half."""
    lake = Lake.at(str(folder / "lake"))
    put_all(folder / "fruits", photos("Fig", range(4)))
    ingest(str(folder / "fruits"), lake.root, ONCE)
    refit(lake.root, RefitOptions(FitOptions(components=3)))
    five_days_ago = time.time() - 5 * 86400
    for log in (folder / "lake").glob("*/_delta_log/*.json"):
        set_commit_time(log.parent.parent, int(log.stem), five_days_ago)
    put_all(folder / "fruits", photos("Kiwi", range(4, 8)))
    ingest(str(folder / "fruits"), lake.root, ONCE)


def prepare_images(folder: Path) -> None:
    """Ingest good images and a broken one."""
    put_all(folder / "fruits", photos("Fig", range(4)) | photos("Kiwi", range(4, 8)))
    put(folder / "fruits" / "Fig" / "broken.jpg", jpeg(9)[:200])
    ingest(str(folder / "fruits"), str(folder / "lake"), ONCE)


def prepare_bucket(folder: Path) -> None:
    """Upload good images and the exported model of the lake to a bucket."""
    client = s3_client()
    location = {"LocationConstraint": client.meta.region_name}
    client.create_bucket(Bucket="my-bucket", CreateBucketConfiguration=location)
    for name, content in photos("Fig", range(8)).items():
        client.put_object(Bucket="my-bucket", Key=f"fruits/{name}", Body=content)
    upload_tree(folder / "lake" / "models", "my-bucket", "lake/models")


PREPARATIONS = {
    "use-time-travel.md": prepare_history,
    "query-images.md": prepare_history,
    "use-your-own-bucket.md": prepare_bucket,
}


@pytest.mark.long
@pytest.mark.spark
@pytest.mark.parametrize("page", LOCAL_PAGES, ids=lambda page: page.stem)
def test_commands_of_page_end_with_documented_exit_code(
    page: Path,
    spark: Any,
    new_lake: Callable[[], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.move(new_lake(), tmp_path / "lake")
    monkeypatch.chdir(tmp_path)
    use_cache_folder(monkeypatch, tmp_path / "cache")
    PREPARATIONS.get(page.name, prepare_images)(tmp_path)
    for command in page_commands(page):
        if command.runs_on:
            run_until_first_refit(command.arguments[1:], tmp_path)
            continue
        done = Command(monkeypatch, capsys)(*command.arguments[1:])
        line = shlex.join(command.arguments)
        assert done.status == command.exit_code, f"{line}\n{done.out}{done.err}"
        assert "Traceback" not in done.err
        assert done.out or command.exit_code
    for code in python_blocks(page):
        exec(compile(code, page.name, "exec"), {})


def run_until_first_refit(arguments: list[str], folder: Path) -> None:
    """Start a command that runs continuously, wait for its first refit and send it SIGTERM."""
    before = len(list(folder.glob("lake/reduced/*/report.html")))
    process = subprocess.Popen([PROGRAM, *arguments], cwd=folder, env=environment(), text=True)
    try:
        deadline = time.monotonic() + 300
        while len(list(folder.glob("lake/reduced/*/report.html"))) == before:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0
    finally:
        process.kill()
        process.wait()
