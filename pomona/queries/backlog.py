"""Backlog of each source of a lake, counted without Spark."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from pomona.queries.session import JsonObject
from streaming.delta.log import Version
from streaming.errors import PomonaError
from streaming.lake.history import sources_of_latest_commits
from streaming.lake.image_index import ImageIndex
from streaming.lake.layout import Lake
from streaming.sources.listing import Source
from streaming.sources.selection import Selection, read_sources
from streaming.storage.interface import StoredFile, TransientError

# Sources that are listed at a time.
_THREADS = 8


def read_backlogs(
    lake: Lake, last: Version | None, versions: Mapping[str, int]
) -> list[JsonObject]:
    """List each source of a lake, and count its images that are missing or changed.

    Parameters
    ----------
    lake : Lake
    last : Version, optional
        The latest commit of images.
    versions : dict
        Versions of features and quarantine, by location.

    Returns
    -------
    list of dict
        Sorted by source: ``source``, ``listed`` (its images), ``missing`` (in neither table), ``changed`` (with another
        length or modification time than their row), ``backlog`` (the sum of both) and ``error``. If a source cannot be
        listed from here, ``error`` is the reason and the counts are None.
    """
    sources = read_sources(lake.sources)
    if last and last.metadata["source"] not in sources:
        # Earlier builds stored only sources with patterns.
        latest = sorted(sources_of_latest_commits(versions))
        sources = dict.fromkeys(latest, Selection()) | sources
    if not sources:
        return []
    index = ImageIndex.load(lake)
    with ThreadPoolExecutor(_THREADS) as pool:
        counts = pool.map(lambda item: _count(index, *item), sorted(sources.items()))
        return list(counts)


def _count(index: ImageIndex, root: str, selection: Selection) -> JsonObject:
    result: JsonObject = {"source": root}
    listed = missing = changed = 0

    def images() -> Iterator[StoredFile]:
        """Yield the images of the source, and count them."""
        nonlocal listed
        for image in source.images():
            listed += 1
            yield image

    try:
        source = Source(root, selection)
        source.validate(require_images=False)
        for _, in_lake in index.backlog(images()):
            changed += in_lake
            missing += not in_lake
    except (PomonaError, TransientError, OSError) as error:
        unknown = dict.fromkeys(("listed", "missing", "changed", "backlog"))
        return result | unknown | {"error": str(error)}
    counts = {"listed": listed, "missing": missing, "changed": changed}
    return result | counts | {"backlog": missing + changed, "error": None}
