"""Tests for `streaming.lake.tags`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from streaming.errors import LakeError, UsageError
from streaming.lake.layout import Lake
from streaming.lake.retention import required_retention
from streaming.lake.tags import Tag, delete_tag, find_tag, read_tags, set_tag
from streaming.storage.create_if_absent import create_if_absent
from streaming.storage.open import open_storage

AT = datetime(2026, 3, 3, 12, 0, 0, 345_000, tzinfo=UTC)


def tag(name: str, version: int) -> Tag:
    return Tag(name, version, AT + version * timedelta(hours=1), AT + timedelta(days=9))


@pytest.fixture(params=["folder", "s3"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    if request.param == "folder":
        return Lake.at(str(tmp_path / "My lake"))
    return Lake.at(f"s3://{request.getfixturevalue('bucket')}/My lake")


def test_tags_are_read_in_order_of_versions(lake: Lake) -> None:
    assert read_tags(lake) == []
    created = [tag("march", 7), tag("Friday.2", 3), tag("a-b_c", 7)]
    for one in created:
        set_tag(lake, one)
    assert read_tags(lake) == [created[1], created[2], created[0]]
    assert find_tag(lake, "march") == created[0]
    assert find_tag(lake, "april") is None


def test_existing_tag_is_moved_only_with_force(lake: Lake) -> None:
    set_tag(lake, tag("march", 7))
    set_tag(lake, tag("march", 7))  # no change
    with pytest.raises(
        UsageError, match=r"^tag march already points to version 7: use --force to move it$"
    ):
        set_tag(lake, tag("march", 8))
    assert read_tags(lake) == [tag("march", 7)]
    set_tag(lake, tag("march", 8), force=True)
    assert read_tags(lake) == [tag("march", 8)]


def test_concurrent_creation_of_tag_succeeds_once(lake: Lake) -> None:
    def create(version: int) -> int | None:
        try:
            set_tag(lake, tag("march", version))
        except UsageError:
            return None
        return version

    with ThreadPoolExecutor(8) as pool:
        created = [version for version in pool.map(create, range(8)) if version is not None]
    assert [found.version for found in read_tags(lake)] == created


def test_other_files_are_ignored_and_broken_tag_raises_error_with_remedy(lake: Lake) -> None:
    storage = open_storage(lake.root)
    storage.write(f"{lake.tags}/.march.json.123.tmp", b"{")
    storage.write(f"{lake.tags}/notes.txt", b"")
    assert read_tags(lake) == []
    for content in (
        b"",
        b"[]",
        b"{}",
        b'{"version": 1, "committed": "soon", "created_at": "late"}',
    ):
        storage.write(f"{lake.tags}/march.json", content)
        with pytest.raises(LakeError, match=r"tags/march.json: broken .*`pomona tag .* --force`"):
            read_tags(lake)
    set_tag(lake, tag("march", 1), force=True)
    assert read_tags(lake) == [tag("march", 1)]


@pytest.mark.parametrize("name", ["", "3", "-x", ".x", "a/b", "a b", "..", "é", "x" * 65, "Latest"])
def test_invalid_tag_name_raises_usage_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="a letter, then letters, digits"):
        set_tag(Lake.at(str(tmp_path)), tag(name, 1))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name",
    ["../../other/tags/good", "../tags/good", "/etc/passwd", "a/../../x", "..", "", "a\n", "."],
)
def test_name_that_leads_out_of_folder_of_tags_is_rejected(tmp_path: Path, name: str) -> None:
    lake, other = Lake.at(str(tmp_path / "lake")), Lake.at(str(tmp_path / "other"))
    good = Tag("good", 1, datetime.now(UTC), datetime.now(UTC))
    set_tag(other, good)
    (tmp_path / "lake" / "tags").mkdir(parents=True)
    tag = Tag(name, 2, datetime.now(UTC), datetime.now(UTC))
    for operation in (
        lambda: find_tag(lake, name),
        lambda: delete_tag(lake, name),
        lambda: set_tag(lake, tag, force=True),
    ):
        with pytest.raises(UsageError, match="use a letter"):
            operation()
    assert find_tag(other, "good") == good


def test_create_if_absent_accepts_its_own_repetition_on_s3(lake: Lake) -> None:
    path = f"{lake.tags}/x.json"
    assert create_if_absent(path, b"mine")
    assert not create_if_absent(path, b"other")
    assert open_storage(path).read(path, None) == b"mine"
    if path.startswith("s3a:"):
        assert create_if_absent(path, b"mine")
    else:
        assert [file.path for file in open_storage(path).list(lake.tags)] == [path]


def test_required_retention_is_age_of_oldest_tagged_version_and_an_hour() -> None:
    now = AT + timedelta(days=30)
    assert required_retention([], now) == timedelta()
    tags = [tag("a", 48), tag("b", 24)]
    assert required_retention(tags, now) == timedelta(days=29, hours=1)
