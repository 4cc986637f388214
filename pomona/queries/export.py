"""Export the features of a version to one file: Parquet, CSV or NumPy."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from batch_pca.features.parquet_reader import feature_matrix
from batch_pca.refits.csv_injection import escape_formulas
from pomona.output.files import check_output_file, output_errors
from pomona.queries.session import check_label, open_lake, translate_read_errors, unknown_label
from streaming.delta.reader import open_table, query, query_rows, quote_literal, strings_as_plain
from streaming.errors import SnapshotError, UsageError
from streaming.lake.version_spec import VersionSpec
from streaming.lake.versions import ResolvedVersion, resolve_version
from streaming.storage.interface import location_text

Batches = Iterator[pa.RecordBatch]


@dataclass(frozen=True)
class Export:
    """A file that was written.

    Attributes
    ----------
    file : str
        Path of the file.
    rows : int
        Number of images in it.
    version : ResolvedVersion
        Version of the features.
    """

    file: str
    rows: int
    version: ResolvedVersion


def export(
    location: str,
    file: str | os.PathLike[str],
    as_of: VersionSpec | None = None,
    label: str | None = None,
) -> Export:
    """Write the features of a version to a file, in no particular order.

    Rows are written as they are read, so the memory does not depend on their number. An existing file is replaced
    when the new one is complete.

    Parameters
    ----------
    location : str
        Folder or ``s3://`` URI of the lake.
    file : str or os.PathLike
        Local path. The suffix selects the format: ``.parquet`` (all columns), ``.csv`` (``path``, ``label``, ``f1`` …)
        or ``.npz`` (arrays ``paths``, ``labels`` and ``features`` of shape (n, d)).
    as_of : str, int or date, optional
        Version of the features.
    label : str, optional
        Export only the images with this label.

    Raises
    ------
    UsageError
        If the suffix is not one of these, the file is a folder or lies inside the lake, or no image of the version has
        the label. Nothing is written.
    ExternalError
        If the file cannot be written.
    SnapshotError
        If the version does not exist, or its rows have different numbers of features.
    """
    text = location_text(file)
    writer = _WRITERS.get(Path(text).suffix.lower())
    if writer is None:
        raise UsageError(
            f"{text}: give a local path that ends with {', '.join(_WRITERS)}; the suffix selects the format"
        )
    label = check_label(label)
    lake = open_lake(location)
    path = check_output_file(text, lake.root)
    with translate_read_errors():
        version = resolve_version(lake, as_of)
        table = open_table(lake.features, version.number)
        where = "" if label is None else f"WHERE label = {quote_literal(label)}"
        size = query_rows(
            table,
            "count(*) AS rows, min(cardinality(features)) AS least, max(cardinality(features)) AS most",
            where,
        )[0]
    if label is not None and not size["rows"]:
        raise unknown_label(label, version.number)
    if size["least"] != size["most"]:
        raise SnapshotError(
            f"version {version.number} of {lake.features} has rows of {size['least']:,} and of {size['most']:,} "
            "features: select a version of one model with --as-of"
        )

    schema = strings_as_plain(pa.schema(table.schema().to_arrow()))

    def batches() -> Batches:
        """Yield the rows, with the schema of the table."""
        with translate_read_errors():
            for batch in query(table, "*", where):
                if batch.num_rows:
                    yield batch.select(schema.names).cast(schema)

    rows, width = size["rows"], size["most"] or 0
    _replace_file(path, lambda target: writer(target, batches(), schema, rows, width))
    return Export(text, rows, version)


def _replace_file(file: Path, write: Callable[[BinaryIO], None]) -> None:
    """Write to a temporary folder beside the file, then rename the result."""
    with (
        output_errors(str(file)),
        tempfile.TemporaryDirectory(dir=file.parent, prefix=".export-") as scratch,
    ):
        temporary = Path(scratch, "export")
        with temporary.open("wb") as target:
            write(target)
        os.replace(temporary, file)


def _write_parquet(
    target: BinaryIO, batches: Batches, schema: pa.Schema, rows: int, width: int
) -> None:
    with pa.parquet.ParquetWriter(target, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


def _write_csv(
    target: BinaryIO, batches: Batches, schema: pa.Schema, rows: int, width: int
) -> None:
    names = ["path", "label", *(f"f{i + 1}" for i in range(width))]
    fields = [
        pa.field(name, pa.string() if i < 2 else pa.float32()) for i, name in enumerate(names)
    ]
    with pa.csv.CSVWriter(target, pa.schema(fields)) as writer:
        for batch in batches:
            texts = (escape_formulas(batch.column(name)) for name in ("path", "label"))
            values = feature_matrix(batch.column("features")).astype(np.float32, copy=False)
            writer.write_batch(
                pa.record_batch([*texts, *map(pa.array, values.T)], schema=pa.schema(fields))
            )


def _write_npz(
    target: BinaryIO, batches: Batches, schema: pa.Schema, rows: int, width: int
) -> None:
    """Write the arrays one after the other: the texts go to a temporary file first, since an archive is sequential."""
    texts = pa.schema([schema.field(name) for name in ("path", "label")])
    lengths = dict.fromkeys(texts.names, 1)
    with (
        tempfile.TemporaryFile(dir=Path(target.name).parent) as spool,
        zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive,
    ):
        with (
            _open_array(archive, "features.npy", "<f4", (rows, width)) as member,
            pa.ipc.new_stream(spool, texts) as stream,
        ):
            for batch in batches:
                values = feature_matrix(batch.column("features")).astype("<f4", copy=False)
                member.write(np.ascontiguousarray(values).data)
                stream.write_batch(batch.select(texts.names))
                for name, length in lengths.items():
                    longest = pc.max(pc.utf8_length(batch.column(name))).as_py()
                    lengths[name] = max(length, longest)
        for name, length in lengths.items():
            # Strings of fixed width, which `numpy.load` reads without pickle.
            dtype = f"<U{length}"
            spool.seek(0)
            with _open_array(archive, f"{name}s.npy", dtype, (rows,)) as member:
                for batch in pa.ipc.open_stream(spool):
                    member.write(np.array(batch.column(name).to_pylist(), dtype).tobytes())


def _open_array(
    archive: zipfile.ZipFile, name: str, dtype: str, shape: tuple[int, ...]
) -> IO[bytes]:
    """Open a member of an archive for the values of a NumPy array, and write its header."""
    member = archive.open(name, "w", force_zip64=True)
    header = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(member, header)
    return member


_WRITERS = {".parquet": _write_parquet, ".csv": _write_csv, ".npz": _write_npz}
