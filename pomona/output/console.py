"""Print results and progress: a status line on a terminal, plain lines otherwise, JSON on request."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console as RichConsole
from rich.status import Status
from rich.table import Table
from rich.text import Text

from streaming.outcomes import Outcome
from streaming.sanitize import escape_json, escape_text

#: Maximum number of items that text output lists; --json lists all.
MAX_LISTED = 20
# Locations as Spark writes them, with the scheme at the start of a word.
_FILE, _S3A = re.compile(r"(?<![\w/])file:/(?!/)"), re.compile(r"(?<![\w/])s3a://")

if TYPE_CHECKING:  # these modules import Spark, which some commands do not need
    from streaming.featurize.results import BatchResult
    from streaming.ingest.settings import IngestSummary


def display_locations(text: str) -> str:
    """Replace the locations in a text with the form that other tools accept: local paths and ``s3://`` URIs.

    Examples
    --------
    >>> display_locations("2 rows in file:/data/lake, 3 in s3a://bucket/lake")
    '2 rows in /data/lake, 3 in s3://bucket/lake'
    """
    return _S3A.sub("s3://", _FILE.sub("/", text))


def _display_values(value: Any) -> Any:
    """Convert each string of a JSON document that is a location; other strings stay as they are."""
    if isinstance(value, str):
        return display_locations(value) if value.startswith(("file:/", "s3a://")) else value
    if isinstance(value, Mapping):
        return {_display_values(key): _display_values(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_display_values(item) for item in value]
    return value


class Console:
    """Print results to standard output and progress to standard error.

    Without ``--json``, plain lines go to standard output too. Locations are printed as paths and ``s3://`` URIs.
    """

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self._out = RichConsole(
            force_terminal=sys.stdout.isatty(),  # ignores FORCE_COLOR in files and pipes
            highlight=False,
            soft_wrap=True,
            emoji=False,  # print :apple: literally
        )
        if not self._out.is_terminal:
            self._out.width = 2000  # do not wrap lines in files and pipes
        self._progress = RichConsole(
            stderr=True,
            force_terminal=sys.stderr.isatty(),
            highlight=False,
            soft_wrap=True,
            emoji=False,
        )
        self._status: Status | None = None

    def print(self, text: str = "") -> None:
        """Print one line of text; with ``--json``, to standard error."""
        out = self._progress if self.as_json else self._out
        out.print(escape_text(display_locations(text)), markup=False)

    def print_json(self, result: Any) -> None:
        """Print a result as JSON."""
        document = _display_values(result)
        print(escape_json(json.dumps(document, indent=2, ensure_ascii=False, default=str)))

    def write(self, text: str) -> None:
        """Print lines of a result unchanged; on a terminal, with control characters escaped."""
        if self._out.is_terminal:
            text = "\n".join(map(escape_text, text.split("\n")))
        print(text, end="")

    def print_table(
        self, columns: Mapping[str, str], rows: list[dict[str, Any]], *, raw: bool = False
    ) -> None:
        """Print rows as a table; `columns` maps keys to headings. With `raw`, locations stay as they are."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in columns.values():
            table.add_column(Text(escape_text(heading)), overflow="fold")  # Text: [x] is not markup
        for row in rows:
            cells = [_cell(row[key]) for key in columns]
            texts = cells if raw else map(display_locations, cells)
            table.add_row(*(Text(escape_text(text)) for text in texts))
        self._out.print(table)

    @contextmanager
    def status(self, text: str) -> Iterator[Callable[[str], None]]:
        """Show a status line on a terminal; yield a function that updates it."""
        if not self._progress.is_terminal:
            yield lambda text: None
            return
        with self._progress.status(text) as self._status:
            yield self._status.update
        self._status = None

    def report_batch(self, result: BatchResult, summary: IngestSummary) -> None:
        """Report a micro-batch: in the status line of a terminal, or as a plain line."""
        if result.written == 0:
            return
        done = summary.outcomes[Outcome.FEATURES] + summary.outcomes[Outcome.QUARANTINE]
        rate = result.written / result.seconds
        name = "sweep" if result.batch.query is None else f"micro-batch {result.batch.number}"
        text = f"{done:,} images done, {rate:.1f} a second, {summary.waiting:,} waiting"
        if self._status:
            self._status.update(text)
        else:
            self.print(f"{name}: {result.written:,} images in {result.seconds:.1f} s; {text}")


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "" if value is None else str(value)


def print_error(message: str) -> None:
    """Print an error as one line on standard error."""
    print(f"pomona: {escape_text(display_locations(' '.join(message.split())))}", file=sys.stderr)
