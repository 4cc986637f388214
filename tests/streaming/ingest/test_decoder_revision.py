"""Tests for `streaming.ingest.pipeline`: which decoder revision a new model of a lake gets."""

from __future__ import annotations

from pathlib import Path

import deltalake
import pyarrow as pa
import pytest

from streaming.images.decode import DECODER_REVISION
from streaming.ingest.pipeline import revision_of_rows
from streaming.lake.layout import Lake


@pytest.mark.parametrize(
    ("model_ids", "revision"),
    [
        ([], DECODER_REVISION),
        (["mobilenetv2-224-71e4c4ec4aa2-gap-d2-float32"], 2),
        (["mobilenetv2-224-71e4c4ec4aa2-gap-d3-bfloat16"] * 2, 3),
        (["mobilenetv2-224-71e4c4ec4aa2-gap-d1-float32"], 1),
        (["seeded"], DECODER_REVISION),
    ],
)
def test_new_model_gets_revision_of_existing_rows(
    tmp_path: Path, model_ids: list[str], revision: int
) -> None:
    """The remedy for a damaged model is to delete its folder: the rows must not mix with those of a new revision."""
    lake = Lake.at(str(tmp_path / "lake"))
    assert revision_of_rows(lake) == DECODER_REVISION  # a new lake
    rows = pa.table({"model_id": pa.array(model_ids, pa.string())})
    deltalake.write_deltalake(str(tmp_path / "lake" / "features"), rows)
    assert revision_of_rows(lake) == revision
