"""Select files of a source by glob patterns, with the same rules on folders and S3, and by links.

The sources of a lake and their selections are stored in the lake (``sources.json``), so that `pomona status` lists all
of them, and lists a source as the ingestion does, like `pomona reconcile`.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from streaming.arguments import check_fields
from streaming.errors import LakeError, UsageError
from streaming.storage.documents import Optional, Values, read_document
from streaming.storage.open import open_storage

#: Excluded unless `default_excludes` is off: thumbnails, recycle bins, snapshots and metadata that network drives,
#: operating systems and photo applications create. Most others have hidden names, such as `.thumbnails`.
DEFAULT_EXCLUDES = (
    "@eaDir",  # Synology: thumbnails
    "@Recycle",  # QNAP
    "@Recently-Snapshot",  # QNAP
    "#recycle",  # Synology
    "#snapshot",  # Synology
    "$RECYCLE.BIN",  # Windows
    "System Volume Information",  # Windows
    "RECYCLER",  # Windows
    "Thumbs.db",  # Windows
    "ehthumbs.db",  # Windows
    "desktop.ini",  # Windows
    "~snapshot",  # NetApp
    "*.lrdata",  # Lightroom: previews
)


#: The shape of `Selection.as_json`; lakes of earlier versions have no ``follow_links``.
SELECTION_SCHEMA = {
    "include": [str],
    "exclude": [str],
    "default_excludes": bool,
    "follow_links": Optional(bool),
}
_REMEDY = "delete it, and run `pomona ingest` with --include and --exclude again"


@dataclass(frozen=True)
class Selection:
    """Which files of a source are selected, by glob patterns and by the links that lead to them.

    A pattern without ``/`` matches the name of a file or folder at any depth. A pattern with ``/`` matches from the
    root of the source: ``*`` within one name, ``**`` any number of names. A folder that matches stands for all files
    below it. Upper and lower case are equal.

    Parameters
    ----------
    include : sequence of str
        If not empty, select only files that match one of these patterns.
    exclude : sequence of str
        Do not select files that match one of these patterns, even if they match `include`.
    default_excludes : bool
        Exclude `DEFAULT_EXCLUDES` too.
    follow_links : bool
        Follow symbolic links that lead out of the source. All others are always followed.

    Raises
    ------
    UsageError
        If a pattern cannot match any path below a source.
    """

    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    default_excludes: bool = True
    follow_links: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("include", "exclude"):
            for pattern in getattr(self, name):
                _validate(name, pattern)

    def excludes(self, relative: str) -> bool:
        """Return whether a file, given by its path below the source, is not selected."""
        path = _normalize(relative)
        if self._excluded.match(path):
            return True
        return bool(self.include) and not self._included.match(path)

    def as_json(self) -> dict[str, Any]:
        """Return the patterns, for `from_json`."""
        return {
            "include": list(self.include),
            "exclude": list(self.exclude),
            "default_excludes": self.default_excludes,
            "follow_links": self.follow_links,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Selection:
        """Return the selection that `as_json` has described."""
        return cls(
            document["include"],
            document["exclude"],
            document["default_excludes"],
            document.get("follow_links") or False,
        )

    @cached_property
    def _included(self) -> re.Pattern[str]:
        return _compile(self.include)

    @cached_property
    def _excluded(self) -> re.Pattern[str]:
        default = DEFAULT_EXCLUDES if self.default_excludes else ()
        return _compile((*default, *self.exclude))


def read_selection(path: str, source: str) -> Selection:
    """Return the selection that the latest ingestion of a source has used; the default if there was none.

    Parameters
    ----------
    path : str
        The lake's ``sources.json``, see `streaming.lake.layout.Lake.sources`.
    source : str
        Normalized URI.

    Raises
    ------
    LakeError
        If the file is damaged.
    """
    document = _read(path).get(source)
    return Selection() if document is None else _parse(path, document)


def read_sources(path: str) -> dict[str, Selection]:
    """Return the stored sources with their selections; LakeError if the file is damaged."""
    return {source: _parse(path, document) for source, document in _read(path).items()}


def write_selection(path: str, source: str, selection: Selection) -> None:
    """Store a source with its selection, unless that is stored already; only for the lease owner."""
    stored = _read(path)
    if source not in stored or selection != _parse(path, stored[source]):
        content = json.dumps(stored | {source: selection.as_json()}, indent=2) + "\n"
        open_storage(path).write(path, content.encode())


def _read(path: str) -> dict[str, Any]:
    try:
        document: dict[str, Any] = read_document(
            path, path.rpartition("/")[0], Values(SELECTION_SCHEMA), _REMEDY
        )
    except FileNotFoundError:
        return {}
    return document


def _parse(path: str, document: Any) -> Selection:
    try:
        return Selection.from_json(document)
    except UsageError as error:
        raise LakeError(f"{path}: broken ({error}): {_REMEDY}") from error


def _validate(option: str, pattern: str) -> None:
    problem = ""
    if not pattern.strip("/"):
        problem = "is empty"
    elif re.match(r"(s3a?|file):", pattern):
        problem = "is a location: give a pattern relative to SOURCE"
    elif {".", ".."} & set(pattern.split("/")):
        problem = "has a part . or ..: give a pattern relative to SOURCE"
    else:
        try:
            _compile([pattern])
        except re.error as error:
            problem = f"is not a glob pattern ({error}): write [[] for a bracket"
    if problem:
        raise UsageError(f"--{option} {pattern!r} {problem}")


def _compile(patterns: Iterable[str]) -> re.Pattern[str]:
    """Return an expression that matches the normalized paths of the files that one of the patterns selects.

    It matches the beginning of a path, up to the end of the name of a file or folder.
    """
    at_any_depth, from_root = list[str](), list[str]()
    for pattern in map(_normalize, patterns):
        names = pattern.rstrip("/").split("/")
        end = "(?=/)" if pattern.endswith("/") else r"(?=/|\Z)"
        if len(names) == 1:
            at_any_depth.append(_translate_name(names[0]) + end)
            continue
        *folders, last = names if names[0] else names[1:]
        prefix = "".join(
            _ANY_FOLDERS if name == "**" else f"{_translate_name(name)}/" for name in folders
        )
        from_root.append(prefix + (".+" if last == "**" else _translate_name(last)) + end)
    if at_any_depth:
        from_root.append(f"{_ANY_FOLDERS}(?:{'|'.join(at_any_depth)})")
    return re.compile("|".join(from_root) or "(?!)", re.DOTALL)


def _translate_name(name: str) -> str:
    """Translate the part of a pattern between two slashes: ``*``, ``?``, ``[abc]``, ``[a-z]`` and ``[!abc]``."""
    expression, position = "", 0
    for found in _WILDCARD.finditer(name):
        expression += re.escape(name[position : found.start()])
        position = found.end()
        if found["characters"]:
            characters = re.escape(found["characters"]).replace(r"\-", "-")
            expression += f"[^/{characters}]" if found["negated"] else f"[{characters}]"
        else:
            expression += "[^/]*" if found[0].startswith("*") else "[^/]"
    return expression + re.escape(name[position:])


def _normalize(text: str) -> str:
    """Return a text in lower case and with composed characters: macOS writes names with decomposed ones."""
    return text.lower() if text.isascii() else unicodedata.normalize("NFC", text).lower()


_ANY_FOLDERS = "(?:[^/]*/)*"
_WILDCARD = re.compile(r"\*+|\?|\[(?P<negated>!?)(?P<characters>\]?[^\]]*)\]")
