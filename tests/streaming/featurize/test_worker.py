"""Tests for `streaming.featurize.worker`: one engine per core or GPU, called with its batch size."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from streaming.engines import gpu
from streaming.featurize import worker
from streaming.featurize.worker import Featurizer
from streaming.images.decode import DecodeSettings
from support.lakes import photos, put_all


@dataclass
class CountingEngine:
    """Takes three images at once, and remembers how many it was given."""

    name: str = "counting"
    batch: int = 3
    given: list[int] = field(default_factory=list)

    def run(self, images: Any) -> Any:
        self.given.append(len(images))
        return np.zeros((len(images), 2), np.float32)


def featurizer(device: str = "cpu") -> Featurizer:
    model_info: Any = SimpleNamespace(model_id="made-up")
    nothing: Any = SimpleNamespace(value=b"")
    return Featurizer(model_info, "counting", nothing, DecodeSettings(), device=device)


def test_engine_receives_its_batch_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, made = CountingEngine(), []

    def create(*words: Any, gpu: int | None) -> CountingEngine:
        made.append(gpu)
        return engine

    monkeypatch.setattr(worker, "_engines", {})
    monkeypatch.setattr(worker, "create_engine", create)
    files = put_all(tmp_path, photos("Fig", range(7)))
    found = list(featurizer()([(file, 1) for file in files]))
    assert (engine.given, made) == ([3, 3, 1], [None])
    assert [row.num_rows for row in found] == [3, 3, 1]


def test_engine_is_created_for_assigned_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = []
    monkeypatch.setattr(worker, "_engines", {})
    monkeypatch.setattr(worker, "create_engine", lambda *words, gpu: made.append(gpu) or words)
    for assigned in (1, 0, 1):
        monkeypatch.setattr(gpu, "assigned_device", lambda number=assigned: number)
        list(featurizer("cuda").load([]))
    assert made == [1, 0]
