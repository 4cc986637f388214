"""The source of images: select files by name, list them, and stream over new ones."""

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
# Exceeds the age of any file. By default, Spark ignores files a week older than the newest file it has seen.
_MAX_FILE_AGE = "100000d"
# Number of images that `check_readable` tries to open.
_SAMPLE_SIZE = 5


@dataclass
class IgnoredFiles:
    """Number of files below the source that are not images, by reason."""

    not_an_image_suffix: int = 0
    hidden: int = 0

    @property
    def total(self) -> int:
        """Return the number of ignored files."""
        return self.not_an_image_suffix + self.hidden


@dataclass(frozen=True)
class Source:
    """A folder or S3 prefix of images, in subfolders named after their label."""

    root: str
    ignored: IgnoredFiles = field(default_factory=IgnoredFiles, compare=False)

    @classmethod
    def at(cls, location: str) -> Source:
        """Return the source for a folder or URI given by the user."""
        return cls(normalize(location))

    def images(self) -> Iterator[StoredFile]:
        """List the images in no particular order, and count the other files in `ignored`."""
        self.ignored.not_an_image_suffix = self.ignored.hidden = 0
        for found in open_storage(self.root).list(self.root):
            if self._is_hidden(found.path):
                self.ignored.hidden += 1
            elif not self.is_image(found.path):
                self.ignored.not_an_image_suffix += 1
            else:
                yield found

    def is_image(self, path: str) -> bool:
        """Return whether the name of a file qualifies as an image below the root.

        Spark's file source has different rules for hidden names, so the names it finds are filtered with this function.
        """
        # Hadoop resolves ".." in a key, and then lists files outside of the root.
        below = path.startswith(f"{self.root.rstrip('/')}/")
        return below and not self._is_hidden(path) and path.lower().endswith(_SUFFIXES)

    def _is_hidden(self, path: str) -> bool:
        relative = path[len(self.root) :].lstrip("/")
        return any(part.startswith(("_", ".")) for part in relative.split("/"))

    def validate(self, *, require_images: bool) -> None:
        """Check that the source can be listed and, if `require_images` is set, contains at least one image.

        Raises
        ------
        SourceError
            If the source does not exist, cannot be listed, or is empty.
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
                f"{error}: permission to list and read it is required (s3:ListBucket, s3:GetObject)"
            ) from error
        if require_images and first is None:
            raise SourceError(
                f"source {self.root} contains no images ({self.ignored.total} other files): "
                f"supported suffixes are {', '.join(IMAGE_SUFFIXES)}"
            )

    def check_readable(self) -> None:
        """Check that at least one of the first few images can be read: permissions may differ between images.

        Raises
        ------
        SourceError
            If access to all of them is denied.
        """
        sample = [file.path for file in islice(self.images(), _SAMPLE_SIZE)]
        denied = ""
        for path in sample:
            try:
                open_storage(path).check_readable(path)
                return
            except FileNotFoundError:
                return
            except PermissionError as error:
                denied = str(error)
        if len(sample) > 1:
            raise SourceError(
                f"{denied}; none of the first {len(sample)} images of {self.root} can be read: "
                "permission to read them is required (s3:GetObject)"
            )

    def stream(self, spark: SparkSession, max_files: int) -> DataFrame:
        """Stream path, length and modification time of the images as they arrive.

        The column `content` is dropped, so the JVM never reads it: the Python workers read the files, with a separate
        outcome for each image, and no content is copied between processes.

        Returns
        -------
        DataFrame
            Columns ``path``, ``length`` (bytes), ``modified_ms`` (since 1970).
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
    """Return the name of the parent folder of an image."""
    return path.rsplit("/", 2)[-2]


def _case_insensitive(suffix: str) -> str:
    return "".join(f"[{c.lower()}{c.upper()}]" if c.isalpha() else c for c in suffix)


_SUFFIXES = tuple(f".{suffix}" for suffix in IMAGE_SUFFIXES)
_GLOB = "*.{" + ",".join(map(_case_insensitive, IMAGE_SUFFIXES)) + "}"
