"""A lake with six versions and two refits, created with delta-rs, without Spark."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import deltalake
import pandas as pd
import pyarrow as pa

from batch_pca.refits.catalog import RefitRow
from streaming.delta.tables import RETENTION, RETENTION_PROPERTIES
from streaming.lake.format_version import write_format
from streaming.lake.layout import Lake
from streaming.lake.schemas import QUARANTINE
from support.lakes.feature_lakes import WRITTEN, Images, delta, images
from support.lakes.refits_without_spark import append, options, publish

FIRST = images(20, seed=1)
MORE = images(10, seed=2, below="file:/photos/More [x]")
KEPT, CHANGED, DELETED = FIRST.paths[0], FIRST.paths[6], FIRST.paths[13]
BROKEN = "file:/photos/Fig/broken.jpg"


def hashed(rows: Images) -> pa.Table:
    """Return images with different content hashes."""
    hashes = [hashlib.sha256(vector.tobytes()).hexdigest() for vector in rows.vectors]
    table = rows.table()
    column = table.schema.get_field_index("content_hash")
    return table.set_column(column, "content_hash", pa.array(hashes))


@dataclass
class HistoryLake:
    """Versions: 1 rows, 2 five replaced and one rewritten, 3 three deleted, 4 more rows, 5 OPTIMIZE; refits of 1, 5."""

    lake: Lake
    folder: str
    refits: tuple[RefitRow, RefitRow]

    def frame(self, version: int) -> pd.DataFrame:
        """Return the rows of a version by path."""
        table = delta(self.lake.features, version).to_pyarrow_table()
        return table.to_pandas().set_index("path").sort_index()


def create_history_lake(folder: Path) -> HistoryLake:
    """Create the lake in a folder."""
    lake = Lake.at(str(folder))
    write_format(lake.root)
    model = {"model_id": FIRST.model_id, "weights": "random", "weights_sha256": "ab" * 32}
    model |= {"architecture": "MobileNetV2", "layer": "gap", "width": 64, "input_size": 224}
    model |= {"divisor": 127.5, "offset": -1.0, "decoder_revision": 1, "precision": "float32"}
    model |= {"onnx_sha256": "", "keras_sha256": "", "versions": {}, "created_at": ""}
    model_folder = Path(lake.models.removeprefix("file:"), FIRST.model_id)
    model_folder.mkdir(parents=True)
    (model_folder / "model.json").write_text(json.dumps(model))

    result = {"source": "file:/photos", "images": 20, "seconds": 2.0}
    commit = deltalake.CommitProperties(custom_metadata={"userMetadata": json.dumps(result)})
    features = lake.features.removeprefix("file:")
    feed = {"delta.enableChangeDataFeed": "true"} | dict.fromkeys(RETENTION_PROPERTIES, RETENTION)
    deltalake.write_deltalake(features, hashed(FIRST).slice(0, 0), configuration=feed)
    deltalake.write_deltalake(features, hashed(FIRST), mode="append", commit_properties=commit)
    first = publish(lake, "1", options(2))
    chosen = [0, *range(4, 9)]
    vectors = FIRST.vectors[chosen].copy()
    vectors[1:] += 0.25
    changed = Images([FIRST.paths[i] for i in chosen], [FIRST.labels[i] for i in chosen], vectors)
    merge = delta(lake.features).merge(
        hashed(changed), "old.path = new.path", source_alias="new", target_alias="old"
    )
    merge.when_matched_update_all().execute()
    names = ", ".join(f"'{path}'" for path in FIRST.paths[12:15])
    delta(lake.features).delete(f"path IN ({names})")
    deltalake.write_deltalake(features, hashed(MORE), mode="append")
    delta(lake.features).optimize.compact()
    last = publish(lake, "5", options(3, "/photos/More [x]"))
    bad = {"path": BROKEN, "label": "Fig", "length": 5, "modification_time": WRITTEN}
    bad |= {"content_hash": "0" * 64, "reason": "corrupt", "detail": "it is broken", "attempts": 1}
    append(lake.quarantine, QUARANTINE, [bad | {"ingested_at": WRITTEN, "batch_id": 0}])
    assert delta(lake.features).version() == 5
    return HistoryLake(lake, lake.root.removeprefix("file:"), (first, last))
