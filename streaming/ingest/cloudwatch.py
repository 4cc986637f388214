"""Publish the age of the last commit and the backlog of a run as CloudWatch metrics."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from streaming.errors import PomonaError, first_line
from streaming.ingest.settings import IngestSummary
from streaming.lake.history import last_commit
from streaming.lake.layout import Lake
from streaming.storage.interface import TransientError

log = logging.getLogger(__name__)

#: Metrics, without dimensions, and their units; docs/reference/counts-and-rates.md has the definitions.
METRICS = {"LastCommitAge": "Seconds", "Backlog": "Count"}
#: Seconds between two requests; CloudWatch stores one value per minute without extra charge.
INTERVAL = 60.0


@contextmanager
def publishing_metrics(namespace: str | None, lake: Lake, summary: IngestSummary) -> Iterator[None]:
    """Publish the metrics of a run from a thread, at once and then every `INTERVAL` seconds.

    A failed request never fails the run: the first one of a series is logged as a warning.

    Parameters
    ----------
    namespace : str, optional
        CloudWatch namespace; None publishes nothing.
    lake : Lake
    summary : IngestSummary
        Read at each request.
    """
    if namespace is None:
        yield
        return
    stop = threading.Event()
    # A daemon is not joined: the end of a run does not wait for an endpoint that does not respond.
    threading.Thread(
        target=_publish, args=(namespace, lake, summary, stop), name="cloudwatch", daemon=True
    ).start()
    try:
        yield
    finally:
        stop.set()


def _publish(namespace: str, lake: Lake, summary: IngestSummary, stop: threading.Event) -> None:
    from botocore.exceptions import BotoCoreError, ClientError
    from urllib3.exceptions import HTTPError

    from streaming.storage.s3_client import FAIL_FAST, new_session

    before_run = _last_commit_before(lake)
    client: Any = None
    has_failed = False
    while True:
        age = time.time() - max(before_run, summary.last_row_at)
        values = {"LastCommitAge": max(0.0, age), "Backlog": summary.waiting}
        data = [
            {"MetricName": name, "Value": values[name], "Unit": unit}
            for name, unit in METRICS.items()
        ]
        try:
            client = client or new_session().client("cloudwatch", config=FAIL_FAST)
            client.put_metric_data(Namespace=namespace, MetricData=data)
            has_failed = False
        except (BotoCoreError, ClientError, HTTPError, OSError, ValueError) as error:
            if not has_failed:
                log.warning(
                    "metrics of %s cannot be published to CloudWatch (%s): check the permission "
                    "cloudwatch:PutMetricData, the region and the network; ingestion continues",
                    namespace,
                    first_line(error),
                )
            has_failed = True
        if stop.wait(INTERVAL):
            return


def _last_commit_before(lake: Lake) -> float:
    """Return the time of the last commit before the run, or now if there is none, in seconds since 1970."""
    try:
        committed = last_commit(lake)
    except (PomonaError, TransientError, OSError) as error:
        log.debug("%s: the last commit is unknown: %s", lake.root, error)
        committed = None
    return committed.timestamp() if committed else time.time()
