"""The command `pomona`: words in, a few lines out, and an exit status that a script can trust.

0 it worked · 1 it failed, one line says why and what to do · 2 the words were wrong · 3 a limit was passed.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from pomona.arguments import Json, LakeArgument, RemoveLimit, SourceArgument
from pomona.asking_commands import app as asking_commands
from pomona.cloud_commands import app as cloud_commands
from pomona.keeping_commands import app as keeping_commands
from pomona.mending_commands import app as mending_commands
from pomona.question_commands import app as question_commands
from pomona.refit_commands import app as refit_commands
from streaming import __version__
from streaming.errors import PomonaError

app = typer.Typer(
    help="Images that keep arriving become a Delta table of features, and a fresh PCA of it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)
app.add_typer(asking_commands)
app.add_typer(keeping_commands)
app.add_typer(mending_commands)
app.add_typer(cloud_commands, name="cloud")
app.add_typer(question_commands)
app.add_typer(refit_commands)


def _version(asked: bool) -> None:
    if asked:
        print(f"pomona {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    del version


@app.command()
def ingest(
    source: SourceArgument,
    lake: LakeArgument,
    once: Annotated[bool, typer.Option("--once", help="Take what is there, and stop.")] = False,
    trigger: Annotated[float, typer.Option(help="Seconds between two looks at the source.")] = 5.0,
    max_files_per_trigger: Annotated[
        int | None, typer.Option(help="Images in one micro-batch (10,000 a core unless set).")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(help="imagenet (default), random, or a Keras .h5 as path or URI."),
    ] = None,
    engine: Annotated[
        str | None, typer.Option(help="onnxruntime, openvino or tensorflow (by the precision).")
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(help="float32 or bfloat16 (the lake's; float32 in a new one)."),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, or cuda for the workers' GPUs.")] = "cpu",
    settle: Annotated[
        float, typer.Option(help="Seconds unchanged before a file is called broken.")
    ] = 2.0,
    sweep_every: Annotated[
        float, typer.Option(help="Seconds between two searches for what the stream passes over.")
    ] = 600.0,
    mirror: Annotated[
        bool, typer.Option("--mirror", help="Remove the rows of images that are removed.")
    ] = False,
    remove_limit: RemoveLimit = 0.5,
    patience: Annotated[
        float, typer.Option(help="Seconds for which a read that fails is tried again.")
    ] = 120.0,
    max_pixels: Annotated[int, typer.Option(help="Width times height that is decoded at most.")] = (
        100_000_000
    ),
    one_by_one_above: Annotated[
        int, typer.Option(help="Bytes above which a file is read alone, none ahead (32 MB).")
    ] = 33_554_432,
    max_cpu_seconds: Annotated[
        float, typer.Option(help="Of the processor's time that decoding one image may take.")
    ] = 60.0,
    max_failure_rate: Annotated[
        float, typer.Option(help="Share of the last 200 images or more that may fail, 0 to 1.")
    ] = 0.5,
    as_json: Json = False,
) -> None:
    """Turn the images below SOURCE into rows of LAKE, as they arrive; Ctrl-C stops it cleanly.

    Example: pomona ingest ~/Pictures/fruits ./lake --once
    """
    from pomona.output.console import Screen, summary_json, summary_lines
    from streaming.ingest.pipeline import ingest as run
    from streaming.ingest.settings import IngestSettings

    settings = IngestSettings(
        once=once,
        trigger=trigger,
        max_files_per_trigger=max_files_per_trigger,
        weights=weights,
        engine=engine,
        precision=precision,
        device=device,
        settle=settle,
        sweep_every=sweep_every,
        mirror=mirror,
        remove_limit=remove_limit,
        patience=patience,
        max_pixels=max_pixels,
        one_by_one_above=one_by_one_above,
        max_cpu_seconds=max_cpu_seconds,
        max_failure_rate=max_failure_rate,
    )
    screen = Screen(as_json=as_json)
    with screen.working("starting"):
        summary = run(source, lake, settings, screen.batch)
    if as_json:
        screen.show(summary_json(summary))
        return
    for line in summary_lines(summary):
        screen.line(line)
    if summary.reasons:
        screen.line(f"why: pomona quarantine {lake}")


def main() -> None:
    """Run the command; a mistake of the user's is one line, never a traceback."""
    from pomona.output.redacting_stream import discreetly

    with discreetly():
        try:
            app()
        except PomonaError as error:
            from pomona.output.console import fail

            fail(str(error))
            sys.exit(error.exit_status)
        except BrokenPipeError:  # `pomona history LAKE | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)


if __name__ == "__main__":
    main()
