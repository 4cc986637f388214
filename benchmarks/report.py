"""`BENCHMARKS.md`, from the results and a template."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median

from benchmarks import ten_million
from benchmarks.results import Section, middle, rate
from benchmarks.targets import ABSENT, targets

_TEMPLATE = Path(__file__).with_name("template.md")
_NOTHING = "Not measured yet."
Sections = Mapping[str, Section]


def render(sections: Sections) -> str:
    """The whole text; what has not been measured is said to be missing."""
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
        growth=_growth(sections.get("growth")),
        cores=ten_million.CORES,
        ten_million=table(("what", "how", "result"), ten_million.steps(sections)),
    )


def table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _about(sections: Sections) -> str:
    rows = []
    for name, section in sections.items():
        machine = section["machine"]
        told = f"{machine['processor']}, {machine['cores']} cores, {machine['memory']}, {machine['system']}"
        rows.append((name, section["size"], section["measured_at"], told))
    if not rows:
        return _NOTHING
    parts = [table(("section", "size", "measured at (UTC)", "machine"), rows)]
    used = max(sections.values(), key=lambda section: str(section["measured_at"]))["versions"]
    parts.append(
        "Versions: " + ", ".join(f"{name} {version}" for name, version in used.items()) + "."
    )
    if featurize := sections.get("featurize"):
        weights = featurize["weights_told"]
        parts.append(f"Images: {featurize['images_told']}. Weights: {weights}.")
    return "\n\n".join(parts)


def _targets(sections: Sections) -> str:
    words = {True: "reached", False: "**not reached**", None: "not measured"}
    rows = [(t.what, t.asked, t.measured, words[t.reached]) for t in targets(sections)]
    return table(("what", "asked for", "measured", ""), rows)


def _featurize(section: Section | None) -> str:
    if not section:
        return _NOTHING
    rows = []
    ours = rate(section, "pomona_onnxruntime")
    for key, contestant in section["contestants"].items():
        if not contestant["runs"]:
            rows.append((contestant["title"], f"skipped: {contestant['skipped']}", *[""] * 6))
            continue
        one = rate(section, key) or 0.0
        memory = [middle(section, key, name) for name in ("worker_rss", "worker_pss", "all_pss")]
        rows.append(
            (
                contestant["title"],
                f"{middle(section, key, 'count'):,.0f}",
                f"{one:.1f}",
                f"{one / ours:.2f}" if ours else ABSENT,
                _seconds(middle(section, key, "startup")),
                *(f"{value:,.0f}" if value else ABSENT for value in memory),
            )
        )
    heading = ("contestant", "images", "images a second", "of Pomona's", "start-up")
    memory_heading = ("a worker's RSS, MB", "its PSS", "PSS of all")
    told = f"Medians of {_rounds(section)}."
    return f"{table((*heading, *memory_heading), rows)}\n\n{told}"


def _refit(section: Section | None) -> str:
    if not section:
        return _NOTHING
    rows = []
    ours = middle(section, "pomona", "seconds")
    for key, contestant in section["contestants"].items():
        if not contestant["runs"]:
            rows.append((contestant["title"], f"skipped: {contestant['skipped']}", *[""] * 5))
            continue
        one = middle(section, key, "seconds") or 0.0
        last = contestant["runs"][-1]
        rows.append(
            (
                contestant["title"] + (f" ({last['statistics']})" if "statistics" in last else ""),
                f"{middle(section, key, 'count'):,.0f}",
                f"{one:.2f} s",
                f"{one / ours:.2f}" if ours else ABSENT,
                _seconds(middle(section, key, "whole")),
                _seconds(middle(section, key, "startup")),
                f"{last['explained']:.4f}",
            )
        )
    heading = (
        "contestant",
        "rows",
        "fit",
        "by Pomona's",
        "with publishing",
        "start-up",
        "explained",
    )
    told = f"Medians of {_rounds(section)}."
    runs = section["contestants"].get("pomona", {}).get("runs", [])
    if runs and not runs[-1].get("phases"):
        told += " Pomona told no phases: its fit is the whole refit, publishing included."
    return f"{table(heading, rows)}\n\n{told}"


def _first_row(section: Section) -> str:
    if not section:
        return _NOTHING
    rows = []
    for key in ("pomona", "plain"):
        found = section["contestants"].get(key, {"runs": [], "title": key, "skipped": "not run"})
        runs = found["runs"]
        seconds = _seconds(middle(section, key, "seconds"))
        rows.append((found["title"], seconds if runs else f"skipped: {found['skipped']}"))
        for name in runs[0].get("breakdown", {}) if runs else ():
            rows.append((f"… {name}", _seconds(median(run["breakdown"][name] for run in runs))))
    return table(("what", "seconds"), rows)


def _latency(section: Section | None) -> str:
    if not section:
        return _NOTHING
    rows: list[tuple[str, ...]] = []
    for key, title in (
        ("warm", f"soon after the start (`{section['words']}`)"),
        ("samples", f"after {len(section['warm']) + 1} micro-batches"),
        ("bare", "plain Spark appends one row to Delta, in a session that runs"),
    ):
        found = sorted(section[key])
        if not found:
            rows.append((title, "0", f"skipped: {section['skipped']}", "", ""))
            continue
        values = (median(found), found[0], found[-1])
        rows.append((title, str(len(found)), *(_seconds(value) for value in values)))
    return table(("what", "times", "median", "least", "most"), rows)


def _growth(section: Section | None) -> str:
    if not section:
        return _NOTHING
    heading = ("files there already", f"seconds for {section['arrivals']} new images")
    batches = [
        (f"{int(n):,}", f"{seconds:.2f} s") for n, seconds in section["micro_batches"].items()
    ]
    rows: list[list[str]] = []
    for count, runs in section["refits"].items():
        cells = [f"{int(count):,}"]
        for key in ("full", "again"):
            skipped = runs[key].get("skipped")
            told = (runs[key].get(name) for name in ("seconds", "whole"))
            cells += [f"skipped: {skipped}", ""] if skipped else [_seconds(value) for value in told]
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
