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

JSON = Any  # what `json` writes and reads

_ANSWERS = "answers"
_POLL = 0.5  # seconds between two looks for an answer


def _new_id() -> str:
    """Random, and in the order of the clock where times of files are too coarse for one."""
    return f"{time.time_ns():020}-{uuid.uuid4().hex[:8]}"


@dataclass(frozen=True)
class Request:
    """Something to be done with a lake by the process that holds it.

    Parameters
    ----------
    kind : str
        One of `streaming.maintenance.operations.OPERATIONS`.
    arguments : dict of str to JSON
    id : str
        Random unless it is given.
    """

    kind: str
    arguments: dict[str, JSON] = field(default_factory=dict)
    id: str = field(default_factory=_new_id)


def submit(lake: Lake, request: Request) -> None:
    """Put a request into the lake, whole or not at all."""
    content = {"kind": request.kind, "arguments": request.arguments}
    open_storage(lake.root).write(_path(lake, request.id), json.dumps(content).encode())


def pending_requests(lake: Lake) -> list[Request]:
    """The requests that nobody has answered, the oldest first: one listing, and a read for each."""
    storage = open_storage(lake.root)
    listed = sorted((file.modified_ms, file.path) for file in storage.list(lake.requests))
    found = []
    for _, path in listed:
        name = path.removeprefix(f"{lake.requests}/")
        if "/" in name or name.startswith(".") or not name.endswith(".json"):
            continue
        try:
            told = json.loads(storage.read(path))
            found.append(Request(told["kind"], told["arguments"], name.removesuffix(".json")))
        except FileNotFoundError:  # withdrawn or answered meanwhile
            continue
        except (ValueError, KeyError, TypeError) as error:
            log.warning("%s is no request of Pomona's (%s): delete it", path, error)
    return found


def write_result(lake: Lake, request: Request, result: dict[str, JSON]) -> None:
    """Write what came of a request, then take the request away."""
    content = json.dumps(result).encode()
    open_storage(lake.root).write(_path(lake, f"{_ANSWERS}/{request.id}"), content)
    cancel(lake, request)


def write_error(lake: Lake, request: Request, error: PomonaError) -> None:
    """Have `await_answer` raise the error where the request came from."""
    write_result(lake, request, {"error": str(error), "error_type": type(error).__name__})


def cancel(lake: Lake, request: Request) -> None:
    """Take a request back; one that is being carried out is not stopped by it."""
    open_storage(lake.root).delete(_path(lake, request.id))


def poll_result(lake: Lake, request: Request) -> dict[str, JSON] | None:
    """The answer to a request, which is taken away; None where there is none yet.

    Raises
    ------
    PomonaError
        Where carrying it out ended in one.
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


def await_answer(lake: Lake, request: Request, timeout: float) -> dict[str, JSON]:
    """Wait for the answer to a request.

    Parameters
    ----------
    lake : Lake
    request : Request
        As it was left.
    timeout : float
        Seconds.

    Returns
    -------
    dict of str to JSON

    Raises
    ------
    ExternalError
        When nobody has answered by then; the request stays.
    PomonaError
        Where carrying it out ended in one.
    """
    until = time.monotonic() + timeout
    while (result := poll_result(lake, request)) is None:
        if time.monotonic() > until:
            raise ExternalError(
                f"no answer to {request.kind} from the stream of {lake.root} within {timeout:.0f} s: "
                "it will execute the request later"
            )
        time.sleep(_POLL)
    return result


def _path(lake: Lake, name: str) -> str:
    return f"{lake.requests}/{name}.json"
