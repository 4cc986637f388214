"""Mean features per label, summed while the rows are projected."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from batch_pca.pca.moments import Vector
from batch_pca.refits.folder import RefitFolder

FILE = "labels.npz"
#: With more labels, no means are kept: each takes 10 KB, per partition and per refit.
MAX_LABELS = 1000


@dataclass
class LabelSums:
    """Count and sum of the features of each label.

    Attributes
    ----------
    sums : dict of str to (int, ndarray of shape (d,), float64)
        Count and sum by label.
    complete : bool
        False once there were more than `MAX_LABELS` labels; `sums` is then empty.
    """

    sums: dict[str, tuple[int, Vector]] = field(default_factory=dict)
    complete: bool = True

    def add(self, labels: pa.Array, rows: NDArray[Any]) -> None:
        """Add rows of shape (n, d) and their n labels."""
        if not self.complete or not len(rows):
            return
        encoded = labels.dictionary_encode()
        codes = encoded.indices.to_numpy(zero_copy_only=False)
        order = np.argsort(codes, kind="stable")
        found, starts, counts = np.unique(codes[order], return_index=True, return_counts=True)
        totals = np.add.reduceat(rows[order].astype(np.float64), starts, axis=0)
        names = encoded.dictionary.to_pylist()
        for code, count, total in zip(found, counts, totals, strict=True):
            self._add_label(names[code], int(count), total)

    def merge(self, other: LabelSums) -> None:
        """Add the sums of another partition."""
        if not other.complete:
            self.sums, self.complete = {}, False
        for name, (count, total) in other.sums.items():
            self._add_label(name, count, total)

    def _add_label(self, name: str, count: int, total: Vector) -> None:
        if not self.complete:
            return
        old_count, old_total = self.sums.get(name, (0, 0.0))
        self.sums[name] = old_count + count, old_total + total
        if len(self.sums) > MAX_LABELS:
            self.sums, self.complete = {}, False

    def means(self) -> dict[str, Vector]:
        """Return the mean of each label, shape (d,); empty if there were too many labels."""
        return {name: total / count for name, (count, total) in sorted(self.sums.items())}

    def to_bytes(self) -> bytes:
        """Return the content of an ``.npz`` file: ``labels``, ``counts``, ``sums`` of shape (labels, d), ``full``."""
        buffer = io.BytesIO()
        items = sorted(self.sums.items())
        np.savez(
            buffer,
            allow_pickle=False,
            full=self.complete,
            labels=np.array([name for name, _ in items], dtype=np.str_),
            counts=np.array([count for _, (count, _) in items], dtype=np.int64),
            sums=np.array([total for _, (_, total) in items], dtype=np.float64),
        )
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> LabelSums:
        """Parse the output of `to_bytes`; raise ValueError if it is damaged."""
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as stored:
                names, counts = stored["labels"].tolist(), stored["counts"].tolist()
                sums = zip(counts, stored["sums"], strict=True)
                return cls(dict(zip(names, sums, strict=True)), bool(stored["full"]))
        except (OSError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"cannot read label sums ({error})") from error


def read_label_means(folder: RefitFolder) -> dict[str, Vector]:
    """Read the mean features of each label of a published refit; return {} if missing or damaged."""
    try:
        return LabelSums.from_bytes(folder.read(FILE)).means()
    except (FileNotFoundError, ValueError):
        return {}
