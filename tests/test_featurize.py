"""Promises of `streaming.featurize`: as many images a call as the engine likes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from small_lakes import photos, put_all

from streaming import featurize
from streaming.decode import DecodeSettings
from streaming.featurize import Featurizer


@dataclass
class CountingEngine:
    """Takes three images at once, and remembers how many it was given."""

    name: str = "counting"
    batch: int = 3
    given: list[int] = field(default_factory=list)

    def run(self, images: Any) -> Any:
        self.given.append(len(images))
        return np.zeros((len(images), 2), np.float32)


def featurizer() -> Featurizer:
    extractor: Any = SimpleNamespace(model_id="made-up")
    return Featurizer(extractor, "counting", SimpleNamespace(value=b""), DecodeSettings())


def test_an_engine_is_given_as_many_images_as_it_likes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = CountingEngine()
    monkeypatch.setattr(featurize, "_engines", {})
    monkeypatch.setattr(featurize, "create_engine", lambda *words: engine)
    files = put_all(tmp_path, photos("Fig", range(7)))
    names = [[f.path for f in files], [f.length for f in files], [f.modified_ms for f in files]]
    batch = pa.RecordBatch.from_arrays([*map(pa.array, names), pa.array([1] * 7)], list("plma"))
    found = list(featurizer()([batch]))
    assert engine.given == [3, 3, 1]
    assert [row.num_rows for row in found] == [3, 3, 1]
