"""`pomona status`: rows, quarantine, backlog, last micro-batch and last refit; `--max-age` checks freshness."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from pomona.options import AsOf, Json, LakeArgument
from streaming.counts import format_count
from streaming.errors import ThresholdExceeded, UsageError


def status(
    lake: LakeArgument,
    max_age: Annotated[
        list[str] | None,
        typer.Option(
            help="Exit with code 3 if the last row, batch or refit is older than this, such as 10m; "
            "refit=25h limits one of row, batch, refit; repeatable, later values win."
        ),
    ] = None,
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """Show rows, quarantine, backlog, last batch and last refit.

    Example: pomona status ./lake --max-age 10m --max-age refit=25h
    """
    if max_age and as_of:
        raise UsageError(
            "--max-age and --as-of cannot be combined: --max-age checks the current state"
        )
    if max_age:
        return check_freshness(lake, max_age, as_json=as_json)

    from pomona.output.console import Console
    from pomona.output.durations import format_age
    from pomona.queries.status import status as read_status

    console = Console(as_json=as_json)
    with console.status("reading the lake"):
        state = read_status(lake, as_of)
    if as_json:
        return console.print_json(state)
    if state["as_of"]:
        console.print_field("as of       ", f"{state['as_of']['resolved']}")
    reasons = state["quarantine"]
    counts = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    batch, refit = state["last_batch"], state["last_refit"]
    console.print_field(
        "rows        ", f"{state['rows']:,} in {format_count(state['labels'], 'label')}"
    )
    console.print_field("model       ", f"{state['model_id'] or 'none yet'}")
    console.print_field(
        "quarantine  ", f"{sum(reasons.values()):,}" + (f" ({counts})" if counts else "")
    )
    for name, text in _source_fields(state):
        console.print_field(f"{name:<12}", text)
    if not state["as_of"]:
        writer = state["writer"]
        running = writer and f"process {writer['pid']} on {writer['host']} since {writer['since']}"
        console.print_field("writer      ", f"{running or 'none: no process writes the lake now'}")
    if batch:
        console.print_field(
            "last batch  ",
            f"{batch['at']} ({format_age(batch['seconds_ago'])}): "
            f"{format_count(batch['images'], 'image')}, {batch['quarantined']:,} quarantined"
            + (f", {batch['images_per_second']:.1f} per second" if batch["seconds"] else ""),
        )
    if refit:
        state_of_refit = "up to date"
        if refit["stale"]:
            changes = [
                f"{refit['new_rows_since']:+,} {'row' if abs(refit['new_rows_since']) == 1 else 'rows'}"
            ] + [
                f"{refit[f'{kind}_rows_since']:,} {kind}"
                for kind in ("replaced", "removed")
                if refit[f"{kind}_rows_since"]
            ]
            state_of_refit = f"stale, the features have changed since ({', '.join(changes)})"
        console.print_field(
            "last refit  ",
            f"{refit['refit_id']} at {refit['at']}, features version "
            f"{refit['features_version']}, {format_count(refit['components'], 'component')}: {state_of_refit}",
        )
    else:
        console.print_field(
            "last refit  ", f"none yet{'' if state['as_of'] else f': pomona refit {lake}'}"
        )


def _source_fields(state: dict[str, Any]) -> list[tuple[str, str]]:
    """Describe the sources and their backlogs, as names and values of fields."""
    sources = state["sources"]
    if sources is None:  # as of a version
        return [("source", state["source"] or "none yet")]
    if not sources:
        return [("source", "none yet"), ("backlog", "unknown: no image was ingested yet")]
    if len(sources) == 1:
        return [("source", sources[0]["source"]), ("backlog", _backlog_text(sources[0]))]
    total = "unknown" if state["backlog"] is None else format_count(state["backlog"], "image")
    unlisted = sum(each["backlog"] is None for each in sources)
    more = f", without {unlisted:,} of {len(sources):,} sources" if unlisted else ""
    fields = [("source", f"{each['source']}: {_backlog_text(each)}") for each in sources]
    return [*fields, ("backlog", f"{total}{more}")]


def _backlog_text(source: dict[str, Any]) -> str:
    if source["backlog"] is None:
        return f"unknown: the source is not reachable ({source['error']})"
    if not source["backlog"]:
        return "0 images"
    backlog = format_count(source["backlog"], "image")
    return f"{backlog} ({source['missing']:,} missing, {source['changed']:,} changed)"


def check_freshness(lake: str, max_age: Sequence[str], *, as_json: bool) -> None:
    """Print the times of the last row, batch and refit; ThresholdExceeded if one is older than its `max_age`."""
    from pomona.output.console import Console
    from pomona.output.durations import format_age
    from pomona.queries.freshness import (
        MONITORED_EVENTS,
        find_overdue,
        parse_max_ages,
        read_freshness,
    )

    limits = parse_max_ages(max_age)
    console = Console(as_json=as_json)
    with console.status("reading the lake"):
        state = read_freshness(lake)
    overdue = find_overdue(state, limits)
    if as_json:
        console.print_json(state | {"overdue": overdue})
    else:
        console.print_field("rows        ", f"{state['rows']:,}")
        for event in MONITORED_EVENTS:
            at = state[f"last_{event}"]
            text = (
                at
                and f"{at} ({format_age((datetime.now(UTC) - datetime.fromisoformat(at)).total_seconds())})"
            )
            console.print(f"{f'last {event}':<12} {text or 'none yet'}")
    if overdue:
        raise ThresholdExceeded(
            f"{state['lake']}: {'; '.join(item['message'] for item in overdue)}"
        )
