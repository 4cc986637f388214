"""Tests for `pomona report`: the report of a refit as a local file, also of a lake on S3."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pomona.queries.report import find_report, open_in_browser
from streaming.errors import ExternalError, SnapshotError, UsageError
from support.lakes.deltars_lakes import create_deltars_lake, random_images
from support.lakes.query_lakes import QueryLake
from support.lakes.small_lakes import upload_tree

pytestmark = pytest.mark.spark


def test_latest_report_is_the_default(query_lake: QueryLake) -> None:
    first, second = query_lake.refits
    assert find_report(query_lake.lake.root).file == Path(second.folder.report[len("file:") :])
    found = find_report(query_lake.lake.root, first.refit_id)
    assert (found.refit_id, found.file.read_bytes()[:15]) == (first.refit_id, b"<!doctype html>")


def test_report_on_s3_is_downloaded(
    query_lake: QueryLake, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    upload_tree(query_lake.folder, bucket, "lake")
    found = find_report(f"s3://{bucket}/lake")
    assert found.file.is_relative_to(tmp_path)
    assert found.file.read_bytes() == find_report(query_lake.lake.root).file.read_bytes()
    assert [entry.name for entry in found.file.parent.iterdir()] == [f"{found.refit_id}.html"]


def test_missing_refit_is_rejected(query_lake: QueryLake, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="20200101T000000Z-v1-0000: no such refit"):
        find_report(query_lake.lake.root, "20200101T000000Z-v1-0000")
    lake = create_deltars_lake(tmp_path / "lake", random_images(3, 4))
    with pytest.raises(SnapshotError, match="has no refit yet: run `pomona refit"):
        find_report(lake.root)


def test_command_prints_path_and_opens_browser(
    query_lake: QueryLake, pomona: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = tmp_path / "opened"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > "{opened}"\n')
    browser.chmod(0o755)
    monkeypatch.setattr("webbrowser._tryorder", None)
    monkeypatch.setenv("BROWSER", f"{browser} %s")
    done = pomona("report", query_lake.lake.root, "--open")
    assert (done.status, done.err) == (0, "")
    assert Path(done.out.strip()) == find_report(query_lake.lake.root).file
    assert opened.read_text().strip() == Path(done.out.strip()).as_uri()


def test_missing_browser_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webbrowser._tryorder", [])
    with pytest.raises(ExternalError, match=r"no web browser was found: open .*report.html"):
        open_in_browser(tmp_path / "report.html")
