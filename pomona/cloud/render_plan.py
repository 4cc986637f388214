"""Render planned AWS requests and changes of stacks as text and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from streaming.counts import format_count

if TYPE_CHECKING:
    from bootstrap.deploy.plan import PlannedRequest
    from bootstrap.deploy.stacks import StackChanges


_SIGNS = {"send": "+", "change": "~", "keep": "=", "read": "?", "differs": "!"}
_LABELS = {
    "send": ("to send", "sent"),
    "change": ("to change", "changed"),
    "keep": ("unchanged", "unchanged"),
    "differs": ("different, cannot be changed", "different, left as is"),
    "read": ("read only", "read only"),
}


_CHANGE_SIGNS = {"add": "+", "import": ">", "modify": "~", "replace": "!", "remove": "-"}


def stack_lines(stack: StackChanges) -> Iterator[str]:
    """Yield the changes of a stack as lines: action, type, logical ID and purpose of each resource."""
    yield f"stack {stack.name}: {_stack_summary(stack)}"
    for one in stack.changes:
        sign = _CHANGE_SIGNS.get(one.action, "?")
        purpose = f": {one.purpose}" if one.purpose else ""
        yield f"    {sign} {one.action} {one.type}  {one.name}{purpose}"
        if one.properties:
            yield f"        changed: {', '.join(one.properties)}"


def _stack_summary(stack: StackChanges) -> str:
    if stack.note:
        return stack.note
    if not stack.exists:
        return f"new, {format_count(len(stack.changes), 'resource')}"
    return f"{len(stack.changes)} to change" if stack.changes else "unchanged"


def stack_json(stack: StackChanges) -> dict[str, Any]:
    """Return the changes of a stack as a JSON document."""
    return {
        "name": stack.name,
        "exists": stack.exists,
        "note": stack.note or None,
        "changes": [
            {
                "action": one.action,
                "name": one.name,
                "type": one.type,
                "id": one.physical_id,
                "purpose": one.purpose,
                "properties": one.properties,
            }
            for one in stack.changes
        ],
    }


def planned_lines(number: int, planned: PlannedRequest, *, brief: bool = False) -> Iterator[str]:
    """Yield a request as lines: operation, purpose and, unless nothing changes, each parameter.

    Parameters
    ----------
    number : int
        Position in the plan.
    planned : PlannedRequest
    brief : bool
        Omit the parameters.
    """
    from bootstrap.aws.client import api_name

    request = planned.request
    operation = api_name(request.service, planned.operation)
    yield f"{number:>3} {_SIGNS[planned.action]} {operation}  {request.name}: {request.purpose}"
    for line in planned.differences:
        yield f"        current -> desired: {line}"
    if planned.action == "differs":
        yield f"        {remedy(request.name)}"
    elif not brief and planned.action in ("send", "change"):
        for line in _lines(readable(planned.parameters)):
            yield f"        {line}"


def request_lines(service: str, operation: str, parameters: Any) -> Iterator[str]:
    """Yield the lines of a single request."""
    from bootstrap.aws.client import api_name

    yield f"+ {api_name(service, operation)}"
    for line in _lines(readable(parameters)):
        yield f"    {line}"


def planned_json(number: int, planned: PlannedRequest) -> dict[str, Any]:
    """Return a request as a JSON document; policies are objects, and files are their names and sizes."""
    from bootstrap.aws.client import operation_model

    request = planned.request
    return {
        "number": number,
        "name": request.name,
        "purpose": request.purpose,
        "action": str(planned.action),
        "service": request.service,
        "operation": operation_model(request.service, planned.operation).name,
        "parameters": readable(planned.parameters),
        "differences": planned.differences,
    }


def summary_line(
    planned: Sequence[PlannedRequest], account: str | None, region: str, *, done: bool = False
) -> str:
    """Return a line with the number of requests per action."""
    counts = Counter(str(one.action) for one in planned)
    parts = [
        f"{counts[action]} {labels[done]}" for action, labels in _LABELS.items() if counts[action]
    ]
    target = f"account {account}" if account else "an empty account"
    return f"{format_count(len(planned), 'request')} in {target}, {region}: {', '.join(parts)}"


def remedy(name: str) -> str:
    """Return what to do about a resource that cannot be changed in place."""
    if name == "cluster":
        return "a running cluster cannot be changed: `pomona cloud clone` creates a new one from it"
    if name.startswith("step "):
        return "a running step cannot be changed: stop the ingestion with `pomona stop LAKE`, and `up` starts a new one"
    if name.startswith("job "):
        return "a running job cannot be changed: cancel it, and `up` starts a new one"
    return "it cannot be changed: delete it manually, and `up` creates a new one"


def readable(value: Any) -> Any:
    """Return a value with JSON documents parsed, and files as their names and sizes."""
    from bootstrap.aws.request import LocalFile

    if isinstance(value, LocalFile):
        return value.summary()
    if isinstance(value, dict):
        return {key: readable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [readable(item) for item in value]
    if isinstance(value, str) and value.startswith("{"):
        return json.loads(value)
    return value


def _lines(value: Any) -> Iterator[str]:
    """Yield one line per key, nested values indented; a list of plain values takes one line."""
    if isinstance(value, list):
        for one in value:
            first, *rest = _lines(one) if isinstance(one, dict) else [str(one)]
            yield f"- {first}"
            yield from (f"  {line}" for line in rest)
        return
    for key, item in value.items():
        plain = isinstance(item, list) and not any(isinstance(one, dict) for one in item)
        if item and isinstance(item, dict | list) and not plain:
            yield f"{key}:"
            yield from (f"  {line}" for line in _lines(item))
        else:
            text = item if isinstance(item, str) else json.dumps(item, ensure_ascii=False)
            yield f"{key}: {text}"
