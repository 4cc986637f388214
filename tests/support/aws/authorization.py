"""Make moto authorize requests with the action and the resource that AWS uses; see also `account.py`.

moto uses ``*`` as the resource of most requests, other action names for some requests to S3, and ignores conditions,
`iam:PassRole` and the tags of new applications and job runs. Evaluated are the conditions on the tag `pomona` of a
resource and of a request with JSON, on the service that sends a request on behalf of the caller (`aws:CalledVia`), on
the permissions boundary of a role, and on the service of a passed role; other conditions are ignored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from unittest import mock
from urllib.parse import unquote

import pytest

from support.aws.account import ACCOUNT, CALLED_VIA_HEADER, REGION

#: Actions whose names differ from what moto derives from the request, by query parameter.
_S3_ACTIONS = {
    "GET": {"encryption": "GetEncryptionConfiguration", "ownershipControls": "GetBucketOwnershipControls",
            "publicAccessBlock": "GetBucketPublicAccessBlock"},
    "PUT": {"encryption": "PutEncryptionConfiguration", "ownershipControls": "PutBucketOwnershipControls",
            "publicAccessBlock": "PutBucketPublicAccessBlock"},
    "HEAD": {"DEFAULT": "ListBucket"},
}  # fmt: skip
_IAM, _LOCAL = f"arn:aws:iam::{ACCOUNT}:", f"{REGION}:{ACCOUNT}:"


def authorize_resources(patch: pytest.MonkeyPatch) -> None:
    """Apply all corrections."""
    from moto.cloudformation.responses import CloudFormationResponse
    from moto.core.authorization import ActionAuthenticatorMixin
    from moto.ec2.responses import EC2Response
    from moto.emr.responses import ElasticMapReduceResponse
    from moto.emrserverless.responses import EMRServerlessResponse
    from moto.iam.access_control import IAMPolicyStatement, PermissionResult
    from moto.iam.responses import IamResponse
    from moto.s3.responses import ACTION_MAP
    from moto.scheduler.responses import EventBridgeSchedulerResponse
    from moto.servicequotas.responses import ServiceQuotasResponse
    from moto.sqs.responses import SQSResponse

    for method, actions in _S3_ACTIONS.items():
        for parameter, action in actions.items():
            patch.setitem(ACTION_MAP["BUCKET"][method], parameter, action)
    classes = {
        CloudFormationResponse: _stack_resource,
        EC2Response: _ec2_resource,
        ElasticMapReduceResponse: _emr_resource,
        EMRServerlessResponse: _serverless_resource,
        IamResponse: _iam_resource,
        EventBridgeSchedulerResponse: _schedule,
        ServiceQuotasResponse: _quota,
        SQSResponse: _queue,
    }
    for response_class, find_resource in classes.items():
        patch.setattr(response_class, "_determine_resource", find_resource, raising=False)
    patch.setattr(IAMPolicyStatement, "_check_conditions", lambda *_: True)
    is_permitted = IAMPolicyStatement.is_action_permitted

    def is_permitted_here(statement: Any, action: str, resource: str = "*", *more: Any) -> Any:
        result = is_permitted(statement, action, resource, *more)
        if result is not PermissionResult.PERMITTED:
            return result
        condition = statement._statement.get("Condition", {})
        return result if _holds(condition, resource) else PermissionResult.NEUTRAL

    patch.setattr(IAMPolicyStatement, "is_action_permitted", is_permitted_here)
    authorize = ActionAuthenticatorMixin._authenticate_and_authorize_action

    def authorize_with_roles(response: Any, request: type, resource: str = "*") -> None:
        authorize(response, request, resource)
        for role, service in _passed_roles(response, response._get_action()):
            _check_passed_role(response, role, service)
        if arn := _new_tagged_resource(response, response._get_action()):
            with mock.patch.object(response, "_get_action", return_value="TagResource"):
                authorize(response, request, arn)

    patch.setattr(
        ActionAuthenticatorMixin, "_authenticate_and_authorize_action", authorize_with_roles
    )


def _holds(condition: Mapping[str, Mapping[str, Any]], resource: str) -> bool:
    """Return whether a condition of a statement holds for the current request.

    `aws:CalledVia` has several values, and is absent in a direct request: it needs the operator `ForAnyValue`. A
    resource without the tag lacks the key `aws:ResourceTag/pomona`, which satisfies an operator with `IfExists`.
    """
    for operator, tests in condition.items():
        for key, value in tests.items():
            accepted = [value] if isinstance(value, str) else value
            if key == "aws:CalledVia":
                found = _called_via() if operator == "ForAnyValue:StringEquals" else []
            elif key == "aws:RequestTag/pomona":
                found = [_requested_tag()]
            elif key.endswith(":ResourceTag/pomona"):
                found = [_tag(resource)]
            elif key == "iam:PermissionsBoundary":
                found = [_boundary(resource)]
            else:
                continue
            if operator.endswith("IfExists") and found == [None]:
                continue
            if not any(one in accepted for one in found):
                return False
    return True


def _called_via() -> list[str | None]:
    """Return the services that send the current request on behalf of the caller; none for a direct request."""
    from flask import request

    return [*filter(None, request.headers.get(CALLED_VIA_HEADER, "").split(","))]


def _requested_tag() -> str | None:
    """Return the tag `pomona` of the current request to EMR or EMR Serverless."""
    from flask import request

    body = request.get_json(force=True)
    listed = {one["Key"]: one["Value"] for one in body.get("Tags", ())}
    tags: Mapping[str, str] = body.get("tags") or listed
    return tags.get("pomona")


def _tag(resource: str) -> str | None:
    """Return the tag `pomona` of a cluster, security group, application or job run; None for a new one."""
    from moto.ec2.models import ec2_backends
    from moto.emr.models import emr_backends
    from moto.emrserverless.models import emrserverless_backends

    _, _, service, *_, name = resource.split(":")
    kind, identifier, *nested = name.strip("/").split("/")
    tags: Mapping[str, str] = {}
    if service == "elasticmapreduce":
        for backend in emr_backends[ACCOUNT].values():  # moto keeps clusters in another region
            if identifier in backend.clusters:
                tags = {one["Key"]: one["Value"] for one in backend.clusters[identifier].tags}
    elif service == "emr-serverless":
        serverless = emrserverless_backends[ACCOUNT][REGION]
        found = (
            serverless.job_runs.get(identifier, ()) if nested else serverless.applications.values()
        )
        tags = next((one.tags or {} for one in found if one.id == (nested or [identifier])[-1]), {})
    elif kind == "security-group":
        group = ec2_backends[ACCOUNT][REGION].get_security_group_from_id(identifier)
        if group:  # None: a group that the request creates
            tags = {one["key"]: one["value"] for one in group.get_tags()}
    return tags.get("pomona")


def _boundary(role: str) -> str | None:
    """Return the permissions boundary in a request, or else of the role that it changes."""
    from flask import request
    from moto.iam.models import iam_backends

    if request.form["Action"] in ("CreateRole", "PutRolePermissionsBoundary"):
        return request.form.get("PermissionsBoundary")
    found: str | None = (
        iam_backends[ACCOUNT]["aws"].get_role(role.rpartition("/")[2]).permissions_boundary_arn
    )
    return found


_IAM_KINDS = {"InstanceProfileName": "instance-profile", "RoleName": "role", "UserName": "user"}


def _iam_resource(response: Any) -> str:
    parameters = response.data
    for key, kind in _IAM_KINDS.items():
        if key in parameters:
            return f"{_IAM}{kind}/{parameters[key][0]}"
    if service := parameters.get("AWSServiceName"):
        return f"{_IAM}role/aws-service-role/{service[0]}/AWSServiceRoleForService"
    return "*"


def _ec2_resource(response: Any) -> str:
    parameters = response.data
    first = [*parameters.get("ResourceId.1", ()), *parameters.get("GroupId", ())]
    kinds = {"sg": "security-group", "subnet": "subnet", "vpc": "vpc"}
    writes = parameters["Action"][0].startswith(("Create", "Authorize", "Revoke", "Delete"))
    if first and writes:
        kind = kinds[first[0].partition("-")[0]]
        return f"arn:aws:ec2:{_LOCAL}{kind}/{first[0]}"
    return f"arn:aws:ec2:{_LOCAL}security-group/new" if "GroupName" in parameters else "*"


def _emr_resource(response: Any) -> str:
    body = json.loads(response.body or "{}")
    ids = [body.get("JobFlowId"), body.get("ClusterId"), *body.get("JobFlowIds", ())]
    found = [one for one in ids if one]
    return f"arn:aws:elasticmapreduce:{_LOCAL}cluster/{found[0]}" if found else "*"


def _serverless_resource(response: Any) -> str:
    if response.path.startswith("/tags/"):
        return unquote(response.path.removeprefix("/tags/"))
    parts = response.path.strip("/").split("/")  # applications/ID/jobruns/ID
    listed = parts[2:] == ["jobruns"]
    kept = parts[:2] if listed or parts[2:3] in (["start"], ["stop"]) else parts
    return f"arn:aws:emr-serverless:{_LOCAL}/{'/'.join(kept)}" if kept[1:] else "*"


def _schedule(response: Any) -> str:
    name = response.path.rstrip("/").partition("/schedules/")[2]
    return f"arn:aws:scheduler:{_LOCAL}schedule/default/{name}" if name else "*"


def _stack_resource(response: Any) -> str:
    from moto.cloudformation.models import cloudformation_backends

    backend = cloudformation_backends[ACCOUNT][REGION]
    name = response.data.get("StackName", [""])[0]
    if change_set := response.data.get("ChangeSetName", [""])[0]:
        name = name or backend.change_sets[change_set].stack_id
    if name.startswith("arn:"):
        return str(name)
    return f"arn:aws:cloudformation:{_LOCAL}stack/{name}/id" if name else "*"


def _queue(response: Any) -> str:
    body = json.loads(response.body or "{}")
    name = body.get("QueueName") or str(body.get("QueueUrl", "")).rpartition("/")[2]
    return f"arn:aws:sqs:{_LOCAL}{name}" if name else "*"


def _quota(response: Any) -> str:
    body = json.loads(response.body or "{}")
    return f"arn:aws:servicequotas:{_LOCAL}{body.get('ServiceCode')}/{body.get('QuotaCode')}"


#: Keys of the roles that a request passes, and the services.
_PASSED_ROLES = {
    "RunJobFlow": {
        "ServiceRole": "elasticmapreduce.amazonaws.com",
        "JobFlowRole": "ec2.amazonaws.com",
    },
    "StartJobRun": {"executionRoleArn": "emr-serverless.amazonaws.com"},
    "CreateSchedule": {"RoleArn": "scheduler.amazonaws.com"},
    "UpdateSchedule": {"RoleArn": "scheduler.amazonaws.com"},
    "AddRoleToInstanceProfile": {"RoleName": "ec2.amazonaws.com"},
}


def _passed_roles(response: Any, action: str) -> Iterator[tuple[str, str]]:
    """Yield the roles that a request passes, and the services."""
    if action in _PASSED_ROLES:
        query = {key: values[0] for key, values in response.data.items()}
        body = query if "RoleName" in query else json.loads(response.body)
        for key, service in _PASSED_ROLES[action].items():
            role = (body.get("Target") or body).get(key)
            if role:
                yield role, service


def _new_tagged_resource(response: Any, action: str) -> str | None:
    """Return an ARN for the application or job run that a request creates with tags."""
    if action not in ("CreateApplication", "StartJobRun"):
        return None
    if not json.loads(response.body).get("tags"):
        return None
    if action == "CreateApplication":
        return f"arn:aws:emr-serverless:{_LOCAL}/applications/new"
    return f"{_serverless_resource(response)}/jobruns/new"


def _check_passed_role(response: Any, role: str, service: str) -> None:
    """Raise AWS's error unless the caller may pass a role to a service."""
    from moto.core.authorization import ActionAuthenticatorMixin, settings
    from moto.core.exceptions import AccessDeniedError
    from moto.iam.access_control import IAMUserAccessKey

    if ActionAuthenticatorMixin.request_count < settings.INITIAL_NO_AUTH_ACTION_COUNT:
        return
    arn = role if role.startswith("arn:") else f"{_IAM}role/{role}"
    (key,) = re.findall(r"Credential=([^/]+)/", response.headers["Authorization"])
    caller = IAMUserAccessKey(ACCOUNT, "aws", key, {})
    for policy in caller.collect_policies():
        for one in json.loads(policy["policy_document"])["Statement"]:
            condition = {"StringEquals": {"iam:PassedToService": service}}
            passes = "iam:PassRole" in one["Action"] and arn in one["Resource"]
            if passes and one["Condition"] == condition:
                return
    raise AccessDeniedError(user_arn=caller.arn, action="iam:PassRole")
