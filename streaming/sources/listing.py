"""The source of images: list the selected files, and stream over new ones."""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from streaming.counts import format_count
from streaming.errors import SourceError, UsageError
from streaming.images.decode import IMAGE_SUFFIXES
from streaming.sources.selection import Selection
from streaming.storage.folder_changes import FolderChanges
from streaming.storage.interface import (
    StoredFile,
    Unlisted,
    UnlistedCallback,
    escape_glob,
    is_below,
    is_s3,
    local_path,
    normalize,
    spark_problem,
    to_spark,
)
from streaming.storage.open import check_access, open_storage
from streaming.storage.remedies import storage_remedy

if TYPE_CHECKING:  # `pomona status` lists a source without Spark
    from pyspark.sql import DataFrame, SparkSession

log = logging.getLogger(__name__)

_FILES = "path string, modificationTime timestamp, length long, content binary"
#: Exceeds the age of any file. By default, Spark ignores files a week older than the newest file it has seen.
MAX_FILE_AGE = "100000d"
_FILE_SYSTEM = "pomona.source.SourceFileSystem"  # in java/
_BOUNDARY_OPTION = "pomona.source.boundary"  # read by that class
# Number of images that `check_readable` tries to open.
_SAMPLE_SIZE = 5
# XML 1.0 allows no other control characters than tab, line feed and carriage return.
_NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
# Number of entries of a source that are logged because they cannot be listed.
_MAX_WARNINGS = 20
# Numbers of links out of the source that are named in the JSON output and in the text.
_MAX_OUTSIDE_LINKS, _MAX_OUTSIDE_LINKS_SHOWN = 20, 3
# Limits of the counts by suffix: names such as `data.0001`, `data.0002` would otherwise fill the memory.
_MAX_SUFFIXES, _MAX_SUFFIXES_SHOWN, _MAX_SUFFIX_LENGTH = 1000, 10, 12


@dataclass
class ListingCounts:
    """Number of entries below the source that are not images, by reason.

    Attributes
    ----------
    hidden : int
        Files with a part of their path that begins with ``_`` or ``.``.
    excluded : int
        Other files that the selection excludes.
    suffixes : Counter
        Other files without an image suffix, by suffix in lower case; rare ones beyond the first thousand as ``other``.
    unlisted : Counter
        Entries that could not be listed, by `streaming.storage.interface.Unlisted`.
    """

    hidden: int = 0
    excluded: int = 0
    suffixes: Counter[str] = field(default_factory=Counter)
    unlisted: Counter[str] = field(default_factory=Counter)
    #: The first links that lead out of the source and are not followed.
    outside_links: list[str] = field(default_factory=list)
    #: One of the keys on S3 with a control character that XML cannot represent; empty if there is none. boto3 requests
    #: encoded keys; S3A does not, cannot parse the listing, and retries it for two minutes.
    not_in_xml: str = ""

    @property
    def ignored(self) -> int:
        """Return the number of files that are hidden, excluded, or have no image suffix."""
        return self.hidden + self.excluded + self.suffixes.total()

    def as_json(self) -> dict[str, Any]:
        """Return the counts, for the JSON output of commands."""
        return {
            "ignored": self.ignored,
            "ignored_hidden": self.hidden,
            "ignored_excluded": self.excluded,
            "ignored_suffixes": dict(self._by_frequency()),
            "unlisted": dict(self.unlisted),
            "outside_links": self.outside_links,
        }

    def describe(self) -> list[str]:
        """Describe the counts as lines of text; none for a count of zero."""
        lines = []
        if self.suffixes:
            listed = self._by_frequency()[:_MAX_SUFFIXES_SHOWN]
            text = ", ".join(f"{count:,} {suffix}" for suffix, count in listed)
            more = ", …" if len(self.suffixes) > len(listed) else ""
            ignored = format_count(self.suffixes.total(), "file")
            lines.append(f"{ignored} ignored, no image suffix: {text}{more}")
        if self.hidden:
            lines.append(
                f"{format_count(self.hidden, 'file')} ignored, hidden: a name begins with _ or ."
            )
        if self.excluded:
            lines.append(f"{format_count(self.excluded, 'file')} ignored, excluded by a pattern")
        if self.unlisted:
            text = ", ".join(f"{count:,} {reason}" for reason, count in self.unlisted.items())
            entries = format_count(self.unlisted.total(), "entry", "entries")
            lines.append(f"{entries} could not be listed: {text}")
        if self.outside_links:
            count = self.unlisted[Unlisted.OUTSIDE_LINK.value]
            more = ", …" if count > _MAX_OUTSIDE_LINKS_SHOWN else ""
            names = ", ".join(self.outside_links[:_MAX_OUTSIDE_LINKS_SHOWN])
            lines.append(
                f"{format_count(count, 'link')} out of the source not followed: {names}{more} "
                "(--follow-links follows them)"
            )
        return lines

    def _by_frequency(self) -> list[tuple[str, int]]:
        return sorted(self.suffixes.items(), key=lambda item: (-item[1], item[0]))

    def add_suffix(self, path: str) -> None:
        """Count a file without an image suffix."""
        _, dot, suffix = path.rpartition("/")[2].rpartition(".")
        name = f".{suffix.lower()}" if dot and len(suffix) <= _MAX_SUFFIX_LENGTH else "no suffix"
        is_rare = name not in self.suffixes and len(self.suffixes) >= _MAX_SUFFIXES
        self.suffixes["other" if is_rare else name] += 1


