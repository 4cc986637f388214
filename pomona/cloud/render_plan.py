"""Render planned AWS requests as text and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bootstrap.deploy.plan import Planned


_SIGNS = {"send": "+", "change": "~", "keep": "=", "read": "?", "differs": "!"}
_WORDS = {
    "send": ("to send", "sent"),
    "change": ("to change", "changed"),
    "keep": ("as wanted", "as wanted"),
    "differs": ("different, and to stay so", "different, and left so"),
    "read": ("reading", "reading"),
}


def planned_lines(number: int, planned: Planned, *, brief: bool = False) -> Iterator[str]:
    """A request in lines: what, why, and unless it is as wanted, each parameter.

    Parameters
    ----------
    number : int
    planned : Planned
    brief : bool
        Leave the parameters out.
    """
    from bootstrap.aws.client import api_name

    request = planned.request
    called = api_name(request.service, planned.operation)
    yield f"{number:>3} {_SIGNS[planned.action]} {called}  {request.name}: {request.why}"
    for line in planned.differences:
        yield f"        is -> wanted: {line}"
    if planned.action == "differs":
        yield f"        {remedy(request.name)}"
    elif not brief and planned.action in ("send", "change"):
        for line in _lines(readable(planned.parameters)):
            yield f"        {line}"


def request_lines(service: str, operation: str, parameters: Any) -> Iterator[str]:
    """A request that stands by itself, in lines."""
    from bootstrap.aws.client import api_name

    yield f"+ {api_name(service, operation)}"
    for line in _lines(readable(parameters)):
        yield f"    {line}"


def planned_json(number: int, planned: Planned) -> dict[str, Any]:
    """The same for a script; policies in it are objects, and files are named."""
    from bootstrap.aws.client import operation_model

    request = planned.request
    return {
        "number": number,
        "name": request.name,
        "why": request.why,
        "action": str(planned.action),
        "service": request.service,
        "operation": operation_model(request.service, planned.operation).name,
        "parameters": readable(planned.parameters),
        "differences": planned.differences,
    }


def summary_line(
    planned: Sequence[Planned], account: str | None, region: str, *, done: bool = False
) -> str:
    """How many requests came to what."""
    counts = Counter(str(one.action) for one in planned)
    counts_text = [
        f"{counts[action]} {words[done]}" for action, words in _WORDS.items() if counts[action]
    ]
    where = f"account {account}" if account else "an empty account"
    return f"{len(planned)} requests in {where}, {region}: {', '.join(counts_text)}"


def remedy(name: str) -> str:
    """What to do about something that cannot be changed where it stands."""
    if name == "cluster":
        return "a running cluster keeps these: `pomona cloud clone` makes a new one of it"
    if name == "application":
        return (
            "a running application keeps these: `pomona cloud down` ends it, and `up` makes it anew"
        )
    if name.startswith("step "):
        return "a running step keeps its words: `pomona stop` ends it, and `up` starts it anew"
    if name.startswith("job "):
        return "a running job keeps its words: cancel it, and `up` starts it anew"
    return "it cannot be changed: remove it by hand, and `up` makes it anew"


def readable(value: Any) -> Any:
    """The same with documents of JSON as what they hold, and files as their names and sizes."""
    from bootstrap.aws.request import LocalFile

    if isinstance(value, LocalFile):
        return value.summary()
    if isinstance(value, dict):
        return {key: readable(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [readable(inner) for inner in value]
    if isinstance(value, str) and value.startswith("{"):
        return json.loads(value)
    return value


def _lines(value: Any) -> Iterator[str]:
    """Keys and values, one a line, with what lies deeper further in; lists of plain values in one line."""
    if isinstance(value, list):
        for one in value:
            first, *rest = _lines(one) if isinstance(one, dict) else [str(one)]
            yield f"- {first}"
            yield from (f"  {line}" for line in rest)
        return
    for key, inner in value.items():
        plain = isinstance(inner, list) and not any(isinstance(one, dict) for one in inner)
        if inner and isinstance(inner, dict | list) and not plain:
            yield f"{key}:"
            yield from (f"  {line}" for line in _lines(inner))
        else:
            counts_text = inner if isinstance(inner, str) else json.dumps(inner, ensure_ascii=False)
            yield f"{key}: {counts_text}"
