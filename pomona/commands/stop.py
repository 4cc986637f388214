"""`pomona stop`: stop the process that writes a lake."""

from __future__ import annotations

import time
from dataclasses import asdict

from pomona.options import Json, LakeArgument


def stop(lake: LakeArgument, as_json: Json = False) -> None:
    """Stop the process that writes LAKE, and wait for it.

    It waits up to 10 minutes.

    Example: pomona stop ./lake
    """
    from pomona.output.console import Console
    from streaming.lake.layout import Lake
    from streaming.maintenance.stop import stop as stop_writer
    from streaming.spark.errors import translate_errors

    console, at, started = Console(as_json=as_json), Lake.at(lake), time.monotonic()
    with translate_errors(), console.status("waiting for the process to stop"):
        at.ensure_writable_location()
        holder = stop_writer(at)
    seconds = time.monotonic() - started
    if as_json:
        owner = asdict(holder) if holder else {}
        console.print_json({"stopped": bool(holder), "seconds": round(seconds, 3)} | owner)
    elif holder:
        console.print(f"stopped after {seconds:.1f} s: {holder}")
    else:
        console.print(f"nothing to stop: no process writes {lake}")
