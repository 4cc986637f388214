"""Tests for some 700 links, names, documents and log entries in sources and lakes that Spark reads, in one session.

As `chaos/test_planted`, for ingestion, refit, query, export and upgrade: the operations that start Spark. Java and the
workers are observed by inotify: nothing outside of the source and the lake may be opened.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

import pomona as api
from batch_pca.pca.fit import FitOptions
from batch_pca.refit import RefitOptions, refit
from streaming.ingest.pipeline import ingest
from streaming.lake.layout import Lake
from streaming.lake.tags import Tag, set_tag
from streaming.lake.versions import resolve_version
from streaming.maintenance.upgrade import upgrade
from streaming.storage.interface import local_path
from support.faults.canaries import SECRET
from support.faults.planted_cases import ENTRIES, expand, plant_source
from support.faults.planted_entries import change_document, plant_entry, plant_log
from support.faults.planted_place import Place, open_place
from support.lakes.history_lake import HistoryLake
from support.lakes.small_lakes import ONCE, jpeg, photos, put, put_all, rows
from support.processes.cli import Command

pytestmark = [pytest.mark.spark, pytest.mark.slow, pytest.mark.timeout(3600)]

SEED = int(os.environ.get("POMONA_PLANTED_SEED", "18"))
SHARE = float(os.environ.get("POMONA_PLANTED_SHARE", "1"))
SOURCES, PLANTS, LAKES = 10, 50, 200


@pytest.fixture(scope="module")
def template(
    spark: SparkSession, new_lake: Callable[[], Path], tmp_path_factory: pytest.TempPathFactory
) -> HistoryLake:
    """A lake with two refits, each of another version, and a tag."""
    source, folder = tmp_path_factory.mktemp("images"), new_lake()
    lake, published = Lake.at(str(folder)), []
    for label in ("Fig", "Kiwi"):
        put_all(source, photos(label, range(3)))
        put(source / label / "bad.jpg", b"text")
        ingest(str(source), lake.root, ONCE)
        published.append(refit(lake.root, RefitOptions(FitOptions(components=2))).row)
    pinned = resolve_version(lake, "latest")
    set_tag(lake, Tag("good", pinned.number, pinned.committed, pinned.committed))
    return HistoryLake(lake, str(folder), (published[0], published[1]))


@pytest.fixture
def place(
    template: HistoryLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pomona: Command
) -> Iterator[Place]:
    with open_place(template, tmp_path, monkeypatch, pomona, spark=True) as opened:
        yield opened
        with pomona.capture.disabled():
            print(f"\n{opened.cases} cases, seed {SEED}, {len(opened.faults)} faults")


def repeat(count: int, kind: str) -> Iterator[random.Random]:
    """Yield a generator of random numbers for each case of a kind."""
    for number in range(max(1, round(count * SHARE))):
        yield random.Random(f"{SEED} {kind} {number}")


def test_ingestion_reads_nothing_outside_of_planted_source(place: Place) -> None:
    for rng in repeat(SOURCES, "sources"):
        lake, root = place.renew(), place.folder / "source"
        shutil.rmtree(root, ignore_errors=True)
        plant_source(rng, root, place.canaries.folder, PLANTS)

        def run(lake: Lake = lake, root: Path = root) -> None:
            ingest(str(root), lake.root, ONCE)
            found = str(rows(lake.features)) + str(rows(lake.quarantine))
            assert f"file:{root}/Fig/a.jpg" in found
            assert SECRET not in found

        place.check("source", run)
        place.cases += PLANTS - 1


def operations(place: Place, lake: Lake) -> tuple[tuple[str, Callable[[], Any]], ...]:
    """Return the operations that start Spark."""
    source = place.folder / "source"
    put(source / "Fig" / "new.jpg", jpeg(40))

    def run_query() -> None:
        api.open_lake(lake.root).query(
            "SELECT count(*), min(q.detail), min(r.label), min(s.refit_id) "
            "FROM features f, quarantine q, reduced r, refits s"
        )

    return (
        ("ingest", lambda: ingest(str(source), lake.root, ONCE)),
        ("refit", lambda: refit(lake.root, RefitOptions(FitOptions(components=1)))),
        ("query", run_query),
        ("query", run_query),
        ("export", lambda: api.open_lake(lake.root).export(str(place.folder / "out.parquet"))),
        ("upgrade", lambda: upgrade(lake.root)),
    )


def plant_into_lake(rng: random.Random, place: Place) -> str:
    """Plant one entry into a lake: a link or special file, a document, or a log entry."""
    outside = place.canaries.folder
    kind = rng.randrange(4)
    if kind == 0:
        return plant_log(
            rng, place.lake / rng.choice(("features", "quarantine", "refits")), outside
        )
    if kind == 1:
        path = place.lake / expand(place, rng.choice(list(ENTRIES)))
        return plant_entry(rng, path, outside)
    entries = sorted(place.lake.rglob("*"))
    checkpoint = local_path(Lake.at(str(place.lake)).for_manifests().checkpoint)
    inner = sorted(path for path in checkpoint.rglob("*") if not path.name.endswith(".crc"))
    if kind == 2:
        return plant_entry(rng, rng.choice((rng.choice(entries), rng.choice(inner))), outside)
    files = [path for path in (*inner, *entries) if path.is_file()]
    path = rng.choice([path for path in files if path.suffix in ("", ".json", ".compact")])
    content = change_document(rng, path.read_bytes(), outside)
    path.write_bytes(content)
    return f"{path} is {content[:200]!r}"


def test_operations_read_nothing_outside_of_planted_lake(place: Place) -> None:
    for rng in repeat(LAKES, "lakes"):
        lake = place.renew()
        case = plant_into_lake(rng, place)
        name, run = rng.choice(operations(place, lake))
        place.check(f"{name}: {case}", lambda run=run: run() and None)
