"""Render `BENCHMARKS.md` from the results and a template."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median

from benchmarks.report import extrapolation
from benchmarks.report.targets import ABSENT, Sections, targets
from benchmarks.sections import idle
from benchmarks.sections.results import Section, median_of, rate

_TEMPLATE = Path(__file__).with_name("template.md")
_NOT_MEASURED = "Not measured yet."


def render(sections: Sections) -> str:
    """Return the whole document; sections without results are marked as not measured."""
    first_row = sections.get("first_row", {})
    return _TEMPLATE.read_text().format(
        about=_about(sections),
        targets=_targets(sections),
        featurize=_featurize(sections.get("featurize")),
        refit=_refit(sections.get("refit")),
        components=sections.get("refit", {}).get("components", 50),
        first_row=_first_row(first_row),
        first_row_rows=first_row.get("rows", "some"),
        latency=_latency(sections.get("latency")),
        idle=table(idle.HEADING, idle.rows(sections["idle"]))
        if "idle" in sections
        else _NOT_MEASURED,
        scaling=_scaling(sections.get("scaling")),
        cores=extrapolation.CORES,
        extrapolation=table(("what", "how", "result"), extrapolation.steps(sections)),
    )


def table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _about(sections: Sections) -> str:
    rows = []
    for name, section in sections.items():
        machine = section["machine"]
        description = f"{machine['processor']}, {machine['cores']} cores, {machine['memory']}, {machine['system']}"
        rows.append((name, section["size"], section["measured_at"], description))
    if not rows:
        return _NOT_MEASURED
    parts = [table(("section", "size", "measured at (UTC)", "machine"), rows)]
    latest = max(sections.values(), key=lambda section: str(section["measured_at"]))
    versions = ", ".join(f"{name} {version}" for name, version in latest["versions"].items())
    parts.append(f"Versions: {versions}.")
    if featurize := sections.get("featurize"):
        weights = featurize["weights_description"]
        parts.append(f"Images: {featurize['images_description']}. Weights: {weights}.")
    return "\n\n".join(parts)


def _targets(sections: Sections) -> str:
    states = {True: "reached", False: "**not reached**", None: "not measured"}
    rows = [(t.what, t.bound, t.measured, states[t.reached]) for t in targets(sections)]
    return table(("what", "target", "measured", ""), rows)


def _featurize(section: Section | None) -> str:
    if not section:
        return _NOT_MEASURED
    rows = []
    pomona = rate(section, "pomona_onnxruntime")
    for key, competitor in section["competitors"].items():
        if not competitor["runs"]:
            rows.append((competitor["title"], f"skipped: {competitor['skipped']}", *[""] * 6))
            continue
        images_per_second = rate(section, key) or 0.0
        memory = [median_of(section, key, name) for name in ("worker_rss", "worker_pss", "all_pss")]
        rows.append(
            (
                competitor["title"],
                f"{median_of(section, key, 'count'):,.0f}",
                f"{images_per_second:.1f}",
                f"{images_per_second / pomona:.2f}" if pomona else ABSENT,
                _seconds(median_of(section, key, "startup")),
                *(f"{value:,.0f}" if value else ABSENT for value in memory),
            )
        )
    heading = (
        "competitor",
        "images",
        "images/s",
        "relative to Pomona",
        "startup",
        "RSS per worker, MB",
        "PSS per worker, MB",
        "total PSS, MB",
    )
    return f"{table(heading, rows)}\n\nMedians of {_rounds(section)}."


def _refit(section: Section | None) -> str:
    if not section:
        return _NOT_MEASURED
    rows = []
    pomona = median_of(section, "pomona", "seconds")
    for key, competitor in section["competitors"].items():
        if not competitor["runs"]:
            rows.append((competitor["title"], f"skipped: {competitor['skipped']}", *[""] * 5))
            continue
        seconds = median_of(section, key, "seconds") or 0.0
        last = competitor["runs"][-1]
        rows.append(
            (
                competitor["title"] + (f" ({last['statistics']})" if "statistics" in last else ""),
                f"{median_of(section, key, 'count'):,.0f}",
                f"{seconds:.2f} s",
                f"{seconds / pomona:.2f}" if pomona else ABSENT,
                _seconds(median_of(section, key, "whole")),
                _seconds(median_of(section, key, "startup")),
                f"{last['explained']:.4f}",
            )
        )
    heading = (
        "competitor",
        "rows",
        "fit",
        "relative to Pomona",
        "with publishing",
        "startup",
        "explained variance",
    )
    note = f"Medians of {_rounds(section)}."
    runs = section["competitors"].get("pomona", {}).get("runs", [])
    if runs and not runs[-1].get("phases"):
        note += " Pomona reported no phases: its fit is the whole refit with publishing."
    return f"{table(heading, rows)}\n\n{note}"


def _first_row(section: Section) -> str:
    if not section:
        return _NOT_MEASURED
    rows = []
    for key in ("pomona", "plain"):
        found = section["competitors"].get(key, {"runs": [], "title": key, "skipped": "not run"})
        runs = found["runs"]
        seconds = _seconds(median_of(section, key, "seconds"))
        rows.append((found["title"], seconds if runs else f"skipped: {found['skipped']}"))
        for name in runs[0].get("breakdown", {}) if runs else ():
            rows.append((f"… {name}", _seconds(median(run["breakdown"][name] for run in runs))))
    return table(("what", "seconds"), rows)


def _latency(section: Section | None) -> str:
    if not section:
        return _NOT_MEASURED
    rows: list[tuple[str, ...]] = []
    for key, title in (
        ("warm", f"soon after the start (`{section['options']}`)"),
        ("samples", f"after {len(section['warm']) + 1} micro-batches"),
        ("bare", "plain Spark appends one row to Delta, in a running session"),
    ):
        durations = sorted(section[key])
        if not durations:
            rows.append((title, "0", f"skipped: {section['skipped']}", "", ""))
            continue
        values = (median(durations), durations[0], durations[-1])
        rows.append((title, str(len(durations)), *(_seconds(value) for value in values)))
    return table(("what", "count", "median", "minimum", "maximum"), rows)


def _scaling(section: Section | None) -> str:
    if not section:
        return _NOT_MEASURED
    heading = ("files in the prefix", f"seconds for {section['arrivals']} new images")
    batches = [
        (f"{int(n):,}", f"{seconds:.2f} s") for n, seconds in section["micro_batches"].items()
    ]
    rows: list[list[str]] = []
    for count, runs in section["refits"].items():
        cells = [f"{int(count):,}"]
        for key in ("full", "again"):
            skipped = runs[key].get("skipped")
            values = (runs[key].get(name) for name in ("seconds", "whole"))
            cells += [f"skipped: {skipped}", ""] if skipped else [_seconds(v) for v in values]
        rows.append(cells)
    names = ("rows", "fit", "with publishing", "fit after 1 % new rows", "with publishing")
    parts = [table(heading, batches), table(names, rows), *section["left_out"]]
    plots = [f"![{name}](benchmarks/plots/{name})" for name in ("micro_batch.png", "refit.png")]
    return "\n\n".join([*parts, *plots])


def _seconds(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.2f} s"


def _rounds(section: Section) -> str:
    rounds = int(section["rounds"])
    return f"{rounds} round" + "s" * (rounds != 1)
