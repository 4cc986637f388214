"""Pass the new files of a local folder to a streaming query, as manifests that Spark's JSON file source reads.

Spark's own listing takes all files of a folder at each trigger, keeps their paths in the driver, and writes them to a
log again at every tenth micro-batch. Here a thread lists the folders that have changed
(`streaming.storage.folder_changes`), and writes the new files to a manifest. A trigger without new files lists a folder
that is empty.

A manifest is valid in the run that has written it: the next run deletes it, and lists the source. So a kill at any
moment loses no file, and a file that is delivered again has its row in the tables.
"""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

from streaming.images.fetch import is_recently_modified
from streaming.sources.listing import MAX_FILE_AGE, Source
from streaming.storage.folder_changes import FolderChanges
from streaming.storage.interface import (
    StoredFile,
    TransientError,
    escape_glob,
    is_normalized,
    local_path,
    to_spark,
    unique_paths,
)
from streaming.storage.open import open_storage

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_COLUMNS = "path string, length long, modified_ms long, manifest string"
_INTERVAL = 0.5  # seconds between two checks of the folders
_MAX_SHARE = 0.02  # of one core for these checks, unless the trigger interval requires more
_MAX_EMPTY = 1000  # empty files that are checked each time
# Files in memory, 25 MB; the others are written to manifests ahead of the stream.
_MAX_FOUND = 100_000
# Seconds since the last modification of a file for which its length is read again when it is delivered.
_RECENT = 60.0


