"""Read a lake from notebooks and scripts: Arrow and pandas without Spark, and Spark on request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray

from batch_pca.features.parquet_reader import feature_matrix
from batch_pca.pca.projection import Projection
from batch_pca.refits.catalog import RefitRow, published
from batch_pca.refits.load import read_fit
from pomona.queries.session import open_lake, translate_read_errors
from streaming.delta.reader import open_table, query_arrow
from streaming.errors import SnapshotError
from streaming.lake.versions import resolve_version
from streaming.storage.interface import is_s3

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import DataFrame

    from pomona.similarity.search import SimilarityResult


@dataclass(frozen=True, eq=False)
class Pca:
    """The scaler and the PCA of one refit.

    Attributes
    ----------
    refit : RefitRow
        Where they come from: features version, model, rows, options.
    fit : Projection
        ``mean`` and ``std``, (d,), and ``components``, (k, d).
    """

    refit: RefitRow
    fit: Projection

    @property
    def components(self) -> NDArray[np.float64]:
        """Orthonormal rows in the space of standardized features, most variance first, shape (k, d)."""
        return self.fit.components

    @property
    def explained_variance_ratio(self) -> NDArray[np.float64]:
        """Share of the variance that each component explains, shape (k,)."""
        return np.array(self.refit.explained_variance_ratio)

    def transform(self, rows: NDArray[Any] | pa.Table | pd.DataFrame) -> NDArray[np.float64]:
        """Standardize and project, without Spark.

        Parameters
        ----------
        rows : ndarray of shape (n, d), or table with a column ``features``
            As `OpenLake.features_arrow` and `OpenLake.features_pandas` give it.

        Returns
        -------
        ndarray of shape (n, k)

        Raises
        ------
        ValueError
            For another width.
        """
        return self.fit.transform(matrix(rows))

    def transform_spark(self, rows: DataFrame) -> DataFrame:
        """Add the columns ``standardized`` and ``reduced`` to a Spark DataFrame that has ``features``.

        It is the published PipelineModel that does it; ``features`` becomes a vector.
        """
        from pyspark.ml import PipelineModel
        from pyspark.ml.functions import array_to_vector
        from pyspark.sql import functions as F

        model = PipelineModel.load(self.refit.folder.pipeline)
        return model.transform(rows.withColumn("features", array_to_vector(F.col("features"))))


def matrix(rows: NDArray[Any] | pa.Table | pd.DataFrame) -> NDArray[Any]:
    """The vectors of a table as one array of shape (n, d); an array stays as it is."""
    if isinstance(rows, np.ndarray):
        return rows
    if isinstance(rows, pa.Table):
        return feature_matrix(rows["features"].combine_chunks())
    return np.stack(list(rows["features"]))


class OpenLake:
    """A lake that can be read, see `pomona.open_lake`.

    Wherever a method takes `as_of`, that is a version number, a time or a date in ISO 8601 (UTC unless it names a
    zone), ``"3 days ago"`` or a tag; None is the latest version.

    Parameters
    ----------
    location : str
        Folder or URI.

    Attributes
    ----------
    root : str
        Its normalized URI.
    """

    def __init__(self, location: str) -> None:
        self._lake = open_lake(location)
        self.root = self._lake.root

    def __repr__(self) -> str:
        return f"pomona.open_lake({self.root!r})"

    def features(self, as_of: str | int | None = None) -> DataFrame:
        """All rows of the features, as a Spark DataFrame; starts Spark, or takes the session that runs."""
        from streaming.delta.tables import read_table
        from streaming.spark.session import start_session

        number = self.version(as_of)
        return read_table(start_session(s3=is_s3(self.root)), self._lake.features, number)

    def features_arrow(
        self, as_of: str | int | None = None, columns: Sequence[str] | None = None
    ) -> pa.Table:
        """The features as an Arrow table, in no order; all columns, or some.

        ``features`` is a list of float32: 5 KB an image, all of them in memory.
        """
        wanted = ", ".join(f'"{name}"' for name in columns) if columns else "*"
        with translate_read_errors():
            return query_arrow(open_table(self._lake.features, self.version(as_of)), wanted)

    def features_pandas(
        self, as_of: str | int | None = None, columns: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """The same as a pandas DataFrame; each of ``features`` is an array of shape (d,)."""
        return self.features_arrow(as_of, columns).to_pandas()

    def version(self, as_of: str | int | None = None) -> int:
        """The number of the version that is meant."""
        return resolve_version(self._lake, None if as_of is None else str(as_of)).number

    def refits(self) -> list[RefitRow]:
        """All published refits, oldest first."""
        with translate_read_errors():
            return published(self._lake)

    def latest_pca(self) -> Pca:
        """Scaler and PCA of the refit published last; SnapshotError where there is none."""
        made = self.refits()
        if not made:
            raise SnapshotError(f"{self.root} has no refit yet: run `pomona refit {self.root}`")
        return self.pca(made[-1])

    def pca(self, refit: RefitRow) -> Pca:
        """Scaler and PCA of a refit; SnapshotError where its folder is gone or damaged."""
        with translate_read_errors():
            return Pca(refit, read_fit(refit.folder))

    def reduced_arrow(self, refit: RefitRow | None = None) -> pa.Table:
        """``path``, ``label`` and ``reduced`` of a refit, or of the one published last, in the order of the paths."""
        folder = (refit or self.latest_pca().refit).folder
        with translate_read_errors():
            return pa.concat_tables(map(pyarrow.parquet.read_table, folder.parquet_files()))

    def query(self, sql: str, as_of: str | int | None = None) -> pd.DataFrame:
        """Ask in Spark SQL, as `pomona query` does, which reads and changes nothing."""
        from pomona.sql.query import run_query

        with run_query(self.root, sql, None if as_of is None else str(as_of)) as frame:
            return frame.toPandas()

    def similar(
        self, image: str, top: int = 10, as_of: str | int | None = None
    ) -> SimilarityResult:
        """The images most like one, see `pomona.similarity.search.similar`."""
        from pomona.similarity.search import similar

        return similar(self.root, image, top, None if as_of is None else str(as_of))
