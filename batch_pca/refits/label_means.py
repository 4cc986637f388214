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
from batch_pca.refits.folder import Folder

FILE = "labels.npz"
#: A lake of more labels than this has none of their means: each is 10 KB, in every part and every refit.
MOST_LABELS = 1000


@dataclass
class LabelSums:
    """Counts and sums of the features of each label; `full` is false once there were too many labels.

    Attributes
    ----------
    sums : dict of str to (int, ndarray of shape (d,), float64)
    full : bool
    """

    sums: dict[str, tuple[int, Vector]] = field(default_factory=dict)
    full: bool = True

    def add(self, labels: pa.Array, rows: NDArray[Any]) -> None:
        """Add rows (n, d) and their n labels."""
        if not self.full or not len(rows):
            return
        encoded = labels.dictionary_encode()
        codes = encoded.indices.to_numpy(zero_copy_only=False)
        order = np.argsort(codes, kind="stable")
        found, starts, counts = np.unique(codes[order], return_index=True, return_counts=True)
        summed = np.add.reduceat(rows[order].astype(np.float64), starts, axis=0)
        names = encoded.dictionary.to_pylist()
        for code, count, total in zip(found, counts, summed, strict=True):
            self._put(names[code], int(count), total)

    def merge(self, other: LabelSums) -> None:
        """Add what another part has summed."""
        if not other.full:
            self.sums, self.full = {}, False
        for name, (count, total) in other.sums.items():
            self._put(name, count, total)

    def _put(self, name: str, count: int, total: Vector) -> None:
        if not self.full:
            return
        had, before = self.sums.get(name, (0, 0.0))
        self.sums[name] = had + count, before + total
        if len(self.sums) > MOST_LABELS:
            self.sums, self.full = {}, False

    def means(self) -> dict[str, Vector]:
        """The mean of each label, shape (d,); empty where there were too many labels."""
        return {name: total / count for name, (count, total) in sorted(self.sums.items())}

    def to_bytes(self) -> bytes:
        """Return the content of an ``.npz`` file: ``labels``, ``counts``, ``sums`` of shape (labels, d)."""
        buffer = io.BytesIO()
        named = sorted(self.sums.items())
        np.savez(
            buffer,
            allow_pickle=False,
            full=self.full,
            labels=np.array([name for name, _ in named], dtype=np.str_),
            counts=np.array([count for _, (count, _) in named], dtype=np.int64),
            sums=np.array([total for _, (_, total) in named], dtype=np.float64),
        )
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> LabelSums:
        """Read what `to_bytes` wrote; ValueError where it is damaged."""
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as stored:
                names, counts = stored["labels"].tolist(), stored["counts"].tolist()
                sums = zip(counts, stored["sums"], strict=True)
                return cls(dict(zip(names, sums, strict=True)), bool(stored["full"]))
        except (OSError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"sums of labels cannot be read ({error})") from error


def read_label_means(folder: Folder) -> dict[str, Vector]:
    """The mean features of a published refit's labels; none where they are not there, or damaged."""
    try:
        return LabelSums.from_bytes(folder.read(FILE)).means()
    except (FileNotFoundError, ValueError):
        return {}
