"""The request queue of a lake: small files in ``requests/``, executed between two micro-batches.

`reconcile` compares source and lake while micro-batches continue.

A request file is deleted after its result is written. If the process is killed in between, the next one executes
the request again, so every operation is idempotent.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from streaming import errors
from streaming.errors import ExternalError, LakeError, PomonaError
from streaming.lake.layout import Lake
from streaming.storage.documents import (
    InvalidDocumentError,
    Optional,
    Schema,
    Values,
    check_document,
    parse_document,
)
from streaming.storage.interface import join_name
from streaming.storage.open import open_storage

log = logging.getLogger(__name__)

JSON = Any  # a value that `json` can serialize

_ANSWERS = "/answers"
_REQUEST = {"kind": str, "arguments": dict}
_ERROR = {"error": Optional(str), "error_type": Optional(str)}
#: The shapes of the results, by kind of request.
_RESULTS: dict[str, Schema] = {
    "retry": dict.fromkeys(
        ("retried", "featurized", "quarantined", "changing", "missing_in_source"), int
    )
    | {"reasons": Values(int), "other_sources": Optional(int)},
    "forget": {name: [str] for name in ("features", "quarantine", "unknown", "existing")},
    "reconcile": dict.fromkeys(
        (
            "listed",
            "in_lake",
            "rows",
            "unchecked",
            "featurized",
            "quarantined",
            "changing",
            "removed",
        ),
        int,
    )
    | {name: [str] for name in ("missing", "changed", "rewritten", "missing_in_source", "unread")}
    | {"skip_reason": str, "unlisted": Values(int), "counts": Values(int)},
    "set_retention": {"tables": [str]},
}


def _new_id() -> str:
    """Return a random ID that sorts by time, which modification times of files may be too coarse for."""
    return f"{time.time_ns():020}-{uuid.uuid4().hex[:8]}"


@dataclass(frozen=True)
class Request:
    """A request to the process that owns the lease of a lake.

    Parameters
    ----------
    kind : str
        A key of `streaming.maintenance.operations.OPERATIONS`, or ``stop``.
    arguments : dict of str to JSON
    id : str
        Random by default.
    """

    kind: str
    arguments: dict[str, JSON] = field(default_factory=dict)
    id: str = field(default_factory=_new_id)


def submit(lake: Lake, request: Request) -> None:
    """Write a request to the queue, atomically."""
    content = {"kind": request.kind, "arguments": request.arguments}
    open_storage(lake.root).write(_path(lake, request.id), json.dumps(content).encode())


def pending_requests(lake: Lake) -> list[Request]:
    """Return the requests without a result, oldest first."""
    storage = open_storage(lake.root)
    requests = []
    # The ids sort by time; modification times are those of the last copy of the lake.
    for path in sorted(file.path for file in storage.list(lake.requests)):
        name = path.removeprefix(f"{lake.requests}/")
        if "/" in name or name.startswith(".") or not name.endswith(".json"):
            continue
        try:
            request_id = name.removesuffix(".json")
            _path(lake, request_id)
            document = parse_document(storage.read(path, lake.root), _REQUEST)
            requests.append(Request(document["kind"], document["arguments"], request_id))
        except FileNotFoundError:  # canceled or answered in the meantime
            continue
        except (InvalidDocumentError, LakeError, PermissionError) as error:
            log.warning("%s is not a request of Pomona (%s): delete it", path, error)
    return requests


def write_result(lake: Lake, request: Request, result: dict[str, JSON]) -> None:
    """Write the result of a request, then delete the request."""
    content = json.dumps(result).encode()
    open_storage(lake.root).write(_path(lake, request.id, _ANSWERS), content)
    cancel(lake, request)


def write_error(lake: Lake, request: Request, error: PomonaError) -> None:
    """Write the error of a request, which `poll_result` raises in the client."""
    write_result(lake, request, {"error": str(error), "error_type": type(error).__name__})


def cancel(lake: Lake, request: Request) -> None:
    """Delete a request. If it is already being executed, that is not stopped."""
    open_storage(lake.root).delete(_path(lake, request.id))


def poll_result(lake: Lake, request: Request) -> dict[str, JSON] | None:
    """Return the result of a request, and delete it; None if there is none yet.

    Raises
    ------
    PomonaError
        If the request failed, or its result is broken.
    """
    storage, path = open_storage(lake.root), _path(lake, request.id, _ANSWERS)
    try:
        content = storage.read(path, lake.root)
    except FileNotFoundError:
        return None
    storage.delete(path)
    try:
        result: dict[str, JSON] = parse_document(content, _ERROR)
        if result.get("error") is not None:
            kind = getattr(errors, result.get("error_type") or "", None)
            if not (isinstance(kind, type) and issubclass(kind, PomonaError)):
                kind = ExternalError
            raise kind(" ".join(result["error"].split()))
        check_document(result, _RESULTS.get(request.kind, dict))
    except InvalidDocumentError as error:
        raise LakeError(
            f"{path}: broken ({error}); it was deleted: run the command again, and check who can write into the lake"
        ) from error
    return result


def _path(lake: Lake, request_id: str, folder: str = "") -> str:
    return join_name(f"{lake.requests}{folder}", request_id, "request") + ".json"
