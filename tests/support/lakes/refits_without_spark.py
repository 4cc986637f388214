"""Create refits without Spark: arrays, the row in ``refits/`` (with delta-rs) and the lineage."""

from __future__ import annotations

import hashlib
import io
import json
from datetime import UTC, datetime
from typing import Any

import deltalake
import numpy as np
import pyarrow as pa

from batch_pca.pca.fit import FitOptions, fit
from batch_pca.pca.moments import Moments
from batch_pca.refit import RefitOptions
from batch_pca.refits.catalog import RefitRow
from batch_pca.refits.label_means import LABELS_FILE, LabelSums
from batch_pca.refits.lineage import write_lineage
from streaming.delta.tables import RETENTION, RETENTION_PROPERTIES, Table
from streaming.lake.layout import Lake
from streaming.lake.schemas import REFITS
from streaming.lake.versions import resolve_version
from support.lakes.feature_lakes import delta

#: Types of Arrow by the SQL type of a column.
ARROW_TYPES: dict[str, Any] = {
    "string": pa.string(),
    "long": pa.int64(),
    "int": pa.int32(),
    "double": pa.float64(),
    "boolean": pa.bool_(),
    "timestamp": pa.timestamp("us", "UTC"),
    "array<double>": pa.list_(pa.float64()),
    "array<float>": pa.list_(pa.float32()),
}


def append(location: str, table: Table, rows: list[dict[str, Any]]) -> None:
    """Append rows to a table; create it with delta-rs if it does not exist."""
    fields = [pa.field(c.name, ARROW_TYPES[c.type], nullable=c.nullable) for c in table.columns]
    content = pa.Table.from_pylist(rows, pa.schema(fields))
    properties = dict.fromkeys(RETENTION_PROPERTIES, RETENTION)
    deltalake.write_deltalake(
        location.removeprefix("file:"), content, mode="append", configuration=properties
    )


def publish(lake: Lake, as_of: str, options: RefitOptions) -> RefitRow:
    """Publish a refit of a version, without Parquet files, pipeline and a real report."""
    pinned = resolve_version(lake, as_of)
    rows = delta(lake.features, pinned.number).to_pyarrow_table()
    paths, labels = rows["path"].to_pylist(), rows["label"].to_pylist()
    vectors = np.array(rows["features"].to_pylist())
    prefix = json.loads(options.as_json())["fit_on"]
    is_fitted = np.array([prefix is None or path.startswith(f"{prefix}/") for path in paths])
    moments = Moments.from_rows(vectors[is_fitted], vectors[0])
    reduction = fit(moments, options.fit)
    published = RefitRow(
        refit_id=f"20260303T08300{pinned.number}Z-v{pinned.number}-abcd",
        lake=lake,
        features_version=pinned.number,
        features_timestamp=pinned.committed,
        model_id=rows["model_id"][0].as_py(),
        parameters=options.as_json(),
        rows=len(paths),
        rows_fitted=int(is_fitted.sum()),
        explained_variance_ratio=tuple(reduction.explained_variance_ratio[: reduction.k].tolist()),
        created_at=datetime.now(UTC),
        pomona_version="0.1",
        seconds=1.0,
    )
    arrays = io.BytesIO()
    np.savez(arrays, components=reduction.components)
    published.folder.write("components.npz", arrays.getvalue())
    published.folder.write("moments.npz", moments.to_bytes())
    sums = LabelSums()
    sums.add(pa.array(labels), vectors)
    published.folder.write(LABELS_FILE, sums.to_bytes())
    csv = b"path,label,pc1\n" + published.refit_id.encode()
    published.folder.write("reduced.csv", csv)
    published.folder.write("report.html", b"<html>")
    write_lineage(published.folder, published, hashlib.sha256(csv).hexdigest())
    row = {name: getattr(published, name) for name in REFITS.names}
    row["explained_variance_ratio"] = list(published.explained_variance_ratio)
    append(lake.refits, REFITS, [row])
    return published


def options(components: int, fit_on: str | None = None) -> RefitOptions:
    """Return refit options."""
    return RefitOptions(FitOptions(components=components), fit_on=fit_on)
