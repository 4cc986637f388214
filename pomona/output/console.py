"""Print results and progress: a status line on a terminal, plain lines otherwise, JSON on request."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console as RichConsole
from rich.status import Status
from rich.table import Table
from rich.text import Text

from streaming.outcomes import Outcome
from streaming.sanitize import escape_text, visible_json

if TYPE_CHECKING:  # these bring Spark with them, and some commands do without
    from streaming.featurize.results import BatchResult
    from streaming.ingest.settings import IngestSummary


class Console:
    """Results go to standard output; with ``--json`` they alone do, and progress goes to standard error.

    Parameters
    ----------
    as_json : bool
    """

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self._out = RichConsole(highlight=False, soft_wrap=True, emoji=False)  # :apple: is a name
        if not self._out.is_terminal:
            self._out.width = 2000  # a file has no width; do not fold what a script may read
        self._progress = RichConsole(stderr=True, highlight=False, soft_wrap=True, emoji=False)
        self._status: Status | None = None

    def line(self, text: str = "") -> None:
        """Say something that is no result, in one line."""
        (self._progress if self.as_json else self._out).print(escape_text(text), markup=False)

    def show(self, answer: Any) -> None:
        """Print a result as JSON."""
        print(visible_json(json.dumps(answer, indent=2, ensure_ascii=False, default=str)))

    def write(self, text: str) -> None:
        """Print lines of a result as they are; on a terminal, without what it would obey."""
        if self._out.is_terminal:
            text = "\n".join(map(escape_text, text.split("\n")))
        print(text, end="")

    def table(self, columns: Mapping[str, str], rows: list[dict[str, Any]]) -> None:
        """Print rows; `columns` are heading by key."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in columns.values():
            table.add_column(Text(escape_text(heading)), overflow="fold")  # [x] is no markup here
        for row in rows:
            table.add_row(*(Text(escape_text(_cell(row[key]))) for key in columns))
        self._out.print(table)

    @contextmanager
    def working(self, text: str) -> Iterator[Callable[[str], None]]:
        """Show on a terminal that something is under way; what is yielded says how far."""
        if not self._progress.is_terminal:
            yield lambda how_far: None
            return
        with self._progress.status(text) as self._status:
            yield self._status.update
        self._status = None

    def batch(self, result: BatchResult, summary: IngestSummary) -> None:
        """Tell of a micro-batch: in the terminal's progress, or as a plain line."""
        if result.written == 0:
            return
        done = summary.outcomes[Outcome.FEATURES] + summary.outcomes[Outcome.QUARANTINE]
        rate = result.written / result.seconds
        name = "sweep" if result.batch.query is None else f"micro-batch {result.batch.number}"
        text = f"{done:,} images done, {rate:.1f} a second, {summary.waiting:,} waiting"
        if self._status:
            self._status.update(text)
        else:
            self.line(f"{name}: {result.written:,} images in {result.seconds:.1f} s; {text}")


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "" if value is None else str(value)


def fail(message: str) -> None:
    """Say in one line what went wrong."""
    print(f"pomona: {escape_text(' '.join(message.split()))}", file=sys.stderr)
