"""Layout of a lake: where its tables and files are, and checks before they are used."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from streaming.delta.tables import create_table, is_table
from streaming.errors import LakeError
from streaming.lake.format_version import FILE, LakeFormat, check_format, read_format, write_format
from streaming.lake.schemas import QUARANTINE, REFITS, features_table
from streaming.storage.interface import is_s3, local_path, normalize
from streaming.storage.open import check_access

if TYPE_CHECKING:  # `pomona status` answers before Spark is imported
    from pyspark.sql import SparkSession


@dataclass(frozen=True)
class Lake:
    """The paths below one root, itself a normalized URI; `checkpoint_name` names the streaming query's checkpoint."""

    root: str
    checkpoint_name: str = field(default="ingest", compare=False)

    @classmethod
    def at(cls, location: str) -> Lake:
        """The lake at a folder or URI as a person types it."""
        return cls(normalize(location))

    @property
    def features(self) -> str:
        """Delta table of the features."""
        return f"{self.root}/features"

    @property
    def quarantine(self) -> str:
        """Delta table of images that could not be featurized."""
        return f"{self.root}/quarantine"

    @property
    def refits(self) -> str:
        """Delta table of the refits."""
        return f"{self.root}/refits"

    @property
    def checkpoint(self) -> str:
        """State of the streaming query."""
        return f"{self.root}/checkpoints/{self.checkpoint_name}"

    @property
    def models(self) -> str:
        """Exported extractors."""
        return f"{self.root}/models"

    @property
    def reduced(self) -> str:
        """What the refits publish."""
        return f"{self.root}/reduced"

    @property
    def requests(self) -> str:
        """What commands ask of the process that holds the lake."""
        return f"{self.root}/requests"

    @property
    def tags(self) -> str:
        """Names for versions of the features."""
        return f"{self.root}/tags"

    def exists(self) -> bool:
        """Whether there is a features table."""
        return is_table(self.features)

    def format(self) -> LakeFormat | None:
        """The format that this lake has; None where there is no lake yet."""
        return read_format(self.root) or (LakeFormat(1) if self.exists() else None)

    def check_format(self, *, allow_older: bool = False) -> None:
        """Raise LakeError for a newer format, and for an older one unless that will do."""
        found = self.format()
        if found:
            check_format(self.root, found, allow_older=allow_older)

    def validate(self, *, allow_older: bool = False) -> None:
        """Raise LakeError unless there is a features table here, in a format that will do."""
        self._reach()
        found, exists = read_format(self.root), self.exists()
        if found or exists:
            check_format(self.root, found or LakeFormat(1), allow_older=allow_older)
        if not exists:
            raise LakeError(
                f"{self.root} is not a lake (no features/ in it): name the LAKE of `pomona ingest`"
            )

    def ensure_writable_location(self) -> None:
        """Raise LakeError where the lake would be mixed with files that are not Pomona's."""
        if is_s3(self.root):
            self._reach()
            return
        folder = local_path(self.root)
        if folder.exists() and not folder.is_dir():
            raise LakeError(f"{folder} is a file: name a folder for the lake")
        own = {FILE, "features", "quarantine", "refits", "checkpoints", "models", "reduced"}
        own |= {"requests", "tags", "lease.json", "lease-java"}
        names = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
        if names and not names & own:
            raise LakeError(
                f"{folder} holds other files ({min(names)}, …) and is not a lake: name a new or empty folder"
            )

    def _reach(self) -> None:
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
    """Create the three tables of a lake where they are missing, for features of `width` values."""
    if lake.format() is None:
        write_format(lake.root)  # first: tables without it would pass for those of format 1
    create_table(spark, lake.features, features_table(width))
    create_table(spark, lake.quarantine, QUARANTINE)
    create_table(spark, lake.refits, REFITS)
