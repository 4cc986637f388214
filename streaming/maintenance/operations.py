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
from streaming.spark.errors import translate_errors

#: The operations by kind of request. A process may be killed before it has written the result, so each operation can
#: be repeated, also after it was executed in part. A stop request is not among them, because it does not wait for the
#: current micro-batch (`streaming.ingest.request_handler`).
OPERATIONS: dict[str, Callable[[OperationContext, dict[str, JSON]], dict[str, JSON]]] = {
    "retry": retry,
    "forget": forget,
    "reconcile": reconcile,
    SET_RETENTION: set_retention,
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
    with translate_errors():
        return OPERATIONS[request.kind](context, request.arguments)


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
