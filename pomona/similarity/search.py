"""Find the images of a lake that are most similar to an image, and predict its label by their votes."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from pomona.queries.session import open_lake, translate_read_errors
from pomona.similarity.nearest import find_nearest
from pomona.similarity.vector_cache import Vectors, load_vectors
from streaming.arguments import check_argument
from streaming.engines.registry import choose_engine, create_engine
from streaming.errors import LakeError, SnapshotError, SourceError, UsageError
from streaming.images.decode import UndecodableImage
from streaming.images.isolated_decode import IsolatedDecoder
from streaming.lake.layout import Lake
from streaming.lake.version_spec import VersionSpec
from streaming.lake.versions import ResolvedVersion, resolve_version
from streaming.model.metadata import ModelInfo
from streaming.model.store import ensure_model, find_model, read_model
from streaming.storage.interface import normalize
from streaming.storage.open import open_storage


@dataclass(frozen=True)
class Neighbor:
    """An image of a lake, and its similarity to the query image.

    Attributes
    ----------
    path, label : str
        As in the features table.
    content_hash : str
        SHA-256 of its bytes when it was ingested.
    cosine : float
        Cosine similarity of its features to those of the query image, -1 to 1.

    Examples
    --------
    >>> import pomona
    >>> nearest = pomona.open_lake("./lake").similar("./fruits/Fig/1.jpg").neighbors[0]
    >>> nearest.label in ("Fig", "Kiwi"), -1 <= nearest.cosine <= 1
    (True, True)
    """

    path: str
    label: str
    content_hash: str
    cosine: float


@dataclass(frozen=True)
class SimilarityResult:
    """The images that are most similar to a query image.

    Attributes
    ----------
    image : str
        Normalized URI of the query image.
    label : str or None
        Its label in the lake; None if it is not in the lake.
    content_hash : str
        SHA-256 of its bytes.
    version : int
        Version of the features table.
    rows : int
        Number of rows that were searched.
    neighbors : sequence of Neighbor
        Most similar first, without the query image.

    Examples
    --------
    >>> import pomona
    >>> result = pomona.open_lake("./lake").similar("./fruits/Fig/1.jpg", top=3)
    >>> result.label, result.rows, len(result.neighbors)
    ('Fig', 8, 3)
    """

    image: str
    label: str | None
    content_hash: str
    version: int
    rows: int
    neighbors: Sequence[Neighbor]

    @property
    def votes(self) -> list[tuple[str, int]]:
        """Labels of the neighbors and their counts, most frequent first; ties are broken by the sum of cosines.

        Examples
        --------
        >>> import pomona
        >>> result = pomona.open_lake("./lake").similar("./fruits/Fig/1.jpg", top=7)
        >>> sorted(result.votes)
        [('Fig', 3), ('Kiwi', 4)]
        """
        counts = Counter(neighbor.label for neighbor in self.neighbors)
        similarity = {
            label: sum(neighbor.cosine for neighbor in self.neighbors if neighbor.label == label)
            for label in counts
        }
        return sorted(counts.items(), key=lambda vote: (-vote[1], -similarity[vote[0]], vote[0]))


def similar(
    location: str,
    image: str | os.PathLike[str],
    top: int = 10,
    as_of: VersionSpec | ResolvedVersion | None = None,
) -> SimilarityResult:
    """Find the images of a lake that are most similar to an image, by the cosine of their features.

    Parameters
    ----------
    location : str
        Folder or URI of the lake.
    image : str or os.PathLike
        Path of an image of the lake, or of any other image file, whose features the lake's model then computes.
    top : int
        Maximum number of images to return.
    as_of : str, int, date or ResolvedVersion, optional
        Version of the features to search, see `streaming.lake.versions.resolve_version`.

    Raises
    ------
    UsageError
        If `top` is below 1.
    SourceError
        If there is no such image, or it cannot be decoded.
    PomonaError
        If there is no such lake or version.
    """
    top = check_argument("top", top, int)
    if top < 1:
        raise UsageError(f"--top {top}: give 1 or more")
    lake = open_lake(location)
    path = normalize(image)
    with translate_read_errors():
        vectors = load_vectors(lake, resolve_version(lake, as_of).number)
        if not len(vectors):
            raise SnapshotError(
                f"version {vectors.version} of {lake.features} has no rows: ingest images first"
            )
        index = pc.index(vectors.rows["path"], path).as_py()
        if index >= 0:
            features: NDArray[np.float64] = vectors.take(np.array([index]))[0].astype(np.float64)
            label, content_hash = (
                vectors.rows[name][index].as_py() for name in ("label", "content_hash")
            )
        else:
            features, content_hash = _extract_features(lake, path, vectors)
            label = None
        nearest = find_nearest(vectors, features, top, index if index >= 0 else None)
        rows = vectors.rows_at(nearest.indices, ["path", "label", "content_hash"])
    neighbors = [
        Neighbor(**row, cosine=cosine)
        for row, cosine in zip(rows, nearest.cosines.tolist(), strict=True)
    ]
    return SimilarityResult(path, label, content_hash, vectors.version, len(vectors), neighbors)


def _extract_features(lake: Lake, path: str, vectors: Vectors) -> tuple[NDArray[np.float64], str]:
    """Return features of shape (width,) and the SHA-256 of an image file that is not in the lake."""
    try:
        open_storage(path).stat(path)  # raises for a folder or a pipe
        content = open_storage(path).read(path, None)
    except OSError as error:
        raise SourceError(
            f"{path}: not an image of version {vectors.version} of the lake, and not a readable file "
            f"({error.strerror or type(error).__name__}): give a path as in the tables, or another file"
        ) from error
    model = _load_model(lake, vectors)
    engine_name = choose_engine(None, model.precision, "cpu")
    settings = model.decode_settings()
    try:
        with IsolatedDecoder() as decoder:
            pixels = decoder.decode(content, settings).pixels
    except UndecodableImage as error:
        raise SourceError(f"{path}: {error}: give another image") from error
    model_file = read_model(lake.models, model, engine_name)
    engine = create_engine(engine_name, model, model_file, os.cpu_count() or 1)
    features = engine.run(pixels[np.newaxis])[0].astype(np.float64)
    return features, hashlib.sha256(content).hexdigest()


def _load_model(lake: Lake, vectors: Vectors) -> ModelInfo:
    """Return the metadata of the lake's model; LakeError if it did not compute these vectors."""
    if find_model(lake.models) is None:
        raise LakeError(f"{lake.models}: contains no model: give an image of the lake")
    model = ensure_model(lake.models, None)
    if model.model_id != vectors.model_id:
        raise LakeError(
            f"{lake.models}: contains {model.model_id}, but the rows were computed by {vectors.model_id}: "
            "give an image of the lake"
        )
    return model
