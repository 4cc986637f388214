"""Marker styles (color and shape) of labels, the same in the HTML report and in the PNG plots."""

from __future__ import annotations

from dataclasses import dataclass

#: Each can be seen on white and on the dark page: a contrast of 3 to 1 or more with both.
COLOURS = (
    *("#3b82d6", "#d9631e", "#2f9a4f", "#dc4650", "#8b68e0", "#7d868e"),
    *("#d94f9c", "#16909f", "#7f8f12", "#b27d00", "#b45fd0", "#96654a"),
)

# matplotlib's name of a marker, and the same as an SVG path around 0, 0 that reaches 1 far.
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
    """Colour, matplotlib's marker, and SVG path of one label."""

    colour: str
    marker: str
    path: str


def mark(place: int) -> MarkerStyle:
    """Return the mark of the label at this place.

    Colour and shape both change from one label to the next. 12 colours and 11 shapes come together again after 132
    labels: enough for the 131 classes of the fruit photographs.
    """
    return MarkerStyle(COLOURS[place % len(COLOURS)], *_SHAPES[place % len(_SHAPES)])
