"""Print results and progress: a status line on a terminal, plain lines otherwise, JSON on request."""

from __future__ import annotations

import json
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.console import Console as RichConsole
from rich.console import ConsoleOptions
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from pomona.output.colors import colored
from pomona.output.durations import format_elapsed
from pomona.output.tables import TableLayout, build_table, shorten_middle, shorten_words
from streaming.counts import format_count
from streaming.sanitize import display_locations, escape_json, escape_text, message_line
from streaming.signals import is_stopping

#: Maximum number of items that text output lists; --json lists all.
MAX_LISTED = 20
_SHORTEST_WORD = 12  # cells of a word of the status line; below, the line is cut at its end
_UNLIMITED = 1_000_000  # cells; longer than any line of a table

if TYPE_CHECKING:  # these modules import Spark, which some commands do not need
    from streaming.featurize.results import BatchResult
    from streaming.ingest.settings import IngestSummary


def _display_values(value: Any) -> Any:
    """Convert each string of a JSON document that is a location, and NaN and infinity, which JSON lacks, to null."""
    if isinstance(value, str):
        return display_locations(value) if value.startswith(("file:/", "s3a://")) else value
    if isinstance(value, Mapping):
        return {_display_values(key): _display_values(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_display_values(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


class _StatusLine:
    """A spinner, what is being done, and since when, in one line of the terminal."""

    def __init__(self, text: str | Callable[[], str]) -> None:
        self._spinner = Spinner("dots", style="status.spinner")
        self.update(text)

    def update(self, text: str | Callable[[], str]) -> None:
        """Show another text; the elapsed time restarts. A function is called at each refresh."""
        self.text, self._since = text, time.monotonic()

    def __rich_console__(self, _: RichConsole, options: ConsoleOptions) -> Iterator[Text]:
        yield self.render(options.max_width)

    def render(self, width: int) -> Text:
        """Return the line; if it has more than `width` cells, its longest word, such as a path, is shortened."""
        frame = str(self._spinner.render(time.monotonic()))
        text = self.text if isinstance(self.text, str) else self.text()
        if is_stopping():
            stage = text if text.startswith("stopping") else "stopping"
            text = f"{stage}; Ctrl-C again to end at once"
        seconds = int(time.monotonic() - self._since)
        elapsed = f" ({format_elapsed(seconds)})" if seconds and isinstance(self.text, str) else ""
        text = escape_text(display_locations(text))
        excess = cell_len(f"{frame} {text}{elapsed}") - width
        if excess > 0:
            longest = max(text.split(" "), key=cell_len)
            room = max(cell_len(longest) - excess, _SHORTEST_WORD)
            text = text.replace(longest, shorten_middle(longest, room), 1)
        line = Text.assemble(frame, " ", text, elapsed)
        line.no_wrap, line.overflow = True, "ellipsis"
        return line


class Console:
    """Print results to standard output and progress to standard error.

    Without ``--json``, plain lines go to standard output too. Locations are printed as paths and ``s3://`` URIs.
    """

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self._out = _rich_console(sys.stdout)
        self._progress = _rich_console(sys.stderr, stderr=True)
        self._status: _StatusLine | None = None
        self._live: Live | None = None
        self._lock = threading.RLock()  # the demo prints in two threads
        self._reported = set[str]()  # stages printed without a terminal

    def print(self, text: str = "", *, style: str = "") -> None:
        """Print one line of text; with ``--json``, to standard error."""
        out = self._progress if self.as_json else self._out
        with self._paused():
            out.print(escape_text(display_locations(text)), markup=False, style=style or None)

    def print_warning(self, text: str) -> None:
        """Print one line, on a terminal in yellow."""
        self.print(text, style="yellow")

    def print_json(self, result: Any) -> None:
        """Print a result as JSON."""
        text = json.dumps(
            _display_values(result), indent=2, ensure_ascii=False, allow_nan=False, default=str
        )
        with self._paused():
            print(escape_json(text))

    def write(self, text: str) -> None:
        """Print lines of a result unchanged; on a terminal, with control characters escaped."""
        if self._out.is_terminal:
            text = "\n".join(map(escape_text, text.split("\n")))
        if self._live:
            self._live.stop()  # for good: the text may end within a line
            self._live = None
        print(text, end="")

    def print_table(
        self,
        columns: Mapping[str, str],
        rows: list[dict[str, Any]],
        layout: TableLayout | None = None,
        *,
        raw: bool = False,
    ) -> None:
        """Print rows as a table; `columns` maps keys to headings. With `raw`, locations stay as they are.

        On a terminal, the table has at most its width; the columns that are left out are named below it.
        """
        headings = {key: escape_text(text) for key, text in columns.items()}
        texts: list[dict[str, str]] = []
        for row in rows:
            cells = {key: _cell(row[key]) for key in columns}
            shown = cells if raw else {k: display_locations(cell) for k, cell in cells.items()}
            texts.append({key: escape_text(text) for key, text in shown.items()})
        width = self._out.width if self._out.is_terminal else None
        table, left_out = build_table(headings, texts, layout or TableLayout(), width)
        with self._paused():
            self._out.print(table)
            if left_out:
                names = ", ".join(left_out)
                self._out.print(
                    f"not shown, the terminal is too narrow: {names}", markup=False, soft_wrap=False
                )

    def print_field(self, name: str, value: str) -> None:
        """Print a padded name and a value; on a terminal, the value is wrapped between words."""
        if self.as_json or not self._out.is_terminal:
            return self.print(f"{name} {value}")
        room = max(self._out.width - len(name) - 1, 1)
        text = Text(shorten_words(escape_text(display_locations(value)), room))
        first, *rest = text.wrap(self._out, room, overflow="ellipsis")
        self.print(f"{name} {first.plain.rstrip()}")
        for line in rest:
            self.print(f"{' ' * len(name)} {line.plain.rstrip()}")
        return None

    @contextmanager
    def status(self, text: str) -> Iterator[Callable[[str], None]]:
        """Show a status line with the elapsed time on a terminal; yield a function that updates its text."""
        if not (self._progress.is_terminal and self._progress.is_interactive):
            yield lambda text: None
            return
        self._status = _StatusLine(text)
        # Not redirected: with the results in a pipe, they would be printed on the terminal.
        self._live = live = Live(
            get_renderable=lambda: self._status or "",
            console=self._progress,
            refresh_per_second=8,
            transient=True,
            redirect_stdout=False,
        )
        try:
            with live:
                yield self._status.update
        finally:
            self._status = self._live = None

    @contextmanager
    def _paused(self) -> Iterator[None]:
        """Erase the status line while the block prints."""
        with self._lock:
            live = self._live
            if live is None:
                yield
                return
            live.stop()
            try:
                yield
            finally:
                live.start()

    def report_stage(
        self, text: str, *, shown: str | Callable[[], str] = "", plain: bool = True
    ) -> None:
        """Report what is being done: in the status line of a terminal, or as a plain line, each text once.

        Parameters
        ----------
        text : str
        shown : str or callable
            Text for the status line; a function is called at each refresh.
        plain : bool
            Print it without a terminal too.
        """
        if self._status:
            self._status.update(shown or text)
        elif plain and text not in self._reported:
            self._reported.add(text)
            self.print(text)

    def report_batch(self, result: BatchResult, summary: IngestSummary) -> None:
        """Report a micro-batch: in the status line of a terminal, or as a plain line."""
        if result.written == 0:
            return
        rate = result.images_per_second or 0.0
        name = "sweep" if result.batch.query is None else f"micro-batch {result.batch.number}"
        done = format_count(summary.images, "image")
        text = f"{done} done, {rate:.1f} per second, {summary.waiting:,} waiting"
        if self._status:
            self._status.update(text)
        else:
            images = format_count(result.written, "image")
            self.print(f"{name}: {images} in {result.seconds:.1f} s; {text}")


def _rich_console(stream: IO[str], *, stderr: bool = False) -> RichConsole:
    """Return a console for a standard stream; colors only on a terminal, and not with NO_COLOR."""
    console = RichConsole(
        stderr=stderr,
        force_terminal=stream.isatty(),  # ignores FORCE_COLOR in files and pipes
        color_system=None if os.environ.get("NO_COLOR") else "auto",
        highlight=False,
        soft_wrap=True,
        emoji=False,  # print :apple: literally
    )
    if not console.is_terminal:
        console.width = _UNLIMITED  # do not wrap lines in files and pipes
    return console


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "" if value is None else str(value)


def print_error(message: str) -> None:
    """Print an error as one line on standard error; on a terminal in red."""
    line = f"pomona: {message_line(display_locations(' '.join(message.split())))}"
    print(colored(line, "red", sys.stderr), file=sys.stderr)
