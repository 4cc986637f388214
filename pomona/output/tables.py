"""Fit tables to the width of a terminal: shorten paths in the middle, wrap texts, leave out columns."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

_GAP = 2  # cells between two columns
# Cells to which a column is shortened before, and after, others are left out.
_COMFORTABLE, _MINIMUM = 20, 6


@dataclass(frozen=True)
class TableLayout:
    """How the columns of a table, by key, give way if the terminal is too narrow.

    Parameters
    ----------
    shorten : collection of str
        Columns of paths and names, shortened in the middle.
    wrap : collection of str
        Columns of text, wrapped between words.
    optional : sequence of str
        Columns that may be left out, the least important first.
    """

    shorten: Collection[str] = ()
    wrap: Collection[str] = ()
    optional: Sequence[str] = ()


def shorten_middle(text: str, width: int) -> str:
    """Replace the middle of a text by an ellipsis if it has more than `width` cells; its end gets two thirds.

    Examples
    --------
    >>> shorten_middle("/data/fruits/Kiwi/0_100.jpg", 16)
    '/data…/0_100.jpg'
    """
    if cell_len(text) <= width:
        return text
    head = (width - 1) // 3
    tail = max(0, width - 1 - head)
    return f"{_take(text, head)}…{_take(text[::-1], tail)[::-1]}"


def _take(text: str, width: int) -> str:
    """Return the longest beginning of a text with at most `width` cells."""
    cells = 0
    for index, character in enumerate(text):
        cells += cell_len(character)
        if cells > width:
            return text[:index]
    return text


def build_table(
    headings: dict[str, str], rows: list[dict[str, str]], layout: TableLayout, width: int | None
) -> tuple[Table, list[str]]:
    """Build a table of at most `width` cells; None: of any width.

    Returns
    -------
    table : rich.table.Table
    left_out : list of str
        Headings of the columns for which there is no room.
    """
    natural = {
        key: max(map(cell_len, [text, *(row[key] for row in rows)]))
        for key, text in headings.items()
    }
    widths = natural if width is None else fit_widths(natural, layout, width)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for key, cells in widths.items():
        heading = Text(shorten_middle(headings[key], cells))  # Text: [x] is not markup
        table.add_column(heading, width=cells, no_wrap=key not in layout.wrap, overflow="ellipsis")
    for row in rows:
        table.add_row(
            *(
                Text(
                    shorten_words(row[key], cells)
                    if key in layout.wrap
                    else shorten_middle(row[key], cells)
                )
                for key, cells in widths.items()
            )
        )
    return table, [text for key, text in headings.items() if key not in widths]


def shorten_words(text: str, width: int) -> str:
    """Shorten each word of a text to `width` cells, in its middle."""
    return " ".join(shorten_middle(word, width) for word in text.split(" "))


def fit_widths(natural: dict[str, int], layout: TableLayout, width: int) -> dict[str, int]:
    """Return the width of each column that is shown."""
    flexible = {*layout.shorten, *layout.wrap}
    shown = dict(natural)

    def smallest(minimum: int) -> int:
        cells = (min(n, minimum) if key in flexible else n for key, n in shown.items())
        return sum(cells) + _GAP * (len(shown) - 1)

    for key in layout.optional:
        if smallest(_COMFORTABLE) <= width or len(shown) == 1:
            break
        shown.pop(key, None)
    if smallest(_MINIMUM) > width:  # as a last resort, all columns are shortened
        flexible = {*shown}
    fixed = sum(n for key, n in shown.items() if key not in flexible)
    room = width - fixed - _GAP * (len(shown) - 1)
    names = sorted((key for key in shown if key in flexible), key=shown.__getitem__)
    # The narrowest first: what it does not need is left for the others.
    for index, key in enumerate(names):
        shown[key] = min(shown[key], max(1, room // (len(names) - index)))
        room -= shown[key]
    return shown
