"""Counts and mean features per label, summed while the rows are projected."""

from __future__ import annotations

import io
import zipfile
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from batch_pca.pca.moments import Vector
from batch_pca.refits.folder import RefitFolder

LABELS_FILE = "labels.npz"
#: With more labels, only counts are kept, and no means: each takes 10 KB, per partition and per refit.
MAX_LABELS = 1000


@dataclass
class LabelSums:
    """Count and sum of the features of each label.

    Attributes
    ----------
    counts : Counter of str
        Number of rows by label.
    sums : dict of str to ndarray of shape (d,), float64
        Sum by label.
    complete : bool
        False once there were more than `MAX_LABELS` labels; `sums` is then empty.
    """

    counts: Counter[str] = field(default_factory=Counter)
    sums: dict[str, Vector] = field(default_factory=dict)
    complete: bool = True

    def add(self, labels: pa.Array, rows: NDArray[Any]) -> None:
        """Add rows of shape (n, d) and their n labels."""
        if not len(rows):
            return
        encoded = labels.dictionary_encode()
        codes = encoded.indices.to_numpy(zero_copy_only=False)
        names = encoded.dictionary.to_pylist()
        order = np.argsort(codes, kind="stable")
        found, starts = np.unique(codes[order], return_index=True)
        groups = {names[c]: of for c, of in zip(found, np.split(order, starts[1:]), strict=True)}
        self._count({name: len(of) for name, of in groups.items()})
        if self.complete:
            # Label by label, the converted rows stay in the cache: 0.9 µs per row against 4.7 for all at once.
            self._sum({n: rows[of].astype(np.float64).sum(axis=0) for n, of in groups.items()})

    def merge(self, other: LabelSums) -> None:
        """Add the sums of another partition."""
        self.complete = self.complete and other.complete
        self._count(other.counts)
        self._sum(other.sums)

    def _count(self, counts: dict[str, int]) -> None:
        self.counts.update(counts)
        self.complete = self.complete and len(self.counts) <= MAX_LABELS

    def _sum(self, sums: dict[str, Vector]) -> None:
        if not self.complete:
            self.sums = {}
            return
        for name, total in sums.items():
            self.sums[name] = self.sums.get(name, 0.0) + total

    def means(self) -> dict[str, Vector]:
        """Return the mean of each label, shape (d,); empty if there were too many labels."""
        return {name: total / self.counts[name] for name, total in sorted(self.sums.items())}

    def to_bytes(self) -> bytes:
        """Return the content of an ``.npz`` file: ``labels``, ``counts``, ``sums`` of shape (labels, d), ``full``."""
        buffer = io.BytesIO()
        names = sorted(self.counts)
        np.savez(
            buffer,
            allow_pickle=False,
            full=self.complete,
            labels=np.array(names, dtype=np.str_),
            counts=np.array([self.counts[name] for name in names], dtype=np.int64),
            sums=np.array([total for _, total in sorted(self.sums.items())], dtype=np.float64),
        )
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> LabelSums:
        """Parse the output of `to_bytes`; raise ValueError if it is damaged."""
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as stored:
                labels, counts, sums = stored["labels"], stored["counts"], stored["sums"]
                complete = bool(stored["full"])
            if labels.dtype.kind != "U" or counts.dtype != np.int64 or sums.dtype != np.float64:
                raise ValueError(f"arrays of {labels.dtype}, {counts.dtype} and {sums.dtype}")
            if (counts < 1).any() or not np.isfinite(sums).all():
                raise ValueError("a label without rows, or NaN or infinity")
            names = labels.tolist()
            return cls(
                Counter(dict(zip(names, counts.tolist(), strict=True))),
                dict(zip(names, sums, strict=True)) if complete else {},
                complete,
            )
        except (OSError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"cannot read label sums ({error})") from error


def read_label_sums(folder: RefitFolder, width: int) -> LabelSums | None:
    """Read the sums of each label of a published refit; return None if they are missing, damaged or not counted.

    Those of vectors of another width than `width` count as damaged.
    """
    try:
        sums = LabelSums.from_bytes(folder.read(LABELS_FILE))
    except (FileNotFoundError, ValueError):
        return None
    # Earlier versions of Pomona did not count the labels if there were too many.
    valid = sums.counts and all(total.shape == (width,) for total in sums.sums.values())
    return sums if valid else None
