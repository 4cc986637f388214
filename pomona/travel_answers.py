"""`pomona history`, `diff`, `show` and `tag`: the answers, for people or as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pomona.output.console import Screen
from pomona.queries import history as travelling
from pomona.queries.diff import KINDS, diff
from pomona.queries.image_history import show_image, show_lake
from pomona.queries.provenance import find_refit, show_refit
from pomona.queries.session import Answer
from streaming.errors import UsageError

_SHOWN = 20  # images of each kind, components, labels


def tell_history(lake: str, as_of: str | None = None, *, as_json: bool) -> None:
    """List the versions of the features."""
    screen = Screen(as_json=as_json)
    with screen.working("reading the lake"):
        pinned = travelling.pin(lake, as_of)
        rows = travelling.history(lake, pinned)
    if pinned:
        screen.line(f"as of     {pinned.said}")
    if as_json:
        screen.show(rows)
        return
    keys = ("version", "committed", "operation", "added", "replaced", "removed", "total")
    columns = {key: key for key in keys} | {"images_per_second": "images/s", "refits": "refits"}
    if any(row["tags"] for row in rows):
        columns["tags"] = "tags"
    # As --as-of takes it: without a comma in it.
    screen.table(columns, [row | {"version": str(row["version"])} for row in rows])


def tell_diff(lake: str, sides: tuple[str, str], *, images: bool, as_json: bool) -> None:
    """Tell what has changed between two versions or refits; the images by name where asked for."""
    screen = Screen(as_json=as_json)
    with screen.working("comparing"):
        found = diff(lake, *sides)
    if as_json:
        screen.show(found if images else found | {"images": None})
        return
    for name in ("from", "to"):
        screen.line(f"{name:<9} {found[name]['meant']}: {found[name]['rows']:,} rows")
    screen.line(", ".join(f"{found[kind]:,} {kind}" for kind in KINDS))
    if found["labels"]:
        screen.table({key: key for key in ("label", *KINDS)}, found["labels"])
    for kind in KINDS if images else ():
        for path in found["images"][kind]:
            screen.line(f"{kind:<9} {path}")
    if found["refits"]:
        _tell_refits(screen, found["refits"])


def _tell_refits(screen: Screen, found: Answer) -> None:
    one, other = found["from"], found["to"]
    screen.line(f"refits    {one['refit_id']} and {other['refit_id']}")
    pairs = [side["explained_variance_ratio"] for side in (one, other)]
    rows: list[dict[str, Any]] = [
        {
            "component": str(i + 1),
            **{k: _share(pair, i) for k, pair in zip("ab", pairs, strict=True)},
        }
        for i in range(min(max(map(len, pairs)), _SHOWN))
    ]
    totals = {
        key: f"{side['explained_variance']:.2%}"
        for key, side in zip("ab", (one, other), strict=True)
    }
    rows.append({"component": f"all {len(pairs[0])} and {len(pairs[1])}", **totals})
    screen.table({"component": "component", "a": "from", "b": "to"}, rows)
    angles = found["angles"]
    screen.line(
        f"angles    {angles[-1]:.2f}° is the largest of {len(angles):,} principal angles between the subspaces, "
        f"{angles[0]:.2f}° the smallest"
    )


def _share(ratios: Sequence[float], place: int) -> str:
    return f"{ratios[place]:.2%}" if place < len(ratios) else ""


def tell_show(lake: str, path: str | None, as_of: str | None, *, as_json: bool) -> None:
    """Tell what a lake held, what became of an image, or where a refit comes from."""
    screen = Screen(as_json=as_json)
    with screen.working("reading the lake"):
        refit_id = path and find_refit(lake, path)
        if refit_id and as_of is not None:
            raise UsageError(f"refit {refit_id} is of one version: drop --as-of")
        if path is None:
            found = show_lake(lake, as_of)
        elif refit_id:
            found = show_refit(lake, refit_id)
        else:
            found = show_image(lake, path, as_of)
    if as_json:
        screen.show(found)
    elif path is None:
        _tell_lake(screen, found)
    elif refit_id:
        _tell_refit(screen, found)
    else:
        _tell_image(screen, found)


def _tell_lake(screen: Screen, found: Answer) -> None:
    screen.line(f"as of     {found['as_of']['meant']}")
    screen.line(f"rows      {found['rows']:,} in {len(found['labels']):,} labels")
    screen.line(f"model     {found['model_id'] or 'none yet'}")
    for name in ("refits", "tags"):
        screen.line(f"{name:<9} {', '.join(found[name]) or 'none'}")
    if found["labels"]:
        labels = [{"label": label, "rows": rows} for label, rows in found["labels"].items()]
        screen.table({"label": "label", "rows": "rows"}, labels)


def _tell_refit(screen: Screen, found: Answer) -> None:
    model = found["model"] or {}
    asked = {name: value for name, value in found["asked"].items() if value is not None}
    screen.line(
        f"refit     {found['refit_id']} of {found['created_at']} by Pomona {found['pomona_version']}"
    )
    screen.line(
        f"features  version {found['features_version']} of {found['features_timestamp']}, {found['rows']:,} rows"
    )
    screen.line(
        f"fitted    {found['rows_fitted']:,} rows, {', '.join(f'{n} {v}' for n, v in asked.items())}"
    )
    screen.line(f"model     {found['model_id']}")
    screen.line(
        f"weights   {model.get('weights', 'unknown')}, SHA-256 {model.get('weights_sha256', 'unknown')}"
    )
    screen.line(f"drift     {found['drift_told']}")
    screen.line(f"folder    {found['folder']}")


def _tell_image(screen: Screen, found: Answer) -> None:
    screen.line(f"as of     {found['as_of']['meant']}")
    screen.line(f"path      {found['path']}")
    row, bad, place = found["row"], found["quarantine"], found["place"]
    for name, value in (row or {}).items():
        if name not in ("path", "features"):
            screen.line(f"{name:<18} {value}")
    if row is None:
        screen.line("no row of the features in this version")
    if bad:
        tries = "1 attempt" if bad["attempts"] == 1 else f"{bad['attempts']} attempts"
        screen.line(f"in quarantine: {bad['reason']}: {bad['detail']} ({tries})")
    if place:
        scores = place["scores"]
        told = ", ".join(f"{score:.3f}" for score in scores[:_SHOWN])
        more = f" and {len(scores) - _SHOWN:,} more (--json)" if len(scores) > _SHOWN else ""
        screen.line(f"on the components of refit {place['refit_id']}: {told}{more}")
    if found["versions"]:
        columns = {"from": "from version", "until": "until", "committed": "committed"}
        columns |= {"content_hash": "content_hash", "length": "bytes"}
        told_apart = (
            {**v, "from": str(v["from"]), "until": str(v["until"] or "")} for v in found["versions"]
        )
        screen.table(columns, list(told_apart))
    if found["refits"]:
        columns = {"refit_id": "refit", "features_version": "of version", "fitted": "fitted"}
        screen.table(columns, found["refits"])
    else:
        screen.line("in no refit")


def tell_tags(
    lake: str, name: str | None, as_of: str | None, *, force: bool, delete: bool, as_json: bool
) -> None:
    """List the tags, or give or take one."""
    screen = Screen(as_json=as_json)
    with screen.working("reading the lake"):
        if name is None:
            rows = travelling.tags(lake)
        elif delete:
            rows = [travelling.untag(lake, name)]
        else:
            rows = [travelling.tag(lake, name, as_of, force=force)]
    if as_json:
        screen.show(rows if name is None else rows[0])
    elif name is None and not rows:
        screen.line(f"no tags yet: pomona tag {lake} NAME")
    elif name is None:
        columns = {key: key for key in ("tag", "version", "committed", "made_at")}
        screen.table(columns, [row | {"version": str(row["version"])} for row in rows])
    else:
        if as_of is not None:
            screen.line(f"as of     {rows[0]['meant']}")
        if kept := rows[0].get("kept_for_days"):
            screen.line(
                f"the tables now keep what is removed for {kept:,} days, so that a VACUUM spares this version"
            )
        does = "no longer names" if delete else "names"
        screen.line(f"tag {name} {does} version {rows[0]['version']} of {rows[0]['committed']}")
    if note := travelling.retention_note(lake):
        screen.line(note)
