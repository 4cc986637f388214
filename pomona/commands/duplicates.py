"""`pomona duplicates`: images with the same bytes, or with nearly the same features."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pomona.options import AsOf, Json, LakeArgument
from streaming.errors import ThresholdExceeded, UsageError

if TYPE_CHECKING:
    from pomona.output.console import Console
    from pomona.similarity.duplicates import Pairs, PairwiseComparison
    from pomona.similarity.nearest import RowIndices
    from pomona.similarity.vector_cache import Vectors


def duplicates(
    lake: LakeArgument,
    at_least: Annotated[
        float, typer.Option(help="Minimum cosine similarity of near-duplicates.")
    ] = 0.98,
    label: Annotated[str | None, typer.Option(help="Compare only images with this label.")] = None,
    top: Annotated[
        int, typer.Option(help="Number of near-duplicate pairs to show; all are counted.")
    ] = 100,
    same_bytes: Annotated[
        bool, typer.Option("--same-bytes", help="Compare only bytes, not features.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Compare all pairs, however long it takes.")
    ] = False,
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """Find duplicated images: same bytes, or nearly equal features.

    Example: pomona duplicates ./lake --at-least 0.995 --label Kiwi
    """
    near = None if same_bytes else NearDuplicateOptions(at_least, label, top, yes)
    run_duplicates(lake, as_of, near, as_json=as_json)


@dataclass(frozen=True)
class NearDuplicateOptions:
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


def run_duplicates(
    lake: str, as_of: str | None, near: NearDuplicateOptions | None, *, as_json: bool
) -> None:
    """Tell which images are there twice, by their bytes, and with `near` by their features.

    Raises
    ------
    ThresholdExceeded
        Where comparing all pairs takes so long that it wants to be asked for; the same bytes are told before.
    """
    from pomona.output.console import Console
    from pomona.queries.session import open_lake, translate_read_errors
    from pomona.similarity.duplicates import PairwiseComparison, find_same_bytes
    from pomona.similarity.vector_cache import load_vectors
    from streaming.lake.versions import resolve_version

    console = Console(as_json=as_json)
    at = open_lake(lake)
    answer: dict[str, Any] = {}
    refusal = None
    with translate_read_errors():
        with console.working("comparing bytes"):
            pinned = resolve_version(at, as_of)
            answer["version"] = pinned.number
            answer["same_bytes"] = [
                asdict(group) for group in find_same_bytes(at, answer["version"])
            ]
        if near:
            with console.working("reading the features"):
                vectors = load_vectors(at, answer["version"])
            work = PairwiseComparison(vectors, _places(vectors, near.label), near.at_least)
            refusal = _refusal(work, near)
            if not refusal:
                with console.working("comparing features") as tell:
                    found = work.run(near.top, lambda done, of: tell(f"{done / of:.0%} compared"))
                answer |= {"near_count": found.total, "near": _named(vectors, found)}
    if as_of is not None:
        console.line(f"as of  {pinned.description}")
    if as_json:
        console.show(answer)
    else:
        _render(console, answer, near)
    if refusal:
        raise ThresholdExceeded(refusal)


def _places(vectors: Vectors, label: str | None) -> RowIndices:
    from pomona.similarity.duplicates import rows_with_label

    places = rows_with_label(vectors, label)
    if label is not None and not len(places):
        raise UsageError(
            f"--label {label}: no such label in version {vectors.version}: `pomona show LAKE` lists the labels"
        )
    return places


def _refusal(work: PairwiseComparison, near: NearDuplicateOptions) -> str | None:
    from pomona.output.durations import format_duration
    from pomona.similarity.duplicates import MAX_ROWS_WITHOUT_CONFIRMATION

    if near.yes or near.label is not None or work.rows <= MAX_ROWS_WITHOUT_CONFIRMATION:
        return None
    return (
        f"comparing all pairs of {work.rows:,} images would take about {format_duration(work.seconds())} here: "
        "give --yes for it, --label for those of one label, or --same-bytes for neither"
    )


def _named(vectors: Vectors, found: Pairs) -> list[dict[str, Any]]:
    names = vectors.rows.select(["path", "label"])
    one, two = (names.take(places).to_pylist() for places in (found.first, found.second))
    return [
        {"cosine": cosine, "images": sorted(((a["path"], a["label"]), (b["path"], b["label"])))}
        for cosine, a, b in zip(found.cosines.tolist(), one, two, strict=True)
    ]


def _render(console: Console, answer: dict[str, Any], near: NearDuplicateOptions | None) -> None:
    groups = answer["same_bytes"]
    images = sum(len(group["images"]) for group in groups)
    console.line(f"same bytes: {images:,} images, {len(groups):,} contents")
    if groups:
        console.table(
            {"group": "group", "label": "label", "path": "path"},
            [
                {"group": number, "label": label, "path": path}
                for number, group in enumerate(groups, 1)
                for path, label in group["images"]
            ],
        )
    if near and "near" in answer:
        shown = f", the nearest {near.top:,}:" if answer["near_count"] > near.top else ""
        console.line(
            f"near duplicates: {answer['near_count']:,} pairs with a cosine of {near.at_least:g} or more{shown}"
        )
        columns = ("cosine", "label", "path", "label of the other", "the other")
        rows = []
        for pair in answer["near"]:
            (path, label), (other, other_label) = pair["images"]
            values = (f"{pair['cosine']:.6f}", label, path, other_label, other)
            rows.append(dict(zip(columns, values, strict=True)))
        if rows:
            console.table(dict(zip(columns, columns, strict=True)), rows)
