"""Find the images of a lake that are most similar to one, and predict its label by their vote."""

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
from streaming.engines.registry import choose_engine, create_engine
from streaming.errors import LakeError, SnapshotError, SourceError, UsageError
from streaming.images.decode import DecodeSettings, UndecodableImage, decode
from streaming.lake.layout import Lake
from streaming.lake.versions import ResolvedVersion, resolve_version
from streaming.model.metadata import ModelInfo
from streaming.model.store import ensure_model, find_model, read_model
from streaming.storage.interface import normalize
from streaming.storage.open import open_storage


@dataclass(frozen=True)
class Neighbor:
    """An image of a lake.

    Attributes
    ----------
    path, label : str
    content_hash : str
        SHA-256 of its bytes when it was ingested.
    cosine : float
        Of its features to those of the image that was asked about, -1 to 1.

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
    """The images most like one.

    Attributes
    ----------
    image : str
        Normalized URI of the one that was asked about.
    label : str or None
        Its label in the lake; None where it is not in it.
    content_hash : str
        SHA-256 of its bytes.
    version : int
        Of the features.
    rows : int
        Images that it was compared with.
    neighbors : sequence of Neighbor
        Nearest first, without the image itself.

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
        """Labels of the neighbors with their counts, most frequent first; of ties, the label with the nearer images.

        Examples
        --------
        >>> import pomona
        >>> result = pomona.open_lake("./lake").similar("./fruits/Fig/1.jpg", top=7)
        >>> sorted(result.votes)
        [('Fig', 3), ('Kiwi', 4)]
        """
        counts = Counter(one.label for one in self.neighbors)
        nearness = {
            label: sum(one.cosine for one in self.neighbors if one.label == label)
            for label in counts
        }
        return sorted(counts.items(), key=lambda vote: (-vote[1], -nearness[vote[0]], vote[0]))


def similar(
    location: str, image: str, top: int = 10, as_of: str | ResolvedVersion | None = None
) -> SimilarityResult:
    """Find the images of a lake that are most like one, by the cosine of their features.

    Parameters
    ----------
    location : str
        Folder or URI of the lake.
    image : str
        An image of the lake, or any other picture: its features are then computed with the lake's model.
    top : int
        How many.
    as_of : str or ResolvedVersion, optional
        The version of the features to look in, as `streaming.lake.versions.resolve` takes it.

    Raises
    ------
    UsageError
        For a `top` below 1.
    SourceError
        Where there is no such image, or it is none.
    PomonaError
        Where there is no such lake or version.
    """
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
        place = pc.index(vectors.rows["path"], path).as_py()
        if place >= 0:
            asked: NDArray[np.float64] = vectors.take(np.array([place]))[0].astype(np.float64)
            label, digest = (
                vectors.rows[name][place].as_py() for name in ("label", "content_hash")
            )
        else:
            asked, digest = _features_of(lake, path, vectors)
            label = None
        found = find_nearest(vectors, asked, top, place if place >= 0 else None)
        taken = (
            vectors.rows.select(["path", "label", "content_hash"]).take(found.places).to_pylist()
        )
    neighbors = [
        Neighbor(**row, cosine=cosine)
        for row, cosine in zip(taken, found.cosines.tolist(), strict=True)
    ]
    return SimilarityResult(path, label, digest, vectors.version, len(vectors), neighbors)


def _features_of(lake: Lake, path: str, vectors: Vectors) -> tuple[NDArray[np.float64], str]:
    """Features (width,) of a picture that is not in the lake, and the SHA-256 of its bytes."""
    try:
        open_storage(path).stat(path)  # a folder or a pipe is none
        content = open_storage(path).read(path)
    except OSError as error:
        raise SourceError(
            f"{path}: no image of version {vectors.version} of the lake, and no picture that can be read "
            f"({error.strerror or type(error).__name__}): give its path as the tables name it, or another file"
        ) from error
    extractor = _model(lake, vectors)
    engine = choose_engine(None, extractor.precision, "cpu")
    settings = DecodeSettings(extractor.input_size, extractor.divisor, extractor.offset)
    try:
        pixels = decode(content, settings).pixels
    except UndecodableImage as error:
        raise SourceError(f"{path}: {error}: give another picture") from error
    network = create_engine(
        engine, extractor, read_model(lake.models, extractor, engine), os.cpu_count() or 1
    )
    return network.run(pixels[np.newaxis])[0].astype(np.float64), hashlib.sha256(
        content
    ).hexdigest()


def _model(lake: Lake, vectors: Vectors) -> ModelInfo:
    if find_model(lake.models) is None:
        raise LakeError(f"{lake.models}: holds no model: ask about an image of the lake")
    extractor = ensure_model(lake.models, None)
    if extractor.model_id != vectors.model_id:
        raise LakeError(
            f"{lake.models}: holds {extractor.model_id}, and the rows are of {vectors.model_id}: "
            "ask about an image of the lake"
        )
    return extractor
