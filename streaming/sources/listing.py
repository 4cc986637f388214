"""The source of images: select files by name, list them, and stream over new ones."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from streaming.errors import SourceError
from streaming.images.decode import IMAGE_SUFFIXES
from streaming.storage.interface import (
    StoredFile,
    escape_glob,
    is_s3,
    local_path,
    normalize,
    spark_problem,
    to_spark,
)
from streaming.storage.open import check_access, open_storage

if TYPE_CHECKING:  # `pomona status` lists a source without Spark
    from pyspark.sql import DataFrame, SparkSession

_FILES = "path string, modificationTime timestamp, length long, content binary"
# Exceeds the age of any file. By default, Spark ignores files a week older than the newest file it has seen.
_MAX_FILE_AGE = "100000d"
# Number of images that `check_readable` tries to open.
_SAMPLE_SIZE = 5
# XML 1.0 allows no other control characters than tab, line feed and carriage return.
_NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


@dataclass
class IgnoredFiles:
    """Number of files below the source that are not images, by reason."""

    not_an_image_suffix: int = 0
    hidden: int = 0
    #: One of the keys on S3 with a control character that XML cannot represent; empty if there is none.
    not_in_xml: str = ""

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
        self.ignored.not_in_xml = ""
        for found in open_storage(self.root).list(self.root):
            if is_s3(self.root) and _NOT_IN_XML.search(found.path):
                self.ignored.not_in_xml = found.path
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
        if problem := spark_problem(self.root):
            raise SourceError(
                f"source {self.root}: Spark cannot list this path ({problem}): rename the folder or the prefix"
            )
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

    def check_listable_by_spark(self) -> None:
        """Check the keys of the latest listing: S3A cannot parse a listing with a control character, and retries it.

        Raises
        ------
        SourceError
            If there is such a key. boto3 requests encoded keys, so `images` lists it.
        """
        if key := self.ignored.not_in_xml:
            raise SourceError(
                f"{key}: Spark cannot list a prefix that contains a key with this control character: rename the object"
            )

    def stream(self, spark: SparkSession, max_files: int) -> DataFrame:
        """Stream path, length and modification time of the images as they arrive.

        The column `content` is dropped, so the JVM never reads it: the Python workers read the files, with a separate
        outcome for each image, and no content is copied between processes.

        Returns
        -------
        DataFrame
            Columns ``path`` (see `streaming.storage.interface.from_spark`), ``length`` (bytes), ``modified_ms``
            (since 1970). Files whose name is not valid UTF-8 are missing: Java cannot open them.
        """
        from pyspark.sql import functions as F

        return (
            spark.readStream.format("binaryFile")
            .schema(_FILES)
            .option("recursiveFileLookup", "true")
            .option("pathGlobFilter", _GLOB)
            .option("maxFileAge", _MAX_FILE_AGE)
            .option("maxFilesPerTrigger", max_files)
            .load(escape_glob(to_spark(self.root)))
            .select("path", "length", F.unix_millis("modificationTime").alias("modified_ms"))
        )


def label_from_path(path: str) -> str:
    """Return the name of the parent folder of an image."""
    folders = path.split("/")[:-1]
    return next(name for name in reversed(folders) if name)  # a key of S3 may contain "//"


def _case_insensitive(suffix: str) -> str:
    return "".join(f"[{c.lower()}{c.upper()}]" if c.isalpha() else c for c in suffix)


_SUFFIXES = tuple(f".{suffix}" for suffix in IMAGE_SUFFIXES)
_GLOB = "*.{" + ",".join(map(_case_insensitive, IMAGE_SUFFIXES)) + "}"
