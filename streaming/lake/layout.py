"""Layout of a lake: where its tables and files are, and checks before they are used."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from streaming.delta.commit_lock import LOCK_FILE
from streaming.delta.tables import create_table, is_table
from streaming.errors import ExternalError, LakeError
from streaming.lake.format_version import FILE, LakeFormat, check_format, read_format, write_format
from streaming.lake.schemas import QUARANTINE, REFITS, features_table
from streaming.storage.interface import (
    TransientError,
    is_below,
    is_s3,
    join_name,
    local_path,
    normalize,
    spark_problem,
)
from streaming.storage.open import check_access
from streaming.storage.remedies import storage_remedy

if TYPE_CHECKING:  # `pomona status` does not import Spark
    from pyspark.sql import SparkSession

_SOURCES = "sources.json"
_OWN_NAMES = {FILE, "features", "quarantine", "refits", "checkpoints", "models", "reduced"}
_OWN_NAMES |= {"arrivals", "requests", "tags", "lease.json", "lease-java", LOCK_FILE, _SOURCES}
# delta-rs rejects control characters, decodes percent escapes twice, and takes a backslash for a slash; Delta's builder
# of tables does not escape a backtick. For folders, delta-rs panics if a change data feed is read and the path has
# characters that URLs do not encode.
_UNSUPPORTED = re.compile(r"[\x00-\x1f\x7f\\`]|%[0-9A-Fa-f]{2}")
# Bytes; a key of S3 has at most 1,024, and the names inside of a lake need up to 250 of them.
_MAX_PREFIX_LENGTH = 1024 - 250
_UNSUPPORTED_LOCALLY = re.compile(rf"[\[\]|^]|{_UNSUPPORTED.pattern}")
# delta-rs reads these two in a listing of S3 as line breaks, as XML 1.1 does.
_UNSUPPORTED_ON_S3 = re.compile(rf"[\x85\u2028]|{_UNSUPPORTED.pattern}")


@dataclass(frozen=True)
class Lake:
    """The locations of a lake's tables and files.

    Parameters
    ----------
    root : str
        Normalized URI.
    checkpoint_name : str
        Folder of the streaming query's checkpoint.
    """

    root: str
    checkpoint_name: str = field(default="ingest", compare=False)

    @classmethod
    def at(cls, location: str | os.PathLike[str]) -> Lake:
        """Create a `Lake` from a folder or URI as a user enters it.

        Raises
        ------
        LakeError
            If Spark or delta-rs cannot open tables at this location.
        """
        root = normalize(location)
        if match := (_UNSUPPORTED_ON_S3 if is_s3(root) else _UNSUPPORTED_LOCALLY).search(root):
            raise LakeError(
                f"lake {root}: tables cannot be stored at this path, because it contains {match[0]!a}: "
                "rename the folder, or choose another path (docs/reference/lake-layout.md lists such characters)"
            )
        length = len(root.removeprefix("s3a://").partition("/")[2].encode()) if is_s3(root) else 0
        if length > _MAX_PREFIX_LENGTH:
            raise LakeError(
                f"lake {root}: the prefix has {length:,} bytes; tables are stored at one of at most "
                f"{_MAX_PREFIX_LENGTH}, because a key of S3 has at most 1,024: choose a shorter one"
            )
        if problem := spark_problem(root):
            raise LakeError(f"lake {root}: Spark cannot use this path ({problem}): choose another")
        return cls(root)

    @property
    def features(self) -> str:
        """Delta table of the features."""
        return f"{self.root}/features"

    @property
    def quarantine(self) -> str:
        """Delta table of the images that could not be featurized."""
        return f"{self.root}/quarantine"

    @property
    def refits(self) -> str:
        """Delta table of the refits."""
        return f"{self.root}/refits"

    @property
    def checkpoint(self) -> str:
        """Checkpoint of the streaming query."""
        return join_name(f"{self.root}/checkpoints", self.checkpoint_name, "checkpoint")

    def for_manifests(self) -> Lake:
        """Return this lake with the checkpoint of the query over manifests, which has logs of its own."""
        return replace(self, checkpoint_name=f"{self.checkpoint_name}-arrivals")

    @property
    def arrivals(self) -> str:
        """Folder of the manifests of new images, see `streaming.sources.arrivals`."""
        return f"{self.root}/arrivals"

    @property
    def models(self) -> str:
        """Folder of the exported models."""
        return f"{self.root}/models"

    @property
    def reduced(self) -> str:
        """Folder of the published refits."""
        return f"{self.root}/reduced"

    @property
    def requests(self) -> str:
        """Folder of the requests to the process that owns the lease."""
        return f"{self.root}/requests"

    @property
    def tags(self) -> str:
        """Folder of the tags."""
        return f"{self.root}/tags"

    @property
    def sources(self) -> str:
        """File with the sources that were ingested, and the patterns of each."""
        return f"{self.root}/{_SOURCES}"

    def exists(self) -> bool:
        """Return whether there is a features table; ExternalError if that cannot be determined."""
        try:
            return is_table(self.features)
        except (PermissionError, TransientError) as error:
            raise ExternalError(
                f"{self.features} cannot be listed ({error}): {storage_remedy(error)}"
            ) from error

    def format(self) -> LakeFormat | None:
        """Return the format of this lake; None if there is no lake yet."""
        return read_format(self.root) or (LakeFormat(1) if self.exists() else None)

    def check_format(self, *, allow_older: bool = False) -> None:
        """Raise LakeError if the format is newer, or older unless that is allowed."""
        lake_format = self.format()
        if lake_format:
            check_format(self.root, lake_format, allow_older=allow_older)

    def validate(self, *, allow_older: bool = False) -> None:
        """Raise LakeError unless there is a features table here, in a supported format."""
        self._check_access()
        self._check_links()
        lake_format, exists = read_format(self.root), self.exists()
        if lake_format or exists:
            check_format(self.root, lake_format or LakeFormat(1), allow_older=allow_older)
        if not exists:
            raise self._no_lake()

    def check_exists(self) -> None:
        """Raise LakeError if there is no features table here, for example any more."""
        if not self.exists():
            raise self._no_lake()

    def _no_lake(self) -> LakeError:
        return LakeError(
            f"{self.root} is not a lake (it has no features/): use the LAKE given to `pomona ingest`"
        )

    def ensure_writable_location(self) -> None:
        """Raise LakeError if the location contains files that are not of a lake."""
        if is_s3(self.root):
            self._check_access()
            return
        folder = local_path(self.root)
        if folder.exists() and not folder.is_dir():
            raise LakeError(f"{folder} is a file: choose a folder for the lake")
        self._check_links()
        names = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
        if names and not names & _OWN_NAMES:
            raise LakeError(
                f"{folder} contains other files ({min(names)}, …) and is not a lake: choose a new or empty folder"
            )

    def _check_links(self) -> None:
        """Raise LakeError if a link leads out of a lake in a folder where Pomona or Spark would write.

        Spark and Delta Lake follow links, and anyone who can write into the lake could let them write elsewhere. Spark
        also reads all files of the checkpoint.
        """
        if is_s3(self.root):
            return
        real_root = os.path.realpath(local_path(self.root))
        for path in self._written_paths():
            try:
                mode = os.lstat(path).st_mode
            except OSError:  # missing, or not readable
                continue
            if stat.S_ISLNK(mode):
                if not is_below(f"{os.path.realpath(path)}/", real_root):
                    raise LakeError(
                        f"{path}: is a link that leads out of the lake, and Pomona would read or write there: replace "
                        "it by what it points to; to store a lake elsewhere, make a link to the whole lake"
                    )
            elif not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                raise LakeError(f"{path}: is not a regular file: delete it")

    def _written_paths(self) -> Iterator[Path]:
        """Yield the files and folders that Pomona or Spark would write, each after the folders above it."""
        root = local_path(self.root)
        tables = [local_path(table) for table in (self.features, self.quarantine, self.refits)]
        yield from (root / name for name in _OWN_NAMES)
        for table in tables:
            yield from (table / "_delta_log", table / "_change_data")
        yield root / "requests" / "answers"
        for folder in (
            *(table / "_delta_log" for table in tables),
            root / "arrivals",
            root / "checkpoints",
            root / "models",
        ):
            with suppress(OSError), os.scandir(folder) as entries:
                yield from (
                    Path(entry.path)
                    for entry in entries
                    if not entry.is_file(follow_symlinks=False)
                )
        for checkpoint in (self.checkpoint, self.for_manifests().checkpoint):
            for name, folders, files in os.walk(local_path(checkpoint)):
                yield from (Path(name, entry) for entry in (*folders, *files))

    def _check_access(self) -> None:
        try:
            check_access(self.root)
        except FileNotFoundError as error:
            raise LakeError(f"{error}: create the bucket of the lake, or check its name") from error
        except PermissionError as error:
            raise LakeError(
                f"{error}: a lake needs permission to list, read, write and delete "
                "(s3:ListBucket, s3:GetObject, s3:PutObject, s3:DeleteObject)"
            ) from error


def create_tables(spark: SparkSession, lake: Lake, width: int) -> None:
    """Create the tables of a lake that do not exist yet, for feature vectors of `width` values."""
    if lake.format() is None:
        write_format(lake.root)  # first: without it, tables are taken for format 1
    create_table(spark, lake.features, features_table(width))
    create_table(spark, lake.quarantine, QUARANTINE)
    create_table(spark, lake.refits, REFITS)
