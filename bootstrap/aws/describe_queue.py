"""Read the attributes of a queue by its name."""

from __future__ import annotations

from bootstrap.aws.request import Parameters, ReadApi

#: Error codes of SQS for a queue that does not exist.
NO_QUEUE_CODES = ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist")


def queue_attributes(read: ReadApi, name: str, *attributes: str) -> tuple[str, Parameters] | None:
    """Return the URL of a queue and these attributes, as texts; None if there is no such queue."""
    found = read("sqs", "get_queue_url", {"QueueName": name}, NO_QUEUE_CODES)
    if found is None:
        return None
    url = str(found["QueueUrl"])
    query = {"QueueUrl": url, "AttributeNames": list(attributes)}
    response = read("sqs", "get_queue_attributes", query, NO_QUEUE_CODES)
    return None if response is None else (url, response.get("Attributes", {}))
