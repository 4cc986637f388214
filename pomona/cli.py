"""The command line interface `pomona`.

Exit codes: 0 success; 1 failure, with a one-line explanation on stderr; 2 usage error; 3 a monitored threshold was
exceeded.
"""

from __future__ import annotations

import os
import sys

if "PYSPARK_GATEWAY_PORT" not in os.environ:  # not under spark-submit
    # Until Pomona's own rules are imported, only the standard library and Pomona are on the search path.
    _inherited, _library = sys.path[:], os.path.dirname(os.__file__)
    sys.path[:] = [
        _library,
        os.path.join(_library, "lib-dynload"),
        os.path.dirname(os.path.dirname(__file__)),
    ]
    from streaming.signals import exit_on_signals

    _previous_handlers = exit_on_signals()  # Ctrl-C prints no traceback during the imports below

    from streaming.spark.local_environment import search_path

    sys.path[:] = search_path(_inherited)

import io
import threading
from contextlib import suppress
from typing import Annotated, Any

import typer

from pomona.cloud.cli import app as cloud_app
from pomona.commands.diff import diff
from pomona.commands.duplicates import duplicates
from pomona.commands.export import export
from pomona.commands.forget import forget
from pomona.commands.history import history
from pomona.commands.ingest import ingest
from pomona.commands.prune import prune
from pomona.commands.quarantine import quarantine
from pomona.commands.query import query
from pomona.commands.reconcile import reconcile
from pomona.commands.refit import refit
from pomona.commands.report import report
from pomona.commands.show import show
from pomona.commands.similar import similar
from pomona.commands.status import status
from pomona.commands.stop import stop
from pomona.commands.tag import tag
from pomona.commands.upgrade import upgrade
from pomona.demo.command import demo
from streaming import __version__
from streaming.errors import ClosedPipeError, OutputError, PomonaError
from streaming.signals import (
    end_status_line,
    exit_on_signals,
    interrupt_on_signals,
    replaces_interrupt,
    restore_signals,
)
from streaming.spark.local_environment import under_spark_submit

if not under_spark_submit():
    restore_signals(_previous_handlers)

# ClickException, which typer does not export.
_ClickError: type[Exception] = typer.BadParameter.__mro__[2]

app = typer.Typer(
    help="Extract features from arriving images into a Delta table, and refit a PCA on it.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["--help", "-h"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (
    demo,
    ingest,
    refit,
    status,
    quarantine,
    history,
    diff,
    show,
    tag,
    query,
    similar,
    duplicates,
    export,
    report,
    prune,
    forget,
    reconcile,
    stop,
    upgrade,
):
    app.command()(command)
app.add_typer(cloud_app, name="cloud")


def _print_version(requested: bool) -> None:
    if requested:
        print(f"pomona {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    del version


def main() -> None:
    """Run the command; errors are printed as one line, without a traceback.

    SIGINT, SIGTERM, SIGHUP and SIGQUIT end it without a traceback too, with exit code 128 plus their number.
    """
    exit_on_signals()  # also while the interpreter ends
    _use_utf8()
    from pomona.output.redacting_stream import redact_output

    with redact_output(), interrupt_on_signals() as received:
        status: int | str | None = 0
        try:
            status = _run()
        except KeyboardInterrupt:
            status = 130
        except BaseException:
            if not received:
                raise
            status = 1  # a consequence of the signal, such as a package that was imported in part
        if received and status:
            status = 128 + received[0]
        try:
            sys.stdout.flush()
        except OutputError as error:
            status = status or _report(error)
        except KeyboardInterrupt:
            status = 130
        if received or status == 130:
            _silence_spark()
            end_status_line()
    sys.exit(status)


def _silence_spark() -> None:
    """Switch off the log of Spark, which would contain the stacks of the jobs that its end interrupts."""
    pyspark = sys.modules.get("pyspark")
    context = pyspark and pyspark.SparkContext._active_spark_context
    if context is None:
        return

    def switch_off() -> None:
        with suppress(Exception):  # Java has ended
            context.setLogLevel("OFF")

    # Another thread has another connection to Java: the call of this one may have been interrupted.
    thread = threading.Thread(target=switch_off, daemon=True)
    thread.start()
    thread.join(2)


def _run() -> int | str | None:
    try:
        result = app(standalone_mode=False)
    except SystemExit as stop:
        return stop.code
    except typer.Abort:
        # A prompt has no line end yet: the terminal echoes Ctrl-C and Ctrl-D behind it.
        print("\nAborted!" if sys.stdin.isatty() else "Aborted!", file=sys.stderr)
        return 1
    except _ClickError as error:
        return _report_usage(error)
    except Exception as error:
        if replaces_interrupt(error):
            raise KeyboardInterrupt from error
        if isinstance(error, PomonaError):
            return _report(error)
        from streaming.spark.resource_exhaustion import explain_exhaustion

        # Java may end at any time: the exceptions of Py4J are then many, and their tracebacks long.
        if not (explained := explain_exhaustion(error)):
            raise
        return _report(explained)
    return result if isinstance(result, int) else 0  # of typer.Exit


def _report_usage(error: Any) -> int:
    """Print the usage of the command, and its error; on a terminal in red."""
    from pomona.output.colors import colored

    text = io.StringIO()
    error.show(file=text)
    usage, label, message = text.getvalue().rpartition("Error: ")
    message = message.rstrip("\n")
    line = colored(label + message, "red", sys.stderr) if label else message  # or it is the help
    print(usage + line, file=sys.stderr)
    return int(error.exit_code)


def _report(error: PomonaError) -> int:
    """Print an error, and return its exit code; `pomona history LAKE | head` ends silently."""
    from pomona.output.console import print_error

    if not isinstance(error, ClosedPipeError):
        print_error(str(error))
    return error.exit_status


def _use_utf8() -> None:
    """Restart the interpreter in UTF-8 mode if the locale has another encoding, in which names cannot be read."""
    if sys.getfilesystemencoding() != "utf-8" and not under_spark_submit():
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


if __name__ == "__main__":
    main()
