"""Tests for names: whatever a folder is called, it breaks out of no table, CSV, page, terminal or folder."""

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
from support.cli import Command, shown
from support.hostile_names import CONTROL_CHARACTERS, NAMES, put_hostile_images
from support.lakes import ONCE, below, jpeg, put, rows

pytestmark = pytest.mark.spark


@dataclass
class Story:
    """A source of hostile names, the lake made of it, and what else lay around them, before and after."""

    place: Path
    labels: dict[str, str]
    lake: Lake
    made: RefitRow
    before: dict[str, tuple[int, float]]

    @property
    def source(self) -> Path:
        """Where the images lie."""
        return self.place / "photos"


def tree(place: Path, but: Path) -> dict[str, tuple[int, float]]:
    """All that lies below a folder, links not followed, but for one folder: size and time by name."""
    found = {}
    for folder, folders, files in os.walk(place):
        folders[:] = [name for name in folders if Path(folder, name) != but]
        for name in [*folders, *files]:
            status = os.lstat(Path(folder, name))
            size = -1 if name in folders else status.st_size
            found[os.path.join(folder, name)] = (size, status.st_mtime)
    return found


@pytest.fixture(scope="module")
def story(
    spark: SparkSession, new_lake: Callable[[], Path], tmp_path_factory: pytest.TempPathFactory
) -> Story:
    place = tmp_path_factory.mktemp("place")
    labels = put_hostile_images(place / "photos")
    put(place / "elsewhere" / "Fig" / "linked.jpg", jpeg(99))
    (place / "photos" / "link").symlink_to(place / "elsewhere")
    labels["link/Fig/linked.jpg"] = "Fig"
    lake = Lake.at(str(new_lake().rename(place / "lake")))
    # What a killed refit left in the lake is deleted, and never what a link leads to.
    (local_path(lake.reduced)).mkdir()
    owner = json.dumps(
        {"host": os.uname().nodename, "pid": 2**22 + 1, "at": "2026-01-01T00:00:00+00:00"}
    )
    put(place / "other refits" / "mine" / "_unpublished.json", owner.encode())
    (local_path(lake.reduced) / "refits").symlink_to(place / "other refits")
    before = tree(place, place / "lake")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        ingest(str(place / "photos"), lake.root, ONCE)
        made = refit(lake.root, RefitOptions(FitOptions(components=2))).row
    return Story(place, labels, lake, made, before)


def test_each_image_is_in_one_table_under_its_own_name_and_label(story: Story) -> None:
    found = below(story.source, story.lake.features) + below(story.source, story.lake.quarantine)
    assert sorted(found) == sorted(story.labels)
    for table in (story.lake.features, story.lake.quarantine):
        for row in rows(table):
            assert row["label"] == story.labels[row["path"].removeprefix(f"file:{story.source}/")]
    assert rows(story.lake.quarantine)


def test_no_object_is_written_outside_the_lake(story: Story) -> None:
    assert tree(story.place, story.place / "lake") == story.before


def test_the_csv_holds_a_row_an_image_and_no_formula(story: Story) -> None:
    content = local_path(story.made.folder.csv).read_bytes().decode()
    told = list(csv.reader(io.StringIO(content, newline="")))
    good = rows(story.lake.features)
    assert len(told) == 1 + len(good)
    assert told[0] == ["path", "label", "pc1", "pc2"]
    assert [len(row) for row in told] == [4] * len(told)
    assert [row[1].replace("'", "") for row in told[1:]] == [
        r["label"].replace("'", "") for r in good
    ]
    for row in told[1:]:
        for cell in (*row[:2], *row[0].split(";"), *row[1].split(";"), *row[1].split("\n")):
            assert not cell.strip().startswith(("=", "+", "-", "@", "\uff1d")), cell


class Page(html.parser.HTMLParser):
    """The elements of a page, and its text."""

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


def test_the_page_shows_every_label_and_obeys_none(story: Story) -> None:
    text = local_path(story.made.folder.report).read_text(encoding="utf-8")
    page = Page(text)
    assert not page.tags & {"iframe", "object", "link", "form", "a"}
    assert not [name for name in page.attributes if name.startswith("on")]
    assert "default-src 'none'" in text
    assert text.count("<script") == 2  # the data, and the one script whose hash is in the policy
    assert sorted(page.labels) == sorted(map(escape_text, set(story.labels.values())))
    assert {"<script>alert(1)<", "\\u202egpj.exe", "\\x1b[2J\\x1b[31mred"} <= set(page.labels)
    assert not set(text) & set(CONTROL_CHARACTERS)


def test_the_terminal_is_told_names_and_obeys_none(story: Story, pomona: Command) -> None:
    for words in (["status"], ["quarantine"], ["quarantine", "--json"], ["history"]):
        done = pomona(*words, story.lake.root)
        assert done.status == 0, done.err
        assert not set(done.out + done.err) & set(CONTROL_CHARACTERS), words
    listed = pomona("quarantine", story.lake.root).out
    assert all(name in listed for name in (":apple:", "[bold]x[", "\\x1b[2J"))
    assert len(listed.splitlines()) == 1 + len(rows(story.lake.quarantine))
    told = pomona("quarantine", story.lake.root, "--json").json
    assert {row["path"] for row in told} == {
        shown(row["path"]) for row in rows(story.lake.quarantine)
    }


def test_a_location_with_such_a_name_is_told_in_one_line(pomona: Command, tmp_path: Path) -> None:
    for name in NAMES:
        for words in (("status", tmp_path / name), ("ingest", tmp_path / name, tmp_path / "lake")):
            done = pomona(*words)
            assert done.complaint
            assert not set(done.err) & set(CONTROL_CHARACTERS)
