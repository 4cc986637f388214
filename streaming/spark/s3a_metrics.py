"""Read the retry metrics of S3A, through which Spark accesses S3."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from py4j.protocol import Py4JError
from pyspark.sql import SparkSession

from streaming.storage.interface import is_s3
from streaming.storage.retry import process_retry_count

log = logging.getLogger(__name__)

_RETRIES = "store_io_retry"


def s3a_retries(spark: SparkSession, uris: Iterable[str]) -> int:
    """Return the number of requests that S3A and the AWS SDK have retried since Java was started.

    Parameters
    ----------
    spark : SparkSession
    uris : iterable of str
        Each bucket counts once; local folders are ignored.

    Returns
    -------
    int
        0 if this version of Hadoop does not report it.
    """
    buckets = {uri.removeprefix("s3a://").partition("/")[0] for uri in uris if is_s3(uri)}
    return sum(_retries_of(spark, bucket) for bucket in buckets)


def retries_on_driver(spark: SparkSession, uris: Iterable[str]) -> Counter[str]:
    """Return the retries outside the workers since this process started: of listings and of table files."""
    return Counter(listings=process_retry_count(), tables=s3a_retries(spark, uris))


def _retries_of(spark: SparkSession, bucket: str) -> int:
    jvm: Any = spark._jvm
    try:
        uri = jvm.java.net.URI(f"s3a://{quote(bucket)}/")
        conf = spark._jsc.hadoopConfiguration()
        statistics = jvm.org.apache.hadoop.fs.FileSystem.get(uri, conf).getStorageStatistics()
        return int(statistics.getLong(_RETRIES) or 0)
    except (Py4JError, TypeError) as error:
        log.debug("%s: S3A does not report its retries (%s)", bucket, error)
        return 0
