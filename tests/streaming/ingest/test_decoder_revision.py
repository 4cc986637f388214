"""Tests for `streaming.ingest.pipeline`: which decoder revision and precision a new model of a lake gets."""

from __future__ import annotations

from pathlib import Path

import deltalake
import pyarrow as pa
import pytest

from streaming.images.decode import DECODER_REVISION
from streaming.ingest.pipeline import model_of_rows
from streaming.lake.layout import Lake


@pytest.mark.parametrize(
    ("model_ids", "expected"),
    [
        ([], (DECODER_REVISION, None)),
        (["mobilenetv2-224-71e4c4ec4aa2-gap-d2-float32"], (2, "float32")),
        (["mobilenetv2-224-71e4c4ec4aa2-gap-d3-bfloat16"] * 2, (3, "bfloat16")),
        (["mobilenetv2-224-71e4c4ec4aa2-gap-d3-int8-12345678"], (3, "int8")),
        (["mobilenetv2-224-71e4c4ec4aa2-gap-d1-float32"], (1, "float32")),
        (["seeded"], (DECODER_REVISION, None)),
    ],
)
def test_new_model_gets_revision_and_precision_of_existing_rows(
    tmp_path: Path, model_ids: list[str], expected: tuple[int, str | None]
) -> None:
    """The remedy for a damaged model is to delete its folder: the rows must not mix with those of another model."""
    lake = Lake.at(str(tmp_path / "lake"))
    assert model_of_rows(lake) == (DECODER_REVISION, None)  # a new lake
    rows = pa.table({"model_id": pa.array(model_ids, pa.string())})
    deltalake.write_deltalake(str(tmp_path / "lake" / "features"), rows)
    assert model_of_rows(lake) == expected