class Arrivals:
    """The new images of a folder, and the manifests that contain them.

    At most one manifest is written ahead of the stream, so that images that arrive during a micro-batch form one
    manifest, and not one per check of the folders. More are written only if the memory would not suffice.

    An empty file is delivered once it has content, because programs create a file before they write to it. As with
    Spark's file source, the sweep processes files that stay empty.

    Parameters
    ----------
    source : Source
        A folder.
    folder : str
        URI of the folder for the manifests, which no other process writes to.
    max_files : int
        Maximum number of files in a manifest, which is one micro-batch.
    select : callable
        Returns those of the files that are not in the lake, unchanged: if a source is mounted again, all its files have
        new names.
    """

    def __init__(
        self,
        source: Source,
        folder: str,
        max_files: int,
        select: Callable[[Iterable[StoredFile]], Iterator[StoredFile]] = iter,
    ) -> None:
        #: The error that ended the thread.
        self.error: OSError | TransientError | None = None
        self._source, self._folder = source, folder
        self._max_files, self._select = max_files, select
        self._changes = FolderChanges(source.root, follow_outside=source.selection.follow_links)
        self._lock = threading.Lock()
        self._found: dict[str, StoredFile] = {}  # by path; not in a manifest yet
        self._empty: list[StoredFile] = []
        self._position = 0
        self._unread: dict[str, int] = {}  # manifests: number of files by name
        self._delivered: dict[str, int] = {}
        self._written = 0

    def list_all(self) -> Iterator[StoredFile]:
        """List the images of the source; `watching` finds those that arrive after this listing."""
        return self._source.images(self._changes)

    def add(self, files: Iterable[StoredFile]) -> None:
        """Add files that were found, in the order in which the stream delivers them.

        If a file is replaced and found again before it is in a manifest, its last state is delivered.
        """
        for file in files:
            if file.length:
                self._position += file.path not in self._found
                self._found[file.path] = file
            elif len(self._empty) < _MAX_EMPTY:
                self._empty.append(file)

    @property
    def position(self) -> int:
        """Number of files that were found so far; they are delivered in that order."""
        return self._position

    @property
    def outstanding(self) -> int:
        """Number of files that were found and are not committed."""
        with self._lock:
            manifests = (*self._unread.values(), *self._delivered.values())
            return len(self._found) + sum(manifests)

    def has_committed(self, position: int) -> bool:
        """Return whether the files that were found up to a `position` are committed; later ones do not matter."""
        return self.position - self.outstanding >= position

    def prepare(self) -> None:
        """Delete the manifests of earlier runs, and write those of all files that were found.

        In a run that starts another query, manifests whose micro-batch was not committed are delivered again.
        """
        if not self._written:
            open_storage(self._folder).delete_tree(self._folder)
            local_path(self._folder).mkdir(parents=True, exist_ok=True)
        with self._lock:
            self._unread |= self._delivered
            self._delivered = {}
            while self._found:
                self._write_manifest()

    def stream(self, spark: SparkSession) -> DataFrame:
        """Return the rows of the manifests, after `prepare`; one manifest is one micro-batch."""
        return (
            spark.readStream.schema(_COLUMNS)
            # An earlier run may have planned a micro-batch with a manifest that this one has deleted.
            .option("ignoreMissingFiles", "true")
            .option("pathGlobFilter", "*.json")
            .option("maxFileAge", MAX_FILE_AGE)
            .option("maxFilesPerTrigger", 1)
            .json(escape_glob(to_spark(self._folder)))
        )

    def deliver(self, rows: Sequence[Any]) -> list[StoredFile]:
        """Return the images of a micro-batch, given the rows of its manifest, and write the next manifest."""
        with self._lock:
            names = {row.manifest for row in rows} & self._unread.keys()
            self._delivered |= {name: self._unread.pop(name) for name in names}
            self._write_next()
        listed = (
            StoredFile(row.path, row.length, row.modified_ms)
            for row in rows
            if row.manifest in names and is_normalized(row.path)
        )
        files = [_refresh(file) for file in listed if self._source.is_image(file.path)]
        return unique_paths(files)

    def remove_delivered(self) -> None:
        """Delete the manifests whose images have been committed."""
        for name in self._delivered:
            open_storage(self._folder).delete(f"{self._folder}/{name}")
        self._delivered = {}

    @contextmanager
    def watching(self, trigger: float) -> Iterator[None]:
        """Check for new images in a thread while the block runs, at least every `trigger` seconds."""
        ended = threading.Event()
        thread = threading.Thread(
            target=self._watch, args=[trigger, ended], name="arrivals", daemon=True
        )
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _watch(self, trigger: float, ended: threading.Event) -> None:
        shortest = min(_INTERVAL, max(trigger, 0.1))
        pause = shortest
        while not ended.wait(pause):
            started = time.thread_time()
            try:
                self._find()
                with self._lock:
                    self._check_unread()
                    self._write_next()
            except (OSError, TransientError) as error:
                self.error = error
                return
            spent = time.thread_time() - started
            pause = max(shortest, min(trigger, spent / _MAX_SHARE))

    def _find(self) -> None:
        """Add the empty files that have content now, and the images of the folders that changed."""
        empty, self._empty = self._empty, []
        with self._lock:
            self.add(filter(None, map(_stat, empty)))
        found = self._select(self._source.new_images(self._changes))
        while files := list(islice(found, _MAX_FOUND)):
            with self._lock:
                self.add(files)
                while len(self._found) > max(_MAX_FOUND, self._max_files):
                    self._write_manifest()

    def _write_next(self) -> None:
        if self._found and not self._unread:
            self._write_manifest()

    def _check_unread(self) -> None:
        """Raise FileNotFoundError if a manifest is missing: the stream would wait for it, and all later images too."""
        if self._unread:  # one suffices: Spark reads all that are present
            path = local_path(f"{self._folder}/{next(iter(self._unread))}")
            if not path.exists():
                raise FileNotFoundError(f"{path} was deleted by another program")

    def _write_manifest(self) -> None:
        name = f"{uuid.uuid4().hex}.json"
        files = list(islice(self._found.values(), self._max_files))
        lines = (
            json.dumps(
                {
                    "path": file.path,
                    "length": file.length,
                    "modified_ms": file.modified_ms,
                    "manifest": name,
                }
            )
            for file in files
        )
        path = f"{self._folder}/{name}"
        # Spark reads the oldest manifest first. This one gets its time before Spark can see it.
        hidden = f"{self._folder}/.{name}"
        open_storage(path).write(hidden, "\n".join(lines).encode())
        self._written += 1
        modified = time.time_ns() + self._written * 1_000_000
        os.utime(local_path(hidden), ns=(modified, modified))
        os.rename(local_path(hidden), local_path(path))
        for file in files:
            del self._found[file.path]
        self._unread[name] = len(files)


def _refresh(file: StoredFile) -> StoredFile:
    """Return the present length and time of a file that was being written when it was listed."""
    present = _stat(file) if is_recently_modified(file, _RECENT) else None
    return present or file  # if there is no such file, reading it reports why


def _stat(file: StoredFile) -> StoredFile | None:
    try:
        return open_storage(file.path).stat(file.path)
    except (OSError, TransientError):
        return None
