"""What a person sees: progress on a terminal, plain lines where there is none, numbers as people write them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.status import Status
from rich.table import Table
from rich.text import Text

from streaming.outcomes import Outcome
from streaming.sanitize import visible, visible_json

if TYPE_CHECKING:  # these bring Spark with them, and some commands do without
    from streaming.featurize.results import BatchResult
    from streaming.ingest.settings import IngestSummary


class Screen:
    """Results go to standard output; with ``--json`` they alone do, and progress goes to standard error.

    Parameters
    ----------
    as_json : bool
    """

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self._out = Console(highlight=False, soft_wrap=True, emoji=False)  # :apple: is a name
        if not self._out.is_terminal:
            self._out.width = 2000  # a file has no width; do not fold what a script may read
        self._progress = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)
        self._status: Status | None = None

    def line(self, text: str = "") -> None:
        """Say something that is no result, in one line."""
        (self._progress if self.as_json else self._out).print(visible(text), markup=False)

    def show(self, answer: Any) -> None:
        """Print a result as JSON."""
        print(visible_json(json.dumps(answer, indent=2, ensure_ascii=False, default=str)))

    def write(self, text: str) -> None:
        """Print lines of a result as they are; on a terminal, without what it would obey."""
        if self._out.is_terminal:
            text = "\n".join(map(visible, text.split("\n")))
        print(text, end="")

    def table(self, columns: Mapping[str, str], rows: list[dict[str, Any]]) -> None:
        """Print rows; `columns` are heading by key."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in columns.values():
            table.add_column(Text(visible(heading)), overflow="fold")  # [x] is no markup here
        for row in rows:
            table.add_row(*(Text(visible(_cell(row[key]))) for key in columns))
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
    print(f"pomona: {visible(' '.join(message.split()))}", file=sys.stderr)


def summary_lines(summary: IngestSummary) -> list[str]:
    """What an ingestion did, for people."""
    good, bad = summary.outcomes[Outcome.FEATURES], summary.outcomes[Outcome.QUARANTINE]
    rate = f" ({(good + bad) / summary.busy:.1f} a second)" if good + bad else ""
    first = f"{good:,} images featurized, {bad:,} quarantined in {summary.busy:.1f} s{rate}"
    lines = [first + (f", {summary.replaced:,} of them replaced" if summary.replaced else "")]
    if summary.reasons:
        told = ", ".join(f"{count} {reason}" for reason, count in sorted(summary.reasons.items()))
        lines.append(f"quarantined: {told}")
    if summary.removed:
        lines.append(f"{summary.removed:,} rows removed: their images are gone")
    if summary.withheld:
        lines.append(f"{summary.withheld:,} rows kept, though their images are gone")
    if summary.outcomes[Outcome.GONE]:
        lines.append(f"{summary.outcomes[Outcome.GONE]} images were deleted before they were read")
    retries = {name: count for name, count in sorted(summary.retries.items()) if count}
    if retries:
        told = ", ".join(f"{count:,} of {name}" for name, count in retries.items())
        lines.append(f"tried again after a fault: {told}")
    if summary.ignored:
        lines.append(f"{summary.ignored:,} files ignored: no image by their name")
    if summary.waiting:
        lines.append(f"{summary.waiting:,} images wait for the next run")
    return lines


def summary_json(summary: IngestSummary) -> dict[str, Any]:
    """The same, for a script."""
    return {
        "featurized": summary.outcomes[Outcome.FEATURES],
        "quarantined": summary.outcomes[Outcome.QUARANTINE],
        "reasons": dict(summary.reasons),
        "replaced": summary.replaced,
        "removed": summary.removed,
        "withheld": summary.withheld,
        "gone": summary.outcomes[Outcome.GONE],
        "ignored": summary.ignored,
        "waiting": summary.waiting,
        "retries": {name: summary.retries[name] for name in ("reads", "listings", "tables")},
        "batches": summary.batches,
        "seconds": round(summary.seconds, 3),
        "busy_seconds": round(summary.busy, 3),
        "first_trigger_at": round(summary.first_trigger_at, 3),
        "last_row_at": round(summary.last_row_at, 3),
    }
