"""Escape formulas in CSV text (CSV injection).

Excel, LibreOffice and others evaluate a cell that starts with ``=``, ``+``, ``-`` or ``@``, quoted or not, and a
formula can start programs or send data. Labels are folder names and may contain anything. Such cells get a leading
apostrophe, which spreadsheets hide.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

# Where another character than the comma parts the cells (most of Europe: the semicolon), a cell may begin in the midst
# of ours, even within quotes. The wide forms are taken for the narrow ones where Japanese or Chinese is set.
_BEGINS = r"(^|[;|\t\r\n])([\s\x00-\x20\x{00A0}\x{FEFF}]*[=+\-@\x{FF1D}\x{FF0B}\x{FF0D}\x{FF20}])"


def escape_formulas(texts: pa.Array) -> pa.Array:
    """Put an apostrophe where a spreadsheet would see the beginning of a formula.

    Parameters
    ----------
    texts : pyarrow.Array of string

    Returns
    -------
    pyarrow.Array of string
        The same, but for such texts.
    """
    return pc.replace_substring_regex(texts, _BEGINS, r"\1'\2")
