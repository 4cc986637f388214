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

#: The kinds of requests. Each may be repeated, whole or in part, where the process was killed before its answer.
#: A stop is none of them: it does not wait for the micro-batch under way (`streaming.ingest.request_handler`).
OPERATIONS: dict[str, Callable[[OperationContext, dict[str, JSON]], dict[str, JSON]]] = {
    "retry": retry,
    "forget": forget,
    "reconcile": reconcile,
    SET_RETENTION: set_retention,
}


def execute(context: OperationContext, request: Request) -> dict[str, JSON]:
    """Do what is asked for.

    Raises
    ------
    PomonaError
        In one line, also for what Spark or the storage raised.
    """
    if request.kind not in OPERATIONS:
        raise UsageError(
            f"{request.kind}: Pomona {__version__}, which holds the lake, knows no such request: "
            "use the same version for both"
        )
    with translate_errors():
        return OPERATIONS[request.kind](context, request.arguments)


def execute_and_answer(context: OperationContext, request: Request) -> None:
    """Do what is asked for, and answer; an error is the asker's, and the stream goes on.

    Raises
    ------
    LeaseError
        Where another process has taken the lake over, which then does it.
    """
    try:
        result = execute(context, request)
    except LeaseError:
        raise
    except PomonaError as error:
        write_error(context.lake, request, error)
    else:
        write_result(context.lake, request, result)
