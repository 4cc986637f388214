"""IAM roles, their policies, and the instance profile of the nodes."""

from __future__ import annotations

import json

from bootstrap.aws.request import CurrentState, Parameters, ReadApi, Request, overwrite_with
from bootstrap.config.names import Names
from bootstrap.resources.iam_node_policies import job_policy, node_policy
from bootstrap.resources.iam_policies import (
    EMR_SERVICE_POLICY,
    Statement,
    emr_service,
    evaluator_policy,
    normalize_policy,
    policy_document,
    scheduler_policy,
    service_policy,
)
from bootstrap.resources.iam_trust_policies import (
    ec2_trust_policy,
    evaluator_trust_policy,
    service_trust_policy,
)

_NOT_FOUND_CODES = ("NoSuchEntity",)


def role_requests(names: Names) -> list[Request]:
    """Return the requests for the roles of a cluster or of EMR Serverless, and for the evaluator."""
    evaluator = _role(
        names,
        "evaluator",
        evaluator_trust_policy(names),
        evaluator_policy(names),
        "read-only access to results",
    )
    if names.config.mode == "serverless":
        source = names.arn("emr-serverless", "/applications/*")
        trust = service_trust_policy("emr-serverless.amazonaws.com", names, source)
        purpose = "permissions of ingestion and refits"
        job = _role(names, "job", trust, job_policy(names), purpose)
        return [*_service_linked_role("ops.emr-serverless.amazonaws.com"), *job, *evaluator]
    trust = service_trust_policy(emr_service(names), names, names.arn("elasticmapreduce", "*"))
    purpose = "EMR starts and terminates nodes with it"
    config = names.config
    spot = config.instances.task > 0 or config.limits.nodes > config.limits.core
    return [
        *_service_linked_role(emr_service(names)),
        *(_service_linked_role("spot.amazonaws.com") if spot else ()),
        *_role(names, "service", trust, service_policy(names), purpose),
        _attach_managed_policy(names, "service", EMR_SERVICE_POLICY),
        *_role(
            names,
            "nodes",
            ec2_trust_policy(names),
            node_policy(names),
            "permissions of the nodes",
        ),
        *_instance_profile(names),
        *evaluator,
    ]


def scheduler_requests(names: Names) -> list[Request]:
    """Return the requests for the role that starts refits."""
    source = names.arn("scheduler", "schedule-group/default")
    trust = service_trust_policy("scheduler.amazonaws.com", names, source)
    statements = scheduler_policy(names)
    return _role(names, "scheduler", trust, statements, "starts refits")


def _role(
    names: Names, suffix: str, trust: Parameters, statements: list[Statement], purpose: str
) -> list[Request]:
    name, policy = names.prefixed(suffix), policy_document(statements)

    def update_trust_policy(
        _parameters: Parameters, _current: CurrentState
    ) -> tuple[str, Parameters]:
        document = json.dumps(trust)
        return "update_assume_role_policy", {"RoleName": name, "PolicyDocument": document}

    def find_trust_policy(read: ReadApi) -> CurrentState | None:
        response = read("iam", "get_role", {"RoleName": name}, _NOT_FOUND_CODES)
        return (
            CurrentState(normalize_policy(response["Role"]["AssumeRolePolicyDocument"]))
            if response
            else None
        )

    def find_inline_policy(read: ReadApi) -> CurrentState | None:
        """Read the inline policy of the role."""
        query = {"RoleName": name, "PolicyName": "pomona"}
        response = read("iam", "get_role_policy", query, _NOT_FOUND_CODES)
        return CurrentState(normalize_policy(response["PolicyDocument"])) if response else None

    return [
        Request(
            name=f"role {name}",
            service="iam",
            operation="create_role",
            parameters={
                "RoleName": name,
                "AssumeRolePolicyDocument": json.dumps(trust),
                "Description": f"Pomona: {purpose}",
                "Tags": [{"Key": "pomona", "Value": names.config.name}],
            },
            purpose=purpose,
            find_current=find_trust_policy,
            desired=normalize_policy(trust),
            build_update=update_trust_policy,
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
            purpose=", ".join(statement.sid for statement in statements),
            find_current=find_inline_policy,
            desired=normalize_policy(policy),
            build_update=overwrite_with("put_role_policy"),
        ),
    ]


def _attach_managed_policy(names: Names, suffix: str, policy: str) -> Request:
    name, arn = names.prefixed(suffix), f"arn:{names.partition}:iam::aws:policy/{policy}"

    def find_current(read: ReadApi) -> CurrentState | None:
        """Return whether the managed policy is attached to the role."""
        response = read("iam", "list_attached_role_policies", {"RoleName": name}, _NOT_FOUND_CODES)
        attached = response["AttachedPolicies"] if response else []
        return CurrentState(True) if any(one["PolicyArn"] == arn for one in attached) else None

    return Request(
        name=f"role {name}: managed policy",
        service="iam",
        operation="attach_role_policy",
        parameters={"RoleName": name, "PolicyArn": arn},
        purpose="EC2 permissions of EMR, limited to tagged resources",
        find_current=find_current,
    )


def _instance_profile(names: Names) -> list[Request]:
    name = names.prefixed("nodes")

    def get_profile(read: ReadApi) -> Parameters | None:
        response = read(
            "iam", "get_instance_profile", {"InstanceProfileName": name}, _NOT_FOUND_CODES
        )
        return response and response["InstanceProfile"]

    def find_roles(read: ReadApi) -> CurrentState | None:
        """Read the roles of the instance profile."""
        profile = get_profile(read)
        roles = [role["RoleName"] for role in profile["Roles"]] if profile else []
        return CurrentState(roles) if roles else None

    return [
        Request(
            name=f"instance profile {name}",
            service="iam",
            operation="create_instance_profile",
            parameters={"InstanceProfileName": name},
            purpose="EC2 assigns the role to a node through a profile",
            find_current=lambda read: CurrentState(True) if get_profile(read) else None,
        ),
        Request(
            name=f"instance profile {name}: role",
            service="iam",
            operation="add_role_to_instance_profile",
            parameters={"InstanceProfileName": name, "RoleName": name},
            purpose="the role of the nodes",
            find_current=find_roles,
            desired=[name],
        ),
    ]


def _service_linked_role(service: str) -> list[Request]:
    """Return the request for a service-linked role, which exists once per account."""

    def find_current(read: ReadApi) -> CurrentState | None:
        """Return whether the service-linked role exists; in China, EMR uses either of two names."""
        query = {"PathPrefix": f"/aws-service-role/{service.removesuffix('.cn')}"}
        response = read("iam", "list_roles", query)
        return CurrentState(True) if response and response["Roles"] else None

    return [
        Request(
            name=f"role of {service}",
            service="iam",
            operation="create_service_linked_role",
            parameters={"AWSServiceName": service},
            purpose="service-linked role, which does not exist in a new account",
            find_current=find_current,
        )
    ]
