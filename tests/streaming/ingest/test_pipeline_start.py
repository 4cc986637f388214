"""Tests for `streaming.ingest.pipeline`: the query starts while the workers do, and their errors are reported."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from streaming.errors import PomonaError
from streaming.featurize.worker import start_workers
from streaming.ingest import pipeline
from streaming.ingest.pipeline import LoadedModel, ingest, load_model, open_microbatch
from streaming.ingest.settings import IngestSettings, Stage
from streaming.lake.layout import Lake
from streaming.lease.acquire import acquire_lease
from streaming.sources.listing import Source
from support.lakes.small_lakes import ONCE, photos, put_all, versions

pytestmark = pytest.mark.spark


def test_micro_batch_is_opened_before_workers_have_started(
    new_lake: Callable[[], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_start = threading.Event()

    def start_late(*arguments: object) -> None:
        may_start.wait(60)
        start_workers(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(pipeline, "start_workers", start_late)
    with acquire_lease(Lake.at(str(new_lake()))) as lease:
        batch = open_microbatch(Source.at(str(tmp_path)), ONCE, lease)
        assert not batch.workers_started.done()
        may_start.set()
        assert batch.workers_started.result(timeout=60) is None


@pytest.mark.parametrize(("images", "once"), [(2, True), (0, False)])
def test_workers_that_cannot_start_are_reported_in_one_line(
    new_lake: Callable[[], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    images: int,
    once: bool,
) -> None:
    lake, source = Lake.at(str(new_lake())), tmp_path / "images"
    put_all(source, photos("Fig", range(1)))
    ingest(str(source), lake.root, ONCE)
    put_all(source, photos("Kiwi", range(images)))
    before = versions(lake)

    def load_damaged(*arguments: object) -> LoadedModel:
        loaded = load_model(*arguments)  # type: ignore[arg-type]
        # The workers of this session keep an engine for each model id.
        info = replace(loaded.info, model_id=f"damaged-{tmp_path.name}")
        return LoadedModel(info, loaded.engine, b"damaged")

    monkeypatch.setattr(pipeline, "load_model", load_damaged)
    settings = IngestSettings(once=once, trigger=0.5, settle=0)
    with pytest.raises(PomonaError, match=r"(?i)damaged|protobuf") as caught:
        ingest(str(source), lake.root, settings)
    assert "\n" not in str(caught.value)
    assert versions(lake) == before


def test_stop_ends_the_first_listing(new_lake: Callable[[], Path], tmp_path: Path) -> None:
    put_all(tmp_path, photos("Fig", range(3)))
    stop = threading.Event()

    def stop_at_listing(stage: Stage, images: int) -> None:
        if stage is Stage.LIST:
            stop.set()

    settings = IngestSettings(settle=0)
    summary = ingest(
        str(tmp_path), str(new_lake()), settings, stop_event=stop, on_stage=stop_at_listing
    )
    assert (summary.images, summary.waiting) == (0, 0)
