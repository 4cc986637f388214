"""Marker styles (color and shape) of labels, the same in the HTML report and in the PNG plots."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

#: Each color has a contrast of at least 3:1 on the white background and on the dark background.
COLORS = (
    "#3b82d6",
    "#d9631e",
    "#2f9a4f",
    "#dc4650",
    "#8b68e0",
    "#7d868e",
    "#d94f9c",
    "#16909f",
    "#7f8f12",
    "#b27d00",
    "#b45fd0",
    "#96654a",
)

# Name of a matplotlib marker, and the same shape as an SVG path with radius 1 around the origin.
_SHAPES = (
    ("o", "M-.9 0A.9 .9 0 1 0 .9 0 .9 .9 0 1 0-.9 0"),
    ("^", "M0-1 1 .85-1 .85Z"),
    ("s", "M-.8-.8H.8V.8H-.8Z"),
    ("P", "M-.35-1H.35V-.35H1V.35H.35V1H-.35V.35H-1V-.35H-.35Z"),
    ("D", "M0-1.1 1.1 0 0 1.1-1.1 0Z"),
    ("X", "M-.6-1.1 0-.5.6-1.1 1.1-.6.5 0 1.1.6.6 1.1 0 .5-.6 1.1-1.1.6-.5 0-1.1-.6Z"),
    ("v", "M0 1 1-.85-1-.85Z"),
    ("*", "M0-1.2.3-.4 1.15-.37.48.15.7.97 0 .5-.7.97-.48.15-1.15-.37-.3-.4Z"),
    ("<", "M-1 0 .85-1 .85 1Z"),
    ("h", "M0-1.05.9-.5.9.5 0 1.05-.9.5-.9-.5Z"),
    (">", "M1 0-.85-1-.85 1Z"),
)


@dataclass(frozen=True)
class MarkerStyle:
    """Color, matplotlib marker and SVG path of one label."""

    color: str
    marker: str
    path: str


def marker_style(index: int) -> MarkerStyle:
    """Return the marker style of the label with this index.

    Labels with consecutive indices differ in both color and shape. The combinations of 12 colors and 11 shapes repeat
    after 132 labels, one more than the classes of the Fruits-360 photographs.
    """
    return MarkerStyle(COLORS[index % len(COLORS)], *_SHAPES[index % len(_SHAPES)])


def extend_order(order: Sequence[str], labels: Iterable[str]) -> list[str]:
    """Return the labels in the order of their first appearance in the refits of a lake.

    The position of a label is the index of its marker style. It does not change if other labels come or go: `order`
    keeps labels without images, and new labels follow it, sorted by name.

    Parameters
    ----------
    order : sequence of str
        Result for the previous refit; empty for the first one.
    labels : iterable of str
        Labels of this refit.
    """
    return [*order, *sorted(set(labels).difference(order))]


def label_styles(labels: Sequence[str], order: Sequence[str] = ()) -> list[MarkerStyle]:
    """Return the marker style of each label; see `extend_order` for `order`."""
    index_of = {label: index for index, label in enumerate(extend_order(order, labels))}
    return [marker_style(index_of[label]) for label in labels]
