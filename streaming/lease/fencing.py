"""Fence off a former owner of a lake on S3, which may have been paused in the middle of a commit.

The log store (`java/pomona/delta/FencedLogStore.java`) re-checks the lease before each commit. A commit that passed
the check but is not written yet collides with an empty commit that the new owner writes under the same version.
"""

from __future__ import annotations

import json
import logging
import re
import time
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from py4j.protocol import Py4JError

from streaming import __version__
from streaming.lease.holder import Holder
from streaming.spark.session import LOG_STORE, LOG_STORE_SETTING
from streaming.storage.documents import InvalidDocumentError, parse_document
from streaming.storage.s3 import call_with_retries
from streaming.storage.s3_client import bucket_and_key, s3_client
from streaming.storage.s3_errors import PRECONDITION_FAILED

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from streaming.lake.layout import Lake

log = logging.getLogger(__name__)

_COMMIT = re.compile(r"/(\d{20})\.(?:json|checkpoint)")


def fence(lake: Lake, holder: Holder) -> None:
    """Make an empty commit in each table that only the lease owner writes; call it before the tables are read."""
    for table in (lake.features, lake.quarantine):
        number = _empty_commit(table, holder)
        log.debug(
            "%s: wrote version %s as an empty commit, to fence off a paused writer", table, number
        )


def guard_commits(spark: SparkSession, lake: Lake, lease: str, holder: Holder) -> bool:
    """Make Spark's commits check the lease; return False if the session uses another log store."""
    if spark.conf.get(LOG_STORE_SETTING, None) != LOG_STORE:
        return False
    store: Any = spark._jvm.pomona.delta.FencedLogStore  # type: ignore[union-attr]
    try:
        if not store.isSupported():
            return False
        for table in (lake.features, lake.quarantine):
            store.requireLease(table, lease, holder.id)
    except (TypeError, Py4JError) as error:  # the session was started without the jar
        log.debug("no fenced log store: %s", error)
        return False
    return True


def release_commits(spark: SparkSession, lake: Lake) -> None:
    """Stop checking the lease in Spark's commits, after it was released."""
    with suppress(Exception):  # Java may have exited already
        for table in (lake.features, lake.quarantine):
            spark._jvm.pomona.delta.FencedLogStore.release(table)  # type: ignore[union-attr]


def _empty_commit(table: str, holder: Holder) -> int | None:
    """Append an empty commit to a table's log despite concurrent writers; return its version, None without a table."""
    bucket, log_folder = bucket_and_key(f"{table}/_delta_log")
    client = s3_client()

    def put() -> int | None:
        while True:
            last = _last_version(client, bucket, log_folder)
            if last is None:
                return None
            key = f"{log_folder}/{last + 1:020}.json"
            try:
                client.put_object(Bucket=bucket, Key=key, Body=_content(holder), IfNoneMatch="*")
            except client.exceptions.ClientError as error:
                if error.response["Error"]["Code"] in PRECONDITION_FAILED:
                    continue  # a commit of an earlier owner was first, or the response to an earlier attempt was lost
                raise
            return last + 1

    return call_with_retries(table, put)


def _last_version(client: Any, bucket: str, log_folder: str) -> int | None:
    """Return the last version in a log; None if there is no log."""
    start = f"{log_folder}/"
    try:
        hint = client.get_object(Bucket=bucket, Key=f"{log_folder}/_last_checkpoint")
        start = f"{log_folder}/{_hinted_version(hint['Body'].read()):020}"
    except (client.exceptions.NoSuchKey, InvalidDocumentError):
        pass
    last = None
    pages = client.get_paginator("list_objects_v2")
    for page in pages.paginate(Bucket=bucket, Prefix=f"{log_folder}/0", StartAfter=start):
        for entry in page.get("Contents", ()):
            match = _COMMIT.search(entry["Key"])
            if match:
                last = max(int(match[1]), last or 0)
    return last


def _hinted_version(content: bytes) -> int:
    version: int = parse_document(content, {"version": int})["version"]
    return version


def _content(holder: Holder) -> bytes:
    """Return a commit that has a commitInfo and no other action."""
    commit_info = {
        "timestamp": int(time.time() * 1000),
        "operation": "POMONA TAKEOVER",
        "operationParameters": {},
        "isBlindAppend": True,
        "engineInfo": f"Pomona/{__version__}",
        "txnId": str(uuid.uuid4()),
        "userMetadata": json.dumps({"pomona": __version__, "lease": holder.id}),
    }
    return json.dumps({"commitInfo": commit_info}).encode() + b"\n"