@dataclass(frozen=True)
class Source:
    """A folder or S3 prefix of images, in subfolders named after their label.

    An image is a path: an image that is reachable by two paths, through links, is two images.

    Parameters
    ----------
    root : str
        Normalized URI.
    selection : Selection
        The files of the source that are listed.

    Attributes
    ----------
    counts : ListingCounts
        What the last complete listing has left out.
    """

    root: str
    selection: Selection = field(default_factory=Selection)
    counts: ListingCounts = field(default_factory=ListingCounts, compare=False)
    _warned: set[str] = field(default_factory=set, compare=False, repr=False)

    @classmethod
    def at(cls, location: str | os.PathLike[str], selection: Selection | None = None) -> Source:
        """Return the source for a folder or URI given by the user."""
        source = cls(normalize(location), selection or Selection())
        source._validate_patterns()
        return source

    def images(self, changes: FolderChanges | None = None) -> Iterator[StoredFile]:
        """List the images in no particular order, and count the other entries in `counts`.

        Parameters
        ----------
        changes : FolderChanges, optional
            Lists the files, and remembers them for `new_images`.
        """
        counts = ListingCounts()

        def count_unlisted(path: str, reason: Unlisted, detail: str) -> None:
            """Count an entry that cannot be listed, unless it is hidden, excluded or no image."""
            relative = self._relative(path)
            if _is_hidden(relative) or self.selection.excludes(relative):
                return
            if reason is Unlisted.SPECIAL_FILE and not _has_image_suffix(path):
                counts.add_suffix(path)
                return
            counts.unlisted[reason.value] += 1
            if reason is Unlisted.OUTSIDE_LINK and len(counts.outside_links) < _MAX_OUTSIDE_LINKS:
                counts.outside_links.append(path)
            self._warn(path, reason, detail)

        on_s3 = is_s3(self.root)
        for found in (changes or self).list_all(count_unlisted):
            if on_s3 and _NOT_IN_XML.search(found.path):
                counts.not_in_xml = found.path
            relative = self._relative(found.path)
            if _is_hidden(relative):
                counts.hidden += 1
            elif self.selection.excludes(relative):
                counts.excluded += 1
            elif not _has_image_suffix(found.path):
                counts.add_suffix(found.path)
            else:
                yield found
        vars(self.counts).update(vars(counts))

    def list_all(self, on_unlisted: UnlistedCallback) -> Iterator[StoredFile]:
        """List all files, images or not."""
        return open_storage(self.root).list(
            self.root, on_unlisted, follow_outside=self.selection.follow_links
        )

    def new_images(self, changes: FolderChanges) -> Iterator[StoredFile]:
        """List the images that are new since the last listing with these `changes`."""
        # The next full listing counts and reports the entries that are not listed.
        listing = changes.list_new(lambda path, reason, detail: None)
        return (file for file in listing if self.is_image(file.path))

    def is_image(self, path: str) -> bool:
        """Return whether the path of a file qualifies as an image below the root.

        Spark's file source has different rules for hidden names, so the names it finds are filtered with this function.
        """
        # Hadoop resolves ".." in a key, and then lists files outside of the root.
        if not is_below(path, self.root) or not _has_image_suffix(path):
            return False
        relative = self._relative(path)
        return not _is_hidden(relative) and not self.selection.excludes(relative)

    @property
    def boundary(self) -> str | None:
        """The folder that links in the path of an image must not lead out of; None if they may, and on S3."""
        return None if is_s3(self.root) or self.selection.follow_links else self.root

    def _validate_patterns(self) -> None:
        """Raise UsageError for a pattern that begins with the path of the source: it would match nothing."""
        root = f"{local_path(self.root)}" if not is_s3(self.root) else self.root
        for option in ("include", "exclude"):
            for pattern in getattr(self.selection, option):
                if f"{pattern}/".startswith(f"{root}/"):
                    raise UsageError(
                        f"--{option} {pattern!r} begins with the path of the source: give a pattern relative to it"
                    )

    def _relative(self, path: str) -> str:
        return path[len(self.root) :].lstrip("/")

    def _warn(self, path: str, reason: Unlisted, detail: str) -> None:
        """Log an entry that is not listed, once for each source, and up to a number of them."""
        if path in self._warned or len(self._warned) > _MAX_WARNINGS:
            return
        if len(self._warned) == _MAX_WARNINGS:
            log.warning("more entries of %s are not listed: the summary counts them", self.root)
        else:
            log.warning("%s is not listed (%s): %s", path, reason, detail)
        self._warned.add(path)

    def check_path(self) -> None:
        """Raise SourceError if Spark cannot list the path of this source."""
        if problem := spark_problem(self.root):
            raise SourceError(
                f"source {self.root}: Spark cannot list this path ({problem}): rename the folder or the prefix"
            )

    def validate(self, *, require_images: bool) -> None:
        """Check that the source can be listed and, if `require_images` is set, contains at least one image.

        Raises
        ------
        SourceError
            If the source does not exist, cannot be listed, or is empty.
        """
        self.check_path()
        if not is_s3(self.root):
            _validate_folder(self.root)
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
            counts = "; ".join(self.counts.describe()) or "it is empty"
            raise SourceError(
                f"source {self.root} contains no images ({counts}): "
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
                open_storage(path).check_readable(path, None)
                return
            except FileNotFoundError:
                return
            except PermissionError as error:
                denied = str(error)
        if len(sample) > 1:
            raise SourceError(
                f"{denied}; none of the first {format_count(len(sample), 'image')} of {self.root} can be read: "
                "permission to read them is required (s3:GetObject)"
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

        options = {} if is_s3(self.root) else _local_listing_options(spark)
        if options and self.boundary:
            options[_BOUNDARY_OPTION] = str(local_path(self.root))
        return (
            spark.readStream.format("binaryFile")
            .schema(_FILES)
            # A file or folder that was removed after it was listed does not end the query. If it comes back under the
            # same name, the sweep finds it.
            .option("ignoreMissingFiles", "true")
            .options(**options)
            .option("recursiveFileLookup", "true")
            .option("pathGlobFilter", _GLOB)
            .option("maxFileAge", MAX_FILE_AGE)
            .option("maxFilesPerTrigger", max_files)
            .load(escape_glob(to_spark(self.root)))
            .select("path", "length", F.unix_millis("modificationTime").alias("modified_ms"))
        )


def _validate_folder(root: str) -> None:
    folder = local_path(root)
    try:
        os.scandir(folder).close()
    except FileNotFoundError as error:
        raise SourceError(
            f"source {folder} does not exist: give a folder that contains images"
        ) from error
    except NotADirectoryError as error:
        raise SourceError(f"source {folder} is a file: give its parent folder") from error
    except OSError as error:
        raise SourceError(
            f"source {folder} cannot be listed ({error.strerror}): {storage_remedy(error)}"
        ) from error


def _local_listing_options(spark: SparkSession) -> dict[str, str]:
    """Return the options that make the stream list a folder as `Source.images` does.

    They apply to this stream only. Without the jar, which a cluster gets from ``spark.jars``, Hadoop lists the folder:
    an unreadable folder then ends the query.
    """
    from py4j.protocol import Py4JError

    jvm: Any = spark._jvm
    try:
        jvm.java.lang.Thread.currentThread().getContextClassLoader().loadClass(_FILE_SYSTEM)
    except Py4JError:
        log.debug("%s is not on the class path", _FILE_SYSTEM)
        return {}
    # Spark has created its instance of the default class before.
    return {"fs.file.impl": _FILE_SYSTEM, "fs.file.impl.disable.cache": "true"}


def label_from_path(path: str) -> str:
    """Return the name of the parent folder of an image."""
    folders = path.split("/")[:-1]
    return next(name for name in reversed(folders) if name)  # a key of S3 may contain "//"


def _is_hidden(relative: str) -> bool:
    return any(part.startswith(("_", ".")) for part in relative.split("/"))


def _has_image_suffix(path: str) -> bool:
    return path.lower().endswith(_SUFFIXES)


def _case_insensitive(suffix: str) -> str:
    return "".join(f"[{c.lower()}{c.upper()}]" if c.isalpha() else c for c in suffix)


_SUFFIXES = tuple(f".{suffix}" for suffix in IMAGE_SUFFIXES)
_GLOB = "*.{" + ",".join(map(_case_insensitive, IMAGE_SUFFIXES)) + "}"
