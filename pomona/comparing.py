"""`pomona similar` and `pomona duplicates`: what likeness and doubles find, for people or as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pomona.output.console import Screen
from pomona.output.durations import about
from pomona.queries.session import explained, open_lake, pin
from pomona.similarity.duplicates import ROWS_AT_ONCE, Comparison, Pairs, places_of, same_bytes
from pomona.similarity.nearest import Places
from pomona.similarity.search import similar
from pomona.similarity.vector_cache import Vectors, vectors_of
from streaming.errors import LimitPassed, UsageError
from streaming.lake.versions import resolve


def similar_and_tell(
    lake: str, image: str, top: int, as_of: str | None, *, report: str | None, as_json: bool
) -> None:
    """Tell which images are most like one, and write a page of them where one is asked for."""
    screen = Screen(as_json=as_json)
    with screen.working("comparing"):
        pinned = pin(lake, as_of)
        found = similar(lake, image, top, pinned)
        if report:
            from pomona.similarity.report import write_page

            write_page(found, Path(report))
    if pinned:
        screen.line(f"as of  {pinned.said}")
    if as_json:
        return screen.show(
            {
                "image": found.image,
                "label": found.label,
                "version": found.version,
                "rows": found.rows,
                "vote": dict(found.votes),
                "neighbours": [asdict(one) for one in found.neighbours],
            }
        )
    columns = {"cosine": "cosine", "label": "label", "path": "path"}
    screen.table(
        columns, [asdict(one) | {"cosine": f"{one.cosine:.6f}"} for one in found.neighbours]
    )
    told = ", ".join(f"{votes} {label}" for label, votes in found.votes)
    screen.line(f"vote: {told}" + (f" (it is labelled {found.label})" if found.label else ""))
    if report:
        screen.line(f"page: {report}")


@dataclass(frozen=True)
class NearOptions:
    """Which pairs of images to compare.

    Parameters
    ----------
    at_least : float
        The cosine from which two images are near duplicates.
    label : str, optional
        Compare the images of this label alone.
    top : int
        How many pairs to tell; all are counted.
    yes : bool
        Compare all pairs, however long it takes.
    """

    at_least: float
    label: str | None = None
    top: int = 100
    yes: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if not 0 < self.at_least <= 1:
            raise UsageError(f"--at-least {self.at_least}: give a cosine above 0 and up to 1")
        if self.top < 1:
            raise UsageError(f"--top {self.top}: give 1 or more")


def duplicates_and_tell(
    lake: str, as_of: str | None, near: NearOptions | None, *, as_json: bool
) -> None:
    """Tell which images are there twice, by their bytes, and with `near` by their features.

    Raises
    ------
    LimitPassed
        Where comparing all pairs takes so long that it wants to be asked for; the same bytes are told before.
    """
    screen = Screen(as_json=as_json)
    at = open_lake(lake)
    answer: dict[str, Any] = {}
    refusal = None
    with explained():
        with screen.working("comparing bytes"):
            pinned = resolve(at, as_of)
            answer["version"] = pinned.number
            answer["same_bytes"] = [asdict(group) for group in same_bytes(at, answer["version"])]
        if near:
            with screen.working("reading the features"):
                vectors = vectors_of(at, answer["version"])
            work = Comparison(vectors, _places(vectors, near.label), near.at_least)
            refusal = _refusal(work, near)
            if not refusal:
                with screen.working("comparing features") as tell:
                    found = work.run(near.top, lambda done, of: tell(f"{done / of:.0%} compared"))
                answer |= {"near_count": found.total, "near": _named(vectors, found)}
    if as_of is not None:
        screen.line(f"as of  {pinned.said}")
    if as_json:
        screen.show(answer)
    else:
        _tell(screen, answer, near)
    if refusal:
        raise LimitPassed(refusal)


def _places(vectors: Vectors, label: str | None) -> Places:
    places = places_of(vectors, label)
    if label is not None and not len(places):
        raise UsageError(
            f"--label {label}: no image of version {vectors.version} has it: `pomona show LAKE` lists the labels"
        )
    return places


def _refusal(work: Comparison, near: NearOptions) -> str | None:
    if near.yes or near.label is not None or work.rows <= ROWS_AT_ONCE:
        return None
    return (
        f"comparing all pairs of {work.rows:,} images would take about {about(work.seconds())} here: "
        "give --yes for it, --label for those of one label, or --same-bytes for neither"
    )


def _named(vectors: Vectors, found: Pairs) -> list[dict[str, Any]]:
    names = vectors.rows.select(["path", "label"])
    one, two = (names.take(places).to_pylist() for places in (found.first, found.second))
    return [
        {"cosine": cosine, "images": sorted(((a["path"], a["label"]), (b["path"], b["label"])))}
        for cosine, a, b in zip(found.cosines.tolist(), one, two, strict=True)
    ]


def _tell(screen: Screen, answer: dict[str, Any], near: NearOptions | None) -> None:
    groups = answer["same_bytes"]
    images = sum(len(group["images"]) for group in groups)
    screen.line(f"same bytes: {images:,} images, {len(groups):,} contents")
    if groups:
        screen.table(
            {"group": "group", "label": "label", "path": "path"},
            [
                {"group": number, "label": label, "path": path}
                for number, group in enumerate(groups, 1)
                for path, label in group["images"]
            ],
        )
    if near and "near" in answer:
        shown = f", the nearest {near.top:,}:" if answer["near_count"] > near.top else ""
        screen.line(
            f"near duplicates: {answer['near_count']:,} pairs with a cosine of {near.at_least:g} or more{shown}"
        )
        columns = ("cosine", "label", "path", "label of the other", "the other")
        rows = []
        for pair in answer["near"]:
            (path, label), (other, other_label) = pair["images"]
            values = (f"{pair['cosine']:.6f}", label, path, other_label, other)
            rows.append(dict(zip(columns, values, strict=True)))
        if rows:
            screen.table(dict(zip(columns, columns, strict=True)), rows)
