"""Compare the permissions of the caller with those that a deployer needs, by IAM's policy simulator."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bootstrap.aws.request import Parameters, ReadApi
from bootstrap.config.names import Names
from bootstrap.deploy.deployer_policy import deployer_policies
from bootstrap.errors import CloudError


def missing_permissions(names: Names, read: ReadApi) -> list[str]:
    """Return the actions that the policies of the caller do not allow, each with a resource; sends read-only requests.

    The simulator knows the policies of the user or role, its permissions boundary and the organization; neither session
    policies nor policies of resources.

    Raises
    ------
    CloudError
        If the caller is the root user or a federated user, or may not use the simulator.
    """
    source = _policy_source(read)
    missing: dict[str, str] = {}
    for document in deployer_policies(names):
        for statement in document["Statement"]:
            query = {
                "PolicySourceArn": source,
                "ActionNames": statement["Action"],
                "ResourceArns": statement["Resource"],
                "ContextEntries": list(_context(statement.get("Condition", {}))),
            }
            response: Any = read("iam", "simulate_principal_policy", query)
            for result in response["EvaluationResults"]:
                if result["EvalDecision"] != "allowed":
                    missing.setdefault(result["EvalActionName"], result["EvalResourceName"])
    return [f"{action} on {resource}" for action, resource in missing.items()]


def _policy_source(read: ReadApi) -> str:
    """Return the ARN of the user, or of the role, whose policies apply to the caller."""
    identity: Any = read("sts", "get_caller_identity", {})
    arn = str(identity["Arn"])
    kind, _, name = arn.rpartition(":")[2].partition("/")
    if kind == "user":
        return arn
    if kind != "assumed-role":
        raise CloudError(f"IAM cannot simulate the policies of {arn}: use a user or a role")
    # The ARN of a session lacks the path of the role.
    role: Any = read("iam", "get_role", {"RoleName": name.partition("/")[0]})
    return str(role["Role"]["Arn"])


def _context(condition: Parameters) -> Iterator[Parameters]:
    """Yield values of the condition keys of a statement that satisfy it."""
    for operator, tests in condition.items():
        for key, value in tests.items():
            values = [value] if isinstance(value, str) else list(value)
            kind = "stringList" if operator.startswith("For") else "string"
            yield {"ContextKeyName": key, "ContextKeyValues": values, "ContextKeyType": kind}
