"""The service-linked roles, which exist once per account: a stack could not create them a second time."""

from __future__ import annotations

from bootstrap.aws.request import CurrentState, ReadApi, Request
from bootstrap.config.names import Names
from bootstrap.resources.iam_policies import emr_service


def service_linked_role_requests(names: Names) -> list[Request]:
    """Return the requests for the service-linked roles of a cluster or of EMR Serverless."""
    config = names.config
    if config.mode == "serverless":
        return [_service_linked_role("ops.emr-serverless.amazonaws.com")]
    spot = config.instances.task > 0 or config.limits.nodes > config.limits.core
    services = [emr_service(names), *(["spot.amazonaws.com"] if spot else [])]
    return [_service_linked_role(service) for service in services]


def _service_linked_role(service: str) -> Request:
    def find_current(read: ReadApi) -> CurrentState | None:
        """Return whether the service-linked role exists; in China, EMR uses either of two names."""
        query = {"PathPrefix": f"/aws-service-role/{service.removesuffix('.cn')}"}
        response = read("iam", "list_roles", query)
        return CurrentState(True) if response and response["Roles"] else None

    return Request(
        name=f"role of {service}",
        service="iam",
        operation="create_service_linked_role",
        parameters={"AWSServiceName": service},
        purpose="service-linked role, which does not exist in a new account",
        find_current=find_current,
    )
