"""The operations that a request can execute, by name."""

from __future__ import annotations

from collections.abc import Callable

from streaming import __version__
from streaming.errors import LeaseError, PomonaError, UsageError
from streaming.maintenance.context import OperationContext
from streaming.maintenance.forget import forget
from streaming.maintenance.reconcile import reconcile
from streaming.maintenance.requests import JSON, Request, write_error, write_result
from streaming.maintenance.retry_quarantined import retry
from streaming.maintenance.set_retention import SET_RETENTION, set_retention
from streaming.sources.selection import SELECTION_SCHEMA
from streaming.spark.errors import translate_errors
from streaming.storage.documents import InvalidDocumentError, Optional, Schema, check_document

#: The operations by kind of request. A process may be killed before it has written the result, so each operation can
#: be repeated, also after it was executed in part. A stop request is not among them, because it does not wait for the
#: current micro-batch (`streaming.ingest.request_handler`).
OPERATIONS: dict[str, Callable[[OperationContext, dict[str, JSON]], dict[str, JSON]]] = {
    "retry": retry,
    "forget": forget,
    "reconcile": reconcile,
    SET_RETENTION: set_retention,
}


#: The arguments of each operation; no other is permitted. A request is a file that others may have written.
_ARGUMENTS: dict[str, dict[str, Schema]] = {
    "retry": {"reason": Optional(str)},
    "forget": {"paths": [str]},
    "reconcile": {
        "source": str,
        "selection": Optional(SELECTION_SCHEMA),
        "rewritten": Optional([str]),
        "limit": Optional(float),
    },
    SET_RETENTION: {"days": int},
}


def execute(context: OperationContext, request: Request) -> dict[str, JSON]:
    """Execute a request, and return its result.

    Raises
    ------
    PomonaError
        With a one-line message, also for errors of Spark and of the storage.
    """
    if request.kind not in OPERATIONS:
        raise UsageError(
            f"{request.kind}: Pomona {__version__}, which owns the lake, does not support this request: "
            "use the same version for both"
        )
    _check_arguments(request)
    with translate_errors():
        return OPERATIONS[request.kind](context, request.arguments)


def _check_arguments(request: Request) -> None:
    """Raise UsageError unless the arguments of a request are those of its operation."""
    schema = _ARGUMENTS.get(request.kind)
    if schema is None:
        return
    try:
        check_document(request.arguments, schema)
        if unknown := sorted(request.arguments.keys() - schema.keys()):
            raise InvalidDocumentError(f"{unknown[0][:100]} is not an argument of it")
    except InvalidDocumentError as error:
        raise UsageError(
            f"request {request.kind}: {error}: submit it with the same version of Pomona as the stream"
        ) from error


def execute_and_answer(context: OperationContext, request: Request) -> None:
    """Execute a request, and write its result or error; an error does not end the stream.

    Raises
    ------
    LeaseError
        If another process has taken over the lake. It executes the request.
    """
    try:
        result = execute(context, request)
    except LeaseError:
        raise
    except PomonaError as error:
        write_error(context.lake, request, error)
    else:
        write_result(context.lake, request, result)
