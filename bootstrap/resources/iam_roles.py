"""IAM roles, their policies, and the instance profile of the nodes."""

from __future__ import annotations

import json

from bootstrap.aws.request import Ask, Found, Parameters, Request, put_again
from bootstrap.config.names import Names
from bootstrap.resources import (
    iam_node_policies as working,
)
from bootstrap.resources import (
    iam_policies as policies,
)
from bootstrap.resources import (
    iam_trust_policies as trusts,
)
from bootstrap.resources.iam_policies import Statement, comparable_policy

_GONE = ("NoSuchEntity",)


def access_requests(names: Names) -> list[Request]:
    """Requests for the roles of a cluster or of EMR Serverless, and for the evaluator."""
    evaluator = _role(
        names,
        "evaluator",
        trusts.evaluator_trust(names),
        policies.evaluator_statements(names),
        "reads results, and nothing else",
    )
    if names.description.mode == "serverless":
        source = names.arn("emr-serverless", "/applications/*")
        trust = trusts.trust("emr-serverless.amazonaws.com", names, source)
        why = "what ingestion and refits may do"
        job = _role(names, "job", trust, working.job_statements(names), why)
        return [*_linked("ops.emr-serverless.amazonaws.com"), *job, *evaluator]
    trust = trusts.trust(
        "elasticmapreduce.amazonaws.com", names, names.arn("elasticmapreduce", "*")
    )
    why = "EMR starts and ends nodes by it"
    spot = names.description.limits.nodes > names.description.limits.core
    return [
        *_linked("elasticmapreduce.amazonaws.com"),
        *(_linked("spot.amazonaws.com") if spot else ()),
        *_role(names, "service", trust, policies.service_statements(names), why),
        _attached(names, "service", policies.EMR_SERVICE_POLICY),
        *_role(
            names,
            "nodes",
            trusts.ec2_trust(names),
            working.node_statements(names),
            "what the nodes may do",
        ),
        *_profile(names),
        *evaluator,
    ]


def scheduler_requests(names: Names) -> list[Request]:
    """Requests for the role that starts refits."""
    source = names.arn("scheduler", "schedule-group/default")
    trust = trusts.trust("scheduler.amazonaws.com", names, source)
    statements = policies.scheduler_statements(names)
    return _role(names, "scheduler", trust, statements, "starts refits, and nothing else")


def _role(
    names: Names, what: str, trust: Parameters, statements: list[Statement], why: str
) -> list[Request]:
    name, policy = names.of(what), policies.document(statements)

    def retrust(_parameters: Parameters, _found: Found) -> tuple[str, Parameters]:
        document = json.dumps(trust)
        return "update_assume_role_policy", {"RoleName": name, "PolicyDocument": document}

    def role(ask: Ask) -> Found | None:
        answer = ask("iam", "get_role", {"RoleName": name}, _GONE)
        return (
            Found(comparable_policy(answer["Role"]["AssumeRolePolicyDocument"])) if answer else None
        )

    def inline(ask: Ask) -> Found | None:
        asked = {"RoleName": name, "PolicyName": "pomona"}
        answer = ask("iam", "get_role_policy", asked, _GONE)
        return Found(comparable_policy(answer["PolicyDocument"])) if answer else None

    return [
        Request(
            name=f"role {name}",
            service="iam",
            operation="create_role",
            parameters={
                "RoleName": name,
                "AssumeRolePolicyDocument": json.dumps(trust),
                "Description": f"Pomona: {why}",
                "Tags": [{"Key": "pomona", "Value": names.description.name}],
            },
            why=why,
            look=role,
            wanted=comparable_policy(trust),
            change=retrust,
        ),
        Request(
            name=f"role {name}: policy",
            service="iam",
            operation="put_role_policy",
            parameters={
                "RoleName": name,
                "PolicyName": "pomona",
                "PolicyDocument": json.dumps(policy),
            },
            why=", ".join(statement.sid for statement in statements),
            look=inline,
            wanted=comparable_policy(policy),
            change=put_again("put_role_policy"),
        ),
    ]


def _attached(names: Names, what: str, policy: str) -> Request:
    name, arn = names.of(what), f"arn:{names.partition}:iam::aws:policy/{policy}"

    def look(ask: Ask) -> Found | None:
        answer = ask("iam", "list_attached_role_policies", {"RoleName": name}, _GONE)
        attached = answer["AttachedPolicies"] if answer else []
        return Found(True) if any(one["PolicyArn"] == arn for one in attached) else None

    return Request(
        name=f"role {name}: Amazon's policy",
        service="iam",
        operation="attach_role_policy",
        parameters={"RoleName": name, "PolicyArn": arn},
        why="what EMR needs in EC2, and only on what carries its tag",
        look=look,
    )


def _profile(names: Names) -> list[Request]:
    name = names.of("nodes")

    def profile(ask: Ask) -> Parameters | None:
        answer = ask("iam", "get_instance_profile", {"InstanceProfileName": name}, _GONE)
        return answer and answer["InstanceProfile"]

    def holds(ask: Ask) -> Found | None:
        found = profile(ask)
        roles = [role["RoleName"] for role in found["Roles"]] if found else []
        return Found(roles) if roles else None

    return [
        Request(
            name=f"instance profile {name}",
            service="iam",
            operation="create_instance_profile",
            parameters={"InstanceProfileName": name},
            why="EC2 hands a role to a node through a profile",
            look=lambda ask: Found(True) if profile(ask) else None,
        ),
        Request(
            name=f"instance profile {name}: role",
            service="iam",
            operation="add_role_to_instance_profile",
            parameters={"InstanceProfileName": name, "RoleName": name},
            why="the role of the nodes",
            look=holds,
            wanted=[name],
        ),
    ]


def _linked(service: str) -> list[Request]:
    """A role that AWS makes for its own service, once an account."""

    def look(ask: Ask) -> Found | None:
        asked = {"PathPrefix": f"/aws-service-role/{service}/"}
        answer = ask("iam", "list_roles", asked)
        return Found(True) if answer and answer["Roles"] else None

    return [
        Request(
            name=f"role of {service}",
            service="iam",
            operation="create_service_linked_role",
            parameters={"AWSServiceName": service},
            why="AWS's own role for the service, which a new account lacks",
            look=look,
        )
    ]
