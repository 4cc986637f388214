"""Tests for hostile names of files and folders: tables, CSV, report, terminal and other folders are not affected."""

from __future__ import annotations

import csv
import html.parser
import io
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from batch_pca.pca.fit import FitOptions
from batch_pca.refit import RefitOptions, refit
from batch_pca.refits.catalog import RefitRow
from streaming.ingest.pipeline import ingest
from streaming.lake.layout import Lake
from streaming.sanitize import escape_text
from streaming.storage.interface import local_path
from support.faults.hostile_names import CONTROL_CHARACTERS, NAMES, put_hostile_images
from support.lakes.small_lakes import ONCE, below, jpeg, put, rows
from support.processes.cli import Command, shown

pytestmark = pytest.mark.spark


@dataclass
class HostileLake:
    """A lake ingested from a source with hostile names, its refit, and the files around both before the run."""

    folder: Path
    labels: dict[str, str]
    lake: Lake
    refit: RefitRow
    before: dict[str, tuple[int, float]]

    @property
    def source(self) -> Path:
        """Folder of the images."""
        return self.folder / "photos"


def tree(root: Path, excluded: Path) -> dict[str, tuple[int, float]]:
    """Return size and modification time of all files below a folder except one subfolder; do not follow links."""
    found = {}
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if Path(folder, name) != excluded]
        for name in [*folders, *files]:
            status = os.lstat(Path(folder, name))
            size = -1 if name in folders else status.st_size
            found[os.path.join(folder, name)] = (size, status.st_mtime)
    return found


@pytest.fixture(scope="module")
def hostile(
    spark: SparkSession, new_lake: Callable[[], Path], tmp_path_factory: pytest.TempPathFactory
) -> HostileLake:
    folder = tmp_path_factory.mktemp("hostile")
    labels = put_hostile_images(folder / "photos")
    put(folder / "elsewhere" / "Fig" / "linked.jpg", jpeg(99))
    # Links out of the source: a folder, an image, and a file that is none.
    (folder / "photos" / "link").symlink_to(folder / "elsewhere")
    (folder / "photos" / "Fig").mkdir(exist_ok=True)
    (folder / "photos" / "Fig" / "private.jpg").symlink_to(folder / "elsewhere/Fig/linked.jpg")
    (folder / "photos" / "Fig" / "passwd.jpg").symlink_to("/etc/passwd")
    lake = Lake.at(str(new_lake().rename(folder / "lake")))
    # A refit deletes the folders of killed refits, but must not follow a link.
    (local_path(lake.reduced)).mkdir()
    owner = json.dumps(
        {"host": os.uname().nodename, "pid": 2**22 + 1, "at": "2026-01-01T00:00:00+00:00"}
    )
    put(folder / "other refits" / "mine" / "_unpublished.json", owner.encode())
    (local_path(lake.reduced) / "refits").symlink_to(folder / "other refits")
    before = tree(folder, folder / "lake")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        ingest(str(folder / "photos"), lake.root, ONCE)
        published = refit(lake.root, RefitOptions(FitOptions(components=2))).row
    return HostileLake(folder, labels, lake, published, before)


def test_each_image_is_in_one_table_with_its_path_and_label(hostile: HostileLake) -> None:
    found = below(hostile.source, hostile.lake.features) + below(
        hostile.source, hostile.lake.quarantine
    )
    assert sorted(found) == sorted(hostile.labels)
    for table in (hostile.lake.features, hostile.lake.quarantine):
        for row in rows(table):
            assert (
                row["label"] == hostile.labels[row["path"].removeprefix(f"file:{hostile.source}/")]
            )
    assert rows(hostile.lake.quarantine)


def test_nothing_is_written_outside_lake(hostile: HostileLake) -> None:
    assert tree(hostile.folder, hostile.folder / "lake") == hostile.before


def test_csv_has_one_row_per_image_and_no_formula(hostile: HostileLake) -> None:
    content = local_path(hostile.refit.folder.csv).read_bytes().decode()
    lines = list(csv.reader(io.StringIO(content, newline="")))
    good = rows(hostile.lake.features)
    assert len(lines) == 1 + len(good)
    assert lines[0] == ["path", "label", "pc1", "pc2"]
    assert [len(row) for row in lines] == [4] * len(lines)
    assert [row[1].replace("'", "") for row in lines[1:]] == [
        r["label"].replace("'", "") for r in good
    ]
    for row in lines[1:]:
        for cell in (*row[:2], *row[0].split(";"), *row[1].split(";"), *row[1].split("\n")):
            assert not cell.strip().startswith(("=", "+", "-", "@", "\uff1d")), cell


class Page(html.parser.HTMLParser):
    """The tags, attributes and isolated labels (``bdi``) of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.labels: list[str] = []
        self._isolated = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self._isolated = tag == "bdi"

    def handle_endtag(self, tag: str) -> None:
        self._isolated = False

    def handle_data(self, data: str) -> None:
        if self._isolated:
            self.labels.append(data)


def test_report_shows_every_label_escaped(hostile: HostileLake) -> None:
    text = local_path(hostile.refit.folder.report).read_text(encoding="utf-8")
    page = Page(text)
    assert not page.tags & {"iframe", "object", "link", "form", "a"}
    assert not [name for name in page.attributes if name.startswith("on")]
    assert "default-src 'none'" in text
    assert text.count("<script") == 2  # the data, and the script whose hash is in the policy
    listed = Page(text.partition('id="labels">')[2]).labels
    assert sorted(listed) == sorted(map(escape_text, set(hostile.labels.values())))
    assert {"<script>alert(1)<", "\\u202egpj.exe", "\\x1b[2J\\x1b[31mred"} <= set(listed)
    assert not set(text) & set(CONTROL_CHARACTERS)


def test_terminal_output_contains_names_escaped(hostile: HostileLake, pomona: Command) -> None:
    for command in (["status"], ["quarantine"], ["quarantine", "--json"], ["history"]):
        done = pomona(*command, hostile.lake.root)
        assert done.status == 0, done.err
        assert not set(done.out + done.err) & set(CONTROL_CHARACTERS), command
    listed = pomona("quarantine", hostile.lake.root).out
    assert all(name in listed for name in (":apple:", "[bold]x[", "\\x1b[2J"))
    assert len(listed.splitlines()) == 1 + len(rows(hostile.lake.quarantine))
    listing = pomona("quarantine", hostile.lake.root, "--json").json
    assert {row["path"] for row in listing} == {
        shown(row["path"]) for row in rows(hostile.lake.quarantine)
    }


def test_missing_location_with_hostile_name_is_reported_in_one_line(
    pomona: Command, tmp_path: Path
) -> None:
    for name in NAMES:
        for command in (
            ("status", tmp_path / name),
            ("ingest", tmp_path / name, tmp_path / "lake"),
        ):
            done = pomona(*command)
            assert done.error_line
            assert not set(done.err) & set(CONTROL_CHARACTERS)
