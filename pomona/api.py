"""Read a lake from notebooks and scripts: as Arrow tables and pandas DataFrames without Spark, or with Spark."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from batch_pca.features.parquet_reader import feature_matrix
from batch_pca.pca.projection import Projection
from batch_pca.refits.catalog import RefitRow, read_refits
from batch_pca.refits.load import read_fit, read_vectors
from pomona.queries.session import open_lake, require_refits, translate_read_errors
from streaming.arguments import check_argument
from streaming.delta.reader import open_table, query_arrow
from streaming.errors import UsageError, first_line
from streaming.lake.version_spec import VersionSpec
from streaming.lake.versions import resolve_version
from streaming.storage.interface import is_s3

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import DataFrame

    from batch_pca.refits.prune import PruneResult
    from pomona.similarity.duplicates import DuplicatesResult
    from pomona.similarity.search import SimilarityResult


@dataclass(frozen=True, eq=False)
class Pca:
    """The fitted StandardScaler and PCA of one refit.

    d is the number of features of an image, k the number of components.

    Attributes
    ----------
    refit : RefitRow
        The refit: its features version, model, rows and options.
    projection : Projection
        ``mean`` and ``std`` of shape (d,), ``components`` of shape (k, d).

    Examples
    --------
    >>> import pomona
    >>> pca = pomona.open_lake("./lake").latest_pca()
    >>> pca.projection.mean.shape
    (1280,)
    >>> pca.refit.rows_fitted
    8
    """

    refit: RefitRow
    projection: Projection

    @property
    def components(self) -> NDArray[np.float64]:
        """Principal axes as orthonormal rows, in order of decreasing explained variance, shape (k, d).

        The axes are in the space of standardized features.

        Examples
        --------
        >>> import pomona
        >>> pomona.open_lake("./lake").latest_pca().components.shape
        (3, 1280)
        """
        return self.projection.components

    @property
    def explained_variance_ratio(self) -> NDArray[np.float64]:
        """Share of the variance that each component explains, shape (k,).

        Examples
        --------
        >>> import pomona
        >>> ratio = pomona.open_lake("./lake").latest_pca().explained_variance_ratio
        >>> ratio.shape, bool(0 < ratio.sum() < 1)
        ((3,), True)
        """
        return np.array(self.refit.explained_variance_ratio)

    def transform(self, rows: NDArray[Any] | pa.Table | pd.DataFrame) -> NDArray[np.float64]:
        """Standardize rows and project them on the components, without Spark.

        Parameters
        ----------
        rows : ndarray of shape (n, d), pyarrow.Table or pandas.DataFrame
            A table needs the column ``features``, as in the results of `OpenLake.features_arrow` and
            `OpenLake.features_pandas`.

        Returns
        -------
        ndarray of shape (n, k)

        Raises
        ------
        UsageError
            If the rows are something else, or do not have d features.

        Examples
        --------
        >>> import pomona
        >>> lake = pomona.open_lake("./lake")
        >>> table = lake.features_arrow(columns=["path", "features"])
        >>> lake.latest_pca().transform(table).shape
        (8, 3)
        """
        if isinstance(rows, np.ndarray):
            return self.projection.transform(rows)
        scores = [self.projection.transform(matrix) for matrix in self._matrices(rows)]
        return np.concatenate([np.empty((0, len(self.components))), *scores])

    def _matrices(self, rows: pa.Table | pd.DataFrame) -> Iterator[NDArray[Any]]:
        """Yield the column ``features`` of a table as arrays of shape (n, d).

        The chunks of an Arrow table are not combined: their 32-bit list offsets address only 1.6 million rows of 1280
        features.
        """
        expected = f"an array of shape (n, {self.projection.mean.size})"
        try:
            if isinstance(rows, pa.Table) and "features" in rows.column_names:
                yield from (feature_matrix(part) for part in rows["features"].chunks if len(part))
                return
            if not isinstance(rows, pa.Table) and "features" in getattr(rows, "columns", ()):
                if len(rows):
                    yield np.stack(list(rows["features"]))
                return
        except (AttributeError, TypeError, ValueError, pa.ArrowException) as error:
            raise UsageError(
                f"rows: the column `features` is not {expected} ({first_line(error)}): give lists of numbers"
            ) from error
        raise UsageError(
            f"rows are of type {type(rows).__name__}: give {expected}, or a pyarrow.Table or pandas.DataFrame with the "
            "column `features`"
        )

    def transform_spark(self, rows: DataFrame) -> DataFrame:
        """Standardize and project the rows of a Spark DataFrame with a PipelineModel.

        The pipeline is built from the arrays of the refit. Loading the published one would import the classes that
        its files name.

        Parameters
        ----------
        rows : pyspark.sql.DataFrame
            With the column ``features`` as an array, as in the result of `OpenLake.features`.

        Returns
        -------
        pyspark.sql.DataFrame
            The rows with ``features`` as a vector, and the new vector columns ``standardized`` and ``reduced``.

        Raises
        ------
        UsageError
            If the rows are something else, or have no arrays ``features``.

        Examples
        --------
        >>> import pomona
        >>> lake = pomona.open_lake("./lake")
        >>> rows = lake.latest_pca().transform_spark(lake.features())
        >>> rows.select("label", "reduced").count()
        8
        """
        from pyspark.ml.functions import array_to_vector
        from pyspark.sql import DataFrame
        from pyspark.sql import functions as F

        from batch_pca.pca.spark_pipeline import pipeline_model

        check_argument("rows", rows, DataFrame)
        if not dict(rows.dtypes).get("features", "").startswith("array<"):
            raise UsageError(
                f"rows={rows}: give a DataFrame with the column `features`, an array of numbers"
            )
        model = pipeline_model(rows.sparkSession, self.projection, self.explained_variance_ratio)
        return model.transform(rows.withColumn("features", array_to_vector(F.col("features"))))


class OpenLake:
    """A lake opened for reading; `pomona.open_lake` returns it.

    The parameter `as_of` of its methods selects a version of the features: a version number, a timestamp or date
    (ISO 8601, `datetime` or `date`; UTC if it has no offset), an age such as ``"3 days ago"``,
    or a tag. None selects the latest version.

    Parameters
    ----------
    location : str or os.PathLike
        Folder or ``s3://`` URI.

    Attributes
    ----------
    root : str
        Normalized URI of the lake.

    Raises
    ------
    LakeError
        If there is no lake at the location.

    Examples
    --------
    >>> import pomona
    >>> lake = pomona.open_lake("./lake")
    >>> lake.root
    'file:.../lake'
    """

    def __init__(self, location: str | os.PathLike[str]) -> None:
        self._lake = open_lake(location)
        self.root = self._lake.root

    def __repr__(self) -> str:
        return f"pomona.open_lake({self.root!r})"

    def features(self, *, as_of: VersionSpec | None = None) -> DataFrame:
        """Return the features as a Spark DataFrame.

        They belong to the active Spark session, which needs Delta Lake; if there is none, one is started.

        Examples
        --------
        >>> import pomona
        >>> frame = pomona.open_lake("./lake").features()
        >>> frame.groupBy("label").count().orderBy("label").collect()
        [Row(label='Fig', count=4), Row(label='Kiwi', count=4)]
        """
        from streaming.delta.tables import read_table
        from streaming.spark.session import find_foreign_session, start_session

        number = self.version(as_of)
        spark = find_foreign_session() or start_session(s3=is_s3(self.root))
        return read_table(spark, self._lake.features, number)

    def features_arrow(
        self, *, as_of: VersionSpec | None = None, columns: Sequence[str] | None = None
    ) -> pa.Table:
        """Return the features as an Arrow table, in no particular order.

        All rows are read into memory. The column ``features`` is a list of float32, 5 KB per image.

        Parameters
        ----------
        as_of : str, int or datetime, optional
            Version of the features.
        columns : sequence of str, optional
            Names of the columns to read; None reads all.

        Raises
        ------
        UsageError
            If there is no such column.

        Examples
        --------
        >>> import pomona
        >>> table = pomona.open_lake("./lake").features_arrow(columns=["path", "features"])
        >>> table.num_rows, table.column_names
        (8, ['path', 'features'])
        """
        columns = check_argument("columns", columns, Sequence[str] | None)
        with translate_read_errors():
            table = open_table(self._lake.features, self.version(as_of))
            if columns is None:
                return query_arrow(table, "*")
            known = [field.name for field in table.schema().fields]
            if unknown := [name for name in columns if name not in known]:
                raise UsageError(
                    f"no such column of the features: {', '.join(map(repr, unknown))}: give some of {', '.join(known)}"
                )
            if len(set(columns)) < len(columns):
                raise UsageError(f"columns={list(columns)}: give each column once")
            selected = ", ".join(f'"{name}"' for name in columns)
            return query_arrow(table, selected or "NULL").select(list(columns))

    def features_pandas(
        self, *, as_of: VersionSpec | None = None, columns: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """Return the features as a pandas DataFrame, in no particular order.

        Each value of the column ``features`` is an array of shape (d,). The parameters are those of `features_arrow`.

        Examples
        --------
        >>> import pomona
        >>> frame = pomona.open_lake("./lake").features_pandas(columns=["label", "width"])
        >>> frame["label"].value_counts().sort_index().to_dict()
        {'Fig': 4, 'Kiwi': 4}
        """
        return self.features_arrow(as_of=as_of, columns=columns).to_pandas()

    def version(self, as_of: VersionSpec | None = None) -> int:
        """Return the number of the version that `as_of` selects.

        Raises
        ------
        SnapshotError
            If that version does not exist or is not available any more.
        UsageError
            If `as_of` is not a version specification.

        Examples
        --------
        >>> import pomona
        >>> lake = pomona.open_lake("./lake")
        >>> lake.version() == lake.version("latest")
        True
        >>> lake.version(1)
        1
        """
        with translate_read_errors():
            return resolve_version(self._lake, as_of).number

    def refits(self) -> list[RefitRow]:
        """Return all published refits, oldest first.

        Raises
        ------
        LakeError
            If the lake was deleted.

        Examples
        --------
        >>> import pomona
        >>> for refit in pomona.open_lake("./lake").refits():
        ...     print(refit.refit_id, refit.rows, refit.components)
        2...Z-v... 8 3
        """
        with translate_read_errors():
            return read_refits(self._lake)

    def prune(
        self,
        *,
        keep: int | None = None,
        older_than: str | timedelta | None = None,
        dry_run: bool = False,
    ) -> PruneResult:
        """Remove refits with their files, as `pomona prune` does; the only method that changes the lake.

        The latest refit, the latest scheduled one, the baseline of the latest drift, and refits of tagged versions are
        kept in any case.

        Parameters
        ----------
        keep : int, optional
            Number of the latest refits to keep.
        older_than : str or timedelta, optional
            Remove only refits that are older, such as ``"30d"``. If `keep` is given too, both must hold.
        dry_run : bool
            Remove nothing, and return what would be removed.

        Raises
        ------
        UsageError
            If neither `keep` nor `older_than` is given, or one is out of range.

        Examples
        --------
        >>> import pomona
        >>> result = pomona.open_lake("./lake").prune(keep=10, older_than="30d")
        >>> result.removed, result.remaining, result.size
        ((), 1, 0)
        """
        from batch_pca.refits.prune import PruneOptions, prune
        from pomona.output.durations import parse_duration

        check_argument("older_than", older_than, str | timedelta | None)
        if isinstance(older_than, timedelta):
            seconds: float | None = older_than.total_seconds()
        else:
            seconds = None if older_than is None else parse_duration(older_than, "older_than")
        return prune(self._lake, PruneOptions(keep, seconds, dry_run))

    def latest_pca(self) -> Pca:
        """Return the scaler and the PCA of the latest refit.

        Raises
        ------
        SnapshotError
            If the lake has no refit, or the files of the latest one are missing or damaged.

        Examples
        --------
        >>> import pomona
        >>> lake = pomona.open_lake("./lake")
        >>> lake.latest_pca().refit.refit_id == lake.refits()[-1].refit_id
        True
        """
        return self.pca(require_refits(self._lake)[-1])

    def pca(self, refit: RefitRow) -> Pca:
        """Return the scaler and the PCA of a refit.

        Raises
        ------
        SnapshotError
            If the files of the refit are missing or damaged.

        Examples
        --------
        >>> import pomona
        >>> lake = pomona.open_lake("./lake")
        >>> [lake.pca(refit).components.shape for refit in lake.refits()]
        [(3, 1280)]
        """
        check_argument("refit", refit, RefitRow)
        with translate_read_errors():
            return Pca(refit, read_fit(refit))

    def reduced_arrow(self, refit: RefitRow | None = None) -> pa.Table:
        """Return the reduced vectors that a refit published, ordered by path.

        Parameters
        ----------
        refit : RefitRow, optional
            None means the latest.

        Returns
        -------
        pyarrow.Table
            With the columns ``path``, ``label`` and ``reduced``, a list of k float64.

        Raises
        ------
        SnapshotError
            If the lake has no refit, or the files of the refit are missing or damaged.

        Examples
        --------
        >>> import pomona
        >>> table = pomona.open_lake("./lake").reduced_arrow()
        >>> table.num_rows, table.column_names
        (8, ['path', 'label', 'reduced'])
        """
        check_argument("refit", refit, RefitRow | None)
        with translate_read_errors():
            return read_vectors(refit or require_refits(self._lake)[-1])

    def query(
        self, sql: str, *, as_of: VersionSpec | None = None, timeout: float = 300.0
    ) -> pd.DataFrame:
        """Run a read-only Spark SQL query, as `pomona query` does.

        Starts a Spark session if none is active.

        Parameters
        ----------
        sql : str
            One query over the tables ``features``, ``quarantine``, ``refits`` and ``reduced``.
        as_of : str, int or datetime, optional
            Version of the features; the other tables are read as they were when it was the latest.
        timeout : float
            Seconds after which the query is canceled.

        Raises
        ------
        UsageError
            If the query is invalid, is not read-only, or selects a version itself although `as_of` is given. Nothing
            is run.
        PomonaError
            If the query takes longer than `timeout`, or needs more memory than Java has, which then ends.

        Examples
        --------
        >>> import pomona
        >>> lake = pomona.open_lake("./lake")
        >>> lake.query("SELECT label, count(*) AS images FROM features GROUP BY label ORDER BY label")
          label  images
        0   Fig       4
        1  Kiwi       4
        """
        from pomona.sql.query import run_query

        with run_query(self.root, sql, as_of, timeout) as frame:
            return frame.toPandas()

    def similar(
        self, image: str | os.PathLike[str], *, top: int = 10, as_of: VersionSpec | None = None
    ) -> SimilarityResult:
        """Find the images whose features have the highest cosine similarity to those of an image.

        Parameters
        ----------
        image : str or os.PathLike
            Path or URI of an image of the lake, or of any other image: its features are then computed with the lake's
            model.
        top : int
            Number of images to return.
        as_of : str, int or datetime, optional
            Version of the features to search.

        Raises
        ------
        SourceError
            If the image is not in the lake and cannot be read.

        Examples
        --------
        >>> import pomona
        >>> result = pomona.open_lake("./lake").similar("./fruits/Fig/1.jpg", top=3)
        >>> result.label, len(result.neighbors), result.rows
        ('Fig', 3, 8)
        """
        from pomona.similarity.search import similar

        return similar(self.root, image, top, as_of)

    def duplicates(
        self,
        *,
        at_least: float = 0.98,
        top: int = 100,
        label: str | None = None,
        as_of: VersionSpec | None = None,
    ) -> DuplicatesResult:
        """Find images with identical bytes, and pairs of images with similar features.

        All pairs are compared: 50,000 images take about a minute on two cores.

        Parameters
        ----------
        at_least : float
            Minimum cosine similarity of a pair.
        top : int
            Maximum number of pairs to return; all are counted.
        label : str, optional
            Compare the features only of images with this label.
        as_of : str, int or datetime, optional
            Version of the features.

        Raises
        ------
        UsageError
            If `at_least` or `top` is out of range, or no image has the label.

        Examples
        --------
        >>> import pomona
        >>> result = pomona.open_lake("./lake").duplicates(at_least=0.5, top=3)
        >>> result.near == sorted(result.near, key=lambda pair: -pair.cosine)
        True
        """
        from pomona.similarity.duplicates import NearDuplicateOptions, find_duplicates

        near = NearDuplicateOptions(at_least, label, top)
        with translate_read_errors():
            return find_duplicates(self._lake, self.version(as_of), near)

    def diff(
        self, one: VersionSpec, other: VersionSpec = "latest", *, images: bool = False
    ) -> dict[str, Any]:
        """Compare two versions of the features, or two refits.

        Parameters
        ----------
        one, other : str, int or datetime
            A version as in `as_of`, or a refit ID.
        images : bool
            List the paths of the images too.

        Returns
        -------
        dict
            ``from`` and ``to`` (versions), ``added``, ``removed`` and ``replaced`` (numbers of images), ``labels``
            (the same by label), ``images`` (paths by change; None if not requested) and ``refits`` (explained variance
            and principal angles; None if one of the versions has no refit).

        Examples
        --------
        >>> import pomona
        >>> changes = pomona.open_lake("./lake").diff(0)
        >>> changes["added"], changes["labels"][0]
        (8, {'label': 'Fig', 'added': 4, 'removed': 0, 'replaced': 0})
        """
        from pomona.queries.diff import diff

        return diff(self.root, one, other, images=images)

    def export(
        self,
        file: str | os.PathLike[str],
        *,
        as_of: VersionSpec | None = None,
        label: str | None = None,
    ) -> int:
        """Write the features to a Parquet, CSV or NumPy file, in no particular order.

        The suffix selects the format: ``.parquet`` (all columns), ``.csv`` (``path``, ``label``, ``f1`` …) or ``.npz``
        (arrays ``paths``, ``labels`` and ``features``). Memory does not depend on the number of rows.

        Parameters
        ----------
        file : str or os.PathLike
            Local path; an existing file is replaced.
        as_of : str, int or datetime, optional
            Version of the features.
        label : str, optional
            Export only the images with this label.

        Returns
        -------
        int
            Number of rows written.

        Raises
        ------
        UsageError
            If the suffix is not supported, the file is a folder or lies inside the lake, or no image has the label.
        ExternalError
            If the file cannot be written.

        Examples
        --------
        >>> import numpy as np
        >>> import pomona
        >>> pomona.open_lake("./lake").export("features.npz")
        8
        >>> np.load("features.npz")["features"].shape
        (8, 1280)
        """
        from pomona.queries.export import export

        return export(self.root, file, as_of, label).rows
