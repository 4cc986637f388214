"""Tags: names for versions of the features table, one small file each in ``tags/``.

Writers of different tags never conflict. If two writers create the same tag, `create_if_absent` lets one of them
win.
"""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

from streaming.errors import LakeError, UsageError
from streaming.lake.format_version import RENAMED_TAG_KEYS, rename_keys
from streaming.lake.layout import Lake
from streaming.storage.create_if_absent import create_if_absent
from streaming.storage.open import open_storage

# Begins with a letter, so that no number and no date is a tag; a file's name on every system.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}")
#: Words that mean a moment, here or to a person.
RESERVED = {"latest", "now", "today", "yesterday"}


@dataclass(frozen=True)
class Tag:
    """A name for a version.

    Attributes
    ----------
    name : str
    version : int
        Of the features.
    committed : datetime
        When that version was committed, in UTC.
    created_at : datetime
        When the name was given to it.
    """

    name: str
    version: int
    committed: datetime
    created_at: datetime


def is_valid_tag_name(text: str) -> bool:
    """Whether a text can be a tag: a letter, then letters, digits and ``. _ -``, up to 64 in all."""
    return bool(_NAME.fullmatch(text)) and text.lower() not in RESERVED


def read_tags(lake: Lake) -> list[Tag]:
    """All tags, the oldest version first.

    Raises
    ------
    LakeError
        Where the file of one is broken.
    """
    below = f"{lake.tags}/"
    names = (file.path.removeprefix(below) for file in open_storage(lake.root).list(lake.tags))
    found = (
        find_tag(lake, name.removesuffix(".json"))
        for name in names
        if name.endswith(".json") and is_valid_tag_name(name.removesuffix(".json"))
    )
    return sorted(filter(None, found), key=lambda tag: (tag.version, tag.name))


def find_tag(lake: Lake, name: str) -> Tag | None:
    """The tag of a name; None where there is none, LakeError where its file is broken."""
    path = _path(lake, name)
    try:
        document = rename_keys(json.loads(open_storage(path).read(path)), RENAMED_TAG_KEYS)
        committed, created_at = (
            datetime.fromisoformat(document[key]) for key in ("committed", "created_at")
        )
        return Tag(
            name, int(document["version"]), committed.astimezone(UTC), created_at.astimezone(UTC)
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LakeError(
            f"{path}: broken ({error}): create the tag again with `pomona tag LAKE {name} --force`"
        ) from error


def check_tag(lake: Lake, tag: Tag, *, force: bool = False) -> None:
    """Raise UsageError where a name cannot be one, or names another version and there is no force."""
    if not is_valid_tag_name(tag.name):
        raise UsageError(
            f"tag {tag.name!r}: a letter, then letters, digits, '.', '_' or '-', 64 at most, and none of "
            f"{', '.join(sorted(RESERVED))}"
        )
    there = None if force else find_tag(lake, tag.name)
    if there and there.version != tag.version:
        raise UsageError(f"tag {tag.name} names version {there.version} already: --force moves it")


def set_tag(lake: Lake, tag: Tag, *, force: bool = False) -> None:
    """Give a version a name.

    Parameters
    ----------
    lake : Lake
    tag : Tag
    force : bool
        Whether the name may be taken from another version.

    Raises
    ------
    UsageError
        As `check_tag`, also where another process gives the name to another version at the same time.
    """
    check_tag(lake, tag, force=force)
    document = {
        "version": tag.version,
        "committed": tag.committed.isoformat(),
        "created_at": tag.created_at.isoformat(),
        "id": uuid.uuid4().hex,
    }
    content = (json.dumps(document) + "\n").encode()
    if force:
        open_storage(lake.root).write(_path(lake, tag.name), content)
    elif not create_if_absent(_path(lake, tag.name), content):
        check_tag(lake, tag)
        if find_tag(lake, tag.name) is None:
            raise UsageError(f"tag {tag.name} is being moved: --force moves it")


def _path(lake: Lake, name: str) -> str:
    return f"{lake.tags}/{name}.json"
