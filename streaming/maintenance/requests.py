"""The request queue of a lake: small files in ``requests/``, executed between two micro-batches.

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
from streaming.errors import ExternalError, PomonaError
from streaming.lake.layout import Lake
from streaming.storage.open import open_storage

log = logging.getLogger(__name__)

JSON = Any  # a value that `json` can serialize

_ANSWERS = "answers"


def _new_id() -> str:
    """Return a random id that sorts by time, which modification times of files may be too coarse for."""
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
            document = json.loads(storage.read(path))
            request_id = name.removesuffix(".json")
            requests.append(Request(document["kind"], document["arguments"], request_id))
        except FileNotFoundError:  # canceled or answered in the meantime
            continue
        except (ValueError, KeyError, TypeError) as error:
            log.warning("%s is not a request of Pomona (%s): delete it", path, error)
    return requests


def write_result(lake: Lake, request: Request, result: dict[str, JSON]) -> None:
    """Write the result of a request, then delete the request."""
    content = json.dumps(result).encode()
    open_storage(lake.root).write(_path(lake, f"{_ANSWERS}/{request.id}"), content)
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
        If the request failed.
    """
    storage, path = open_storage(lake.root), _path(lake, f"{_ANSWERS}/{request.id}")
    try:
        result: dict[str, JSON] = json.loads(storage.read(path))
    except FileNotFoundError:
        return None
    storage.delete(path)
    if "error" in result:
        kind = getattr(errors, str(result.get("error_type")), ExternalError)
        raise kind(result["error"])
    return result


def _path(lake: Lake, name: str) -> str:
    return f"{lake.requests}/{name}.json"
