"""Escape formulas in CSV text (CSV injection).

Excel, LibreOffice and others evaluate a cell that starts with ``=``, ``+``, ``-`` or ``@``, quoted or not, and a
formula can start programs or send data. Labels are folder names and may contain anything. Such cells get a leading
apostrophe, which spreadsheets hide.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

# If the spreadsheet's delimiter is not the comma (in most of Europe: the semicolon), a cell may start in the middle of
# ours, even within quotes. With Japanese or Chinese locales, the fullwidth forms of these characters count as well.
# Blanks before the formula are skipped, but not those that start a cell: the apostrophe follows the last of them.
_FORMULA_START = (
    r"(^|[;|\t\r\n])"
    r"([\x00-\x08\x0b\x0c\x0e-\x20\x{00A0}\x{FEFF}]*[=+\-@\x{FF1D}\x{FF0B}\x{FF0D}\x{FF20}])"
)


def escape_formulas(texts: pa.Array) -> pa.Array:
    """Insert an apostrophe before each character that a spreadsheet would read as the start of a formula."""
    return pc.replace_substring_regex(texts, _FORMULA_START, r"\1'\2")
