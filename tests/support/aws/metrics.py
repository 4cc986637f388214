"""Read metrics that were published to CloudWatch, here moto's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import boto3


def published(namespace: str) -> dict[str, list[float]]:
    """Return the minimum of each second with values, oldest first, by metric."""
    client = boto3.client("cloudwatch")
    now = datetime.now(UTC)
    result = {}
    for metric in client.list_metrics(Namespace=namespace)["Metrics"]:
        assert metric["Dimensions"] == []
        points = client.get_metric_statistics(
            Namespace=namespace,
            MetricName=metric["MetricName"],
            StartTime=now - timedelta(hours=1),
            EndTime=now + timedelta(hours=1),
            Period=1,
            Statistics=["Minimum"],
        )["Datapoints"]
        ordered = sorted(points, key=lambda point: point["Timestamp"])
        result[metric["MetricName"]] = [point["Minimum"] for point in ordered]
    return result
