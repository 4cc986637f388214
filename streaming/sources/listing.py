"""The source of images: which files are images, their listing, and the stream over it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from streaming.errors import SourceError
from streaming.images.decode import IMAGE_SUFFIXES
from streaming.storage.interface import StoredFile, is_s3, local_path, normalize
from streaming.storage.open import check_access, open_storage

if TYPE_CHECKING:  # `pomona status` lists a source without Spark
    from pyspark.sql import DataFrame, SparkSession

_FILES = "path string, modificationTime timestamp, length long, content binary"
# Far above any file's age: by default Spark passes over what is a week older than the newest file it has seen.
_MAX_FILE_AGE = "100000d"
# Images of which one at least must be readable.
_LOOKED_AT = 5


@dataclass
class Ignored:
    """How many files below the source are no images, and why."""

    not_an_image_suffix: int = 0
    hidden: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.not_an_image_suffix + self.hidden


@dataclass(frozen=True)
class Source:
    """A prefix that holds images, in folders named after their label."""

    root: str
    ignored: Ignored = field(default_factory=Ignored, compare=False)

    @classmethod
    def at(cls, location: str) -> Source:
        """The source at a folder or URI as a person types it."""
        return cls(normalize(location))

    def images(self) -> Iterator[StoredFile]:
        """List the images; what is passed over is counted in `ignored`.

        Yields
        ------
        StoredFile
            In no particular order.
        """
        self.ignored.not_an_image_suffix = self.ignored.hidden = 0
        for found in open_storage(self.root).list(self.root):
            if self._hides(found.path):
                self.ignored.hidden += 1
            elif not self.is_image(found.path):
                self.ignored.not_an_image_suffix += 1
            else:
                yield found

    def is_image(self, path: str) -> bool:
        """Whether a file below the root counts, by its name; Spark's own idea of hidden names is another."""
        # Hadoop takes the ".." of a key for a way up: what it then lists lies elsewhere.
        below = path.startswith(f"{self.root.rstrip('/')}/")
        return below and not self._hides(path) and path.lower().endswith(_SUFFIXES)

    def _hides(self, path: str) -> bool:
        below = path[len(self.root) :].lstrip("/")
        return any(part.startswith(("_", ".")) for part in below.split("/"))

    def validate(self, *, images: bool) -> None:
        """Check that the source can be listed, and holds an image where one is needed.

        Raises
        ------
        SourceError
            When it does not exist, may not be listed, or is empty.
        """
        if not is_s3(self.root):
            folder = local_path(self.root)
            if not folder.exists():
                raise SourceError(
                    f"source {folder} does not exist: give a folder that contains images"
                )
            if not folder.is_dir():
                raise SourceError(f"source {folder} is a file: give its parent folder")
        try:
            check_access(self.root)
            first = next(self.images(), None)
        except FileNotFoundError as error:
            raise SourceError(f"{error}: check the name and the region of the source") from error
        except PermissionError as error:
            raise SourceError(
                f"{error}: it needs permission to list and read (s3:ListBucket, s3:GetObject)"
            ) from error
        if images and first is None:
            raise SourceError(
                f"source {self.root} contains no images ({self.ignored.total} other files): "
                f"supported suffixes are {', '.join(IMAGE_SUFFIXES)}"
            )

    def check_readable(self) -> None:
        """Check that images may be read, by the first few: one of them may be locked away, not each.

        Raises
        ------
        SourceError
            When none of them may.
        """
        listed = [file.path for file in islice(self.images(), _LOOKED_AT)]
        refused = ""
        for path in listed:
            try:
                open_storage(path).check_readable(path)
                return
            except FileNotFoundError:
                return
            except PermissionError as error:
                refused = str(error)
        if len(listed) > 1:
            raise SourceError(
                f"{refused}, and the same for the first {len(listed)} images of {self.root}: "
                "it needs permission to read them (s3:GetObject)"
            )

    def stream(self, spark: SparkSession, max_files: int) -> DataFrame:
        """Stream the images' names, lengths and times as they arrive.

        The column `content` is left out, and so never read by the JVM: the Python workers read the bytes
        themselves, each image with its own outcome, and nothing crosses from one process to the other.

        Returns
        -------
        DataFrame
            ``path``, ``length`` (bytes), ``modified_ms`` (since 1970).
        """
        from pyspark.sql import functions as F

        return (
            spark.readStream.format("binaryFile")
            .schema(_FILES)
            .option("recursiveFileLookup", "true")
            .option("pathGlobFilter", _GLOB)
            .option("maxFileAge", _MAX_FILE_AGE)
            .option("maxFilesPerTrigger", max_files)
            .load(re.sub(r"([\\*?\[\]{}])", r"\\\1", self.root))
            .select("path", "length", F.unix_millis("modificationTime").alias("modified_ms"))
        )


def label_from_path(path: str) -> str:
    """Name of the folder that an image lies in."""
    return path.rsplit("/", 2)[-2]


def _any_case(suffix: str) -> str:
    return "".join(f"[{c.lower()}{c.upper()}]" if c.isalpha() else c for c in suffix)


_SUFFIXES = tuple(f".{suffix}" for suffix in IMAGE_SUFFIXES)
_GLOB = "*.{" + ",".join(map(_any_case, IMAGE_SUFFIXES)) + "}"
