"""The lake's contract: where everything lies, and the schemas of its tables, written once, as data."""

from __future__ import annotations

from dataclasses import dataclass, field

from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession

from streaming.errors import LakeError
from streaming.storage import is_s3, local_path, normalize, reach, storage_of

RETENTION = "interval 3650 days"


@dataclass(frozen=True)
class Column:
    """One column: name, SQL type, what it holds, and whether it may be null."""

    name: str
    type: str
    comment: str
    nullable: bool = False


_CONTENT = (
    Column("path", "string", "Full URI of the image as a person would write it; the key"),
    Column("label", "string", "Name of the image's folder: its class"),
    Column("length", "long", "Size of the image in bytes"),
    Column("modification_time", "timestamp", "When the storage says the image was last written"),
)
_ARRIVAL = (
    Column("ingested_at", "timestamp", "When Pomona computed this row"),
    Column("batch_id", "long", "Micro-batch of the stream that wrote this row; -1 for a sweep"),
)


@dataclass(frozen=True)
class Table:
    """A Delta table: columns, properties and CHECK constraints by name."""

    name: str
    comment: str
    columns: tuple[Column, ...]
    properties: dict[str, str] = field(default_factory=dict)
    constraints: dict[str, str] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in order."""
        return tuple(column.name for column in self.columns)

    @property
    def ddl(self) -> str:
        """The columns as Spark's DDL, for `createDataFrame`."""
        return ", ".join(f"`{column.name}` {column.type}" for column in self.columns)


def features_table(width: int) -> Table:
    """Contract of `features/`, for vectors of `width` values."""
    return Table(
        "features",
        "One row an image: the features of the current content of each path",
        (
            *_CONTENT,
            Column("content_hash", "string", "SHA-256 of the bytes, in hexadecimal"),
            Column("width", "int", "Width in pixels, as displayed"),
            Column("height", "int", "Height in pixels, as displayed"),
            Column("format", "string", "Format of the file, as Pillow names it"),
            Column("features", "array<float>", "Penultimate layer of the network"),
            Column(
                "model_id", "string", "Weights, layer, decoder and precision that made the features"
            ),
            *_ARRIVAL,
        ),
        {
            "delta.enableChangeDataFeed": "true",
            # Statistics on 1280 floats a row would cost time and skip nothing.
            "delta.dataSkippingStatsColumns": "path,label,modification_time,ingested_at,batch_id",
        },
        {"features_width": f"size(features) = {width}"},
    )


QUARANTINE = Table(
    "quarantine",
    "One row an image that could not be featurized",
    (
        *_CONTENT,
        Column(
            "content_hash",
            "string",
            "SHA-256 of the bytes; null where they could not be read",
            True,
        ),
        Column("reason", "string", "One of a closed set of words"),
        Column("detail", "string", "What was wrong, in a sentence"),
        Column("attempts", "int", "How often the image has been tried"),
        *_ARRIVAL,
    ),
)

REFITS = Table(
    "refits",
    "One row a published refit: the table of contents of reduced/",
    (
        Column("refit_id", "string", "Name of the folder below reduced/"),
        Column("features_version", "long", "Version of features that was transformed and fitted"),
        Column("features_timestamp", "timestamp", "When that version was committed"),
        Column("model_id", "string", "Model of all rows fitted"),
        Column("options", "string", "What was asked, as JSON: components or variance, fit_on"),
        Column("rows", "long", "Rows transformed"),
        Column("rows_fitted", "long", "Rows fitted: those below fit_on, or all"),
        Column("components", "int", "Number of components kept"),
        Column(
            "explained_variance_ratio",
            "array<double>",
            "Share of the variance of each component kept",
        ),
        Column("seconds", "double", "Duration of the refit"),
        Column("created_at", "timestamp", "When the refit was published"),
        Column("pomona_version", "string", "Version of Pomona"),
    ),
)


@dataclass(frozen=True)
class Lake:
    """The paths below one root, itself a normalized URI."""

    root: str

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
        return f"{self.root}/checkpoints/ingest"

    @property
    def models(self) -> str:
        """Exported extractors."""
        return f"{self.root}/models"

    @property
    def reduced(self) -> str:
        """What the refits publish."""
        return f"{self.root}/reduced"

    def exists(self) -> bool:
        """Whether there is a features table."""
        return any(storage_of(self.root).list(f"{self.features}/_delta_log"))

    def require(self) -> None:
        """Raise LakeError unless there is a features table here."""
        self._reach()
        if not self.exists():
            raise LakeError(
                f"{self.root} is not a lake (no features/ in it): name the LAKE of `pomona ingest`"
            )

    def require_room(self) -> None:
        """Raise LakeError where the lake would be mixed with files that are not Pomona's."""
        if is_s3(self.root):
            self._reach()
            return
        folder = local_path(self.root)
        if folder.exists() and not folder.is_dir():
            raise LakeError(f"{folder} is a file: name a folder for the lake")
        own = {"features", "quarantine", "refits", "checkpoints", "models", "reduced"}
        names = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
        if names and not names & own:
            raise LakeError(
                f"{folder} holds other files ({min(names)}, …) and is not a lake: name a new or empty folder"
            )

    def _reach(self) -> None:
        try:
            reach(self.root)
        except FileNotFoundError as error:
            raise LakeError(f"{error}: create the bucket of the lake, or check its name") from error
        except PermissionError as error:
            raise LakeError(
                f"{error}: a lake needs leave to list, read, write and delete "
                "(s3:ListBucket, s3:GetObject, s3:PutObject, s3:DeleteObject)"
            ) from error


def create_table(spark: SparkSession, location: str, table: Table) -> None:
    """Create a table where there is none, or finish what an interrupted creation left out."""
    builder = DeltaTable.createIfNotExists(spark).location(location).comment(table.comment)
    for column in table.columns:
        builder = builder.addColumn(
            column.name, column.type, nullable=column.nullable, comment=column.comment
        )
    properties = table.properties | {
        "delta.logRetentionDuration": RETENTION,
        "delta.deletedFileRetentionDuration": RETENTION,
    }
    for key, value in properties.items():
        builder = builder.property(key, value)
    builder.execute()
    if table.constraints:
        present = DeltaTable.forPath(spark, location).detail().collect()[0].properties
        for name, check in table.constraints.items():
            if f"delta.constraints.{name}" not in present:
                spark.sql(f"ALTER TABLE delta.`{location}` ADD CONSTRAINT {name} CHECK ({check})")


def read_table(spark: SparkSession, location: str, version: int | None = None) -> DataFrame:
    """A Delta table, as it is now or as of a version."""
    reader = spark.read.format("delta")
    return (reader if version is None else reader.option("versionAsOf", version)).load(location)
