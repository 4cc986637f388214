"""Tags: names for versions of the features table, one small file each in ``tags/``.

Writers of different tags never conflict. If two writers create the same tag, `create_if_absent` succeeds
for one of them.
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
from streaming.storage.documents import InvalidDocumentError, check_document, parse_document
from streaming.storage.open import open_storage

# A tag begins with a letter, so that no number or date is a tag. It is a valid file name on every system.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}")
#: Names that are not allowed, because they mean a time.
RESERVED = {"latest", "now", "today", "yesterday"}


_SCHEMA = {"version": int, "committed": datetime, "created_at": datetime}


@dataclass(frozen=True)
class Tag:
    """A name of a version of the features.

    Attributes
    ----------
    committed : datetime
        When that version was committed, in UTC.
    created_at : datetime
        When the tag was created or moved, in UTC.
    """

    name: str
    version: int
    committed: datetime
    created_at: datetime


def is_valid_tag_name(text: str) -> bool:
    """Return whether a text can be a tag: a letter, then letters, digits and ``. _ -``, up to 64 characters."""
    return bool(_NAME.fullmatch(text)) and text.lower() not in RESERVED


def read_tags(lake: Lake) -> list[Tag]:
    """Return all tags, oldest version first.

    Raises
    ------
    LakeError
        If the file of a tag is broken.
    """
    prefix = f"{lake.tags}/"
    names = (file.path.removeprefix(prefix) for file in open_storage(lake.root).list(lake.tags))
    tags = (
        find_tag(lake, name.removesuffix(".json"))
        for name in names
        if name.endswith(".json") and is_valid_tag_name(name.removesuffix(".json"))
    )
    return sorted(filter(None, tags), key=lambda tag: (tag.version, tag.name))


def find_tag(lake: Lake, name: str) -> Tag | None:
    """Return the tag with a name; None if there is none. Raise LakeError if its file is broken."""
    path = _path(lake, name)
    try:
        document = parse_document(open_storage(path).read(path, lake.root), dict)
        document = rename_keys(document, RENAMED_TAG_KEYS)
        check_document(document, _SCHEMA)
        committed, created_at = (
            datetime.fromisoformat(document[key]) for key in ("committed", "created_at")
        )
        return Tag(name, document["version"], committed.astimezone(UTC), created_at.astimezone(UTC))
    except FileNotFoundError:
        return None
    except InvalidDocumentError as error:
        raise LakeError(
            f"{path}: broken ({error}): create the tag again with `pomona tag LAKE {name} --force`"
        ) from error


def check_tag(lake: Lake, tag: Tag, *, force: bool = False) -> None:
    """Raise UsageError if the name is not valid, or is that of another version and `force` is false."""
    _path(lake, tag.name)
    existing = None if force else find_tag(lake, tag.name)
    if existing and existing.version != tag.version:
        raise UsageError(
            f"tag {tag.name} already points to version {existing.version}: use --force to move it"
        )


def set_tag(lake: Lake, tag: Tag, *, force: bool = False) -> None:
    """Create a tag.

    Parameters
    ----------
    lake : Lake
    tag : Tag
    force : bool
        Move the tag if it is that of another version.

    Raises
    ------
    UsageError
        As in `check_tag`; also if another process creates the tag for another version at the same time.
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
            raise UsageError(
                f"tag {tag.name} is being moved by another process: use --force to move it"
            )


def delete_tag(lake: Lake, name: str) -> None:
    """Delete a tag if it exists; UsageError if the name is not valid."""
    open_storage(lake.root).delete(_path(lake, name))


def _path(lake: Lake, name: str) -> str:
    """Return the file of a tag; UsageError if the name is not valid, and so might lead out of the folder."""
    if not is_valid_tag_name(name):
        raise UsageError(
            f"tag {name!r}: use a letter, then letters, digits, '.', '_' or '-', up to 64 characters, "
            f"and none of {', '.join(sorted(RESERVED))}"
        )
    return f"{lake.tags}/{name}.json"
