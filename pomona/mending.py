"""`pomona quarantine --retry`, `forget` and `reconcile`: asked of whoever holds the lake, and told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pomona.output.console import Screen
from streaming.errors import LakeError, UsageError
from streaming.ingest.pipeline import check_apart
from streaming.ingest.request_client import ask
from streaming.lake.image_index import KnownImages
from streaming.lake.layout import Lake
from streaming.maintenance.reconcile import compare
from streaming.maintenance.requests import Request
from streaming.outcomes import Reason
from streaming.sources.listing import Source
from streaming.spark.errors import in_one_line
from streaming.storage.interface import normalize

_SHOWN = 20  # paths of each kind


def retry_and_tell(location: str, reason: str | None, *, as_json: bool) -> None:
    """Take images of the quarantine again.

    Raises
    ------
    UsageError
        For a word that is no reason.
    """
    if reason is not None and reason not in set(Reason):
        raise UsageError(f"--reason {reason}: choose one of {', '.join(Reason)}")
    screen = Screen(as_json=as_json)
    found = _asked(screen, location, "retry", {"reason": reason})
    if as_json:
        screen.show(found)
        return
    of = f" for the reason {reason}" if reason else ""
    if not found["tried"] + found["gone"]:
        screen.line(f"no image is in quarantine{of}")
        return
    told = ", ".join(f"{count} {name}" for name, count in sorted(found["reasons"].items()))
    screen.line(
        f"{found['tried']:,} images taken again: {found['featurized']:,} featurized, "
        f"{found['quarantined']:,} still in quarantine" + (f" ({told})" if told else "")
    )
    if found["changing"]:
        screen.line(f"{found['changing']:,} are being written to: try again later")
    if found["gone"]:
        screen.line(f"{found['gone']:,} are gone, and keep their rows: see pomona forget")


def forget_and_tell(location: str, paths: Sequence[str], *, as_json: bool) -> None:
    """Remove the rows of images.

    Raises
    ------
    LakeError
        Where the lake has none of them.
    """
    screen = Screen(as_json=as_json)
    names = [normalize(path) for path in paths]
    found = _asked(screen, location, "forget", {"paths": names})
    gone = len({*found["features"], *found["quarantine"]})
    if not gone:
        raise LakeError(
            f"{names[0]} is in no table of {location}: name images as `pomona quarantine` does"
        )
    if as_json:
        screen.show(found)
        return
    screen.line(
        f"{gone:,} images forgotten: {len(found['features']):,} rows of features, "
        f"{len(found['quarantine']):,} of quarantine; earlier versions of the tables keep them"
    )
    _show(screen, "in no table:", found["unknown"])
    _show(screen, "still there, so that the next sweep takes them again:", found["existing"])


def reconcile_and_tell(
    source: str, location: str, how: tuple[bool, bool], limit: float, *, as_json: bool
) -> None:
    """Compare a source with a lake, and mend the differences where asked; `how` is hash and fix."""
    hashes, fix = how
    screen, from_ = Screen(as_json=as_json), Source.at(source)
    from_.require(images=False)
    found: dict[str, Any] = {}
    if hashes or not fix:
        found = _compared(screen, from_, location, hashes, limit)
    if fix:
        check_apart(from_, Lake.at(location))
        arguments = {"source": from_.root, "limit": limit, "rewritten": found.get("rewritten", [])}
        mended = _asked(screen, location, "reconcile", arguments)
        found = mended | {"unread": found.get("unread", [])}
    if as_json:
        screen.show(found)
        return
    screen.line(
        f"{found['listed']:,} images of {from_.root}, {found['held']:,} of them in the lake"
    )
    for key, text in (
        ("missing", "missing: in neither table"),
        ("changed", "changed: of another length or time than their row"),
        ("rewritten", "rewritten: other bytes under the same length and time"),
        ("gone", "gone: a row without an image"),
        ("unread", "not read"),
    ):
        if found[key]:
            _show(screen, f"{len(found[key]):,} {text}", found[key])
    differences = sum(len(found[key]) for key in ("missing", "changed", "rewritten", "gone"))
    if not differences:
        screen.line("source and lake agree")
    elif not fix:
        screen.line("--fix takes what is missing or changed, and removes the rows of what is gone")
    else:
        screen.line(
            f"mended: {found['featurized']:,} featurized, {found['quarantined']:,} quarantined, "
            f"{found['removed']:,} removed"
        )
        if found["why_kept"]:
            screen.line(f"nothing removed: {found['why_kept']}; --remove-limit 1 removes them")


def _compared(
    screen: Screen, source: Source, location: str, hashes: bool, limit: float
) -> dict[str, Any]:
    lake = Lake.at(location)
    lake.require()
    with in_one_line(), screen.working("comparing"):
        known = KnownImages.load(lake)
        return compare(lake, source, known, hashes=hashes, limit=limit).as_json()


def _asked(screen: Screen, location: str, kind: str, arguments: dict[str, Any]) -> dict[str, Any]:
    lake = Lake.at(location)
    lake.require()
    with in_one_line(), screen.working("waiting for its turn"):
        answer: dict[str, Any] = ask(lake, Request(kind, arguments))
        return answer


def _show(screen: Screen, heading: str, paths: Sequence[str]) -> None:
    if not paths:
        return
    screen.line(heading)
    for path in paths[:_SHOWN]:
        screen.line(f"    {path}")
    if paths[_SHOWN:]:
        screen.line(f"    and {len(paths) - _SHOWN:,} more (--json shows all)")
