"""The IAM policy of a deployer, who runs `plan`, `up`, `status`, `logs`, `clone`, `resize` and `down`.

It is derived from the requests of these commands, and from the actions and resources of each operation in `GRANTS`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from bootstrap.aws.request import LocalFile, Parameters
from bootstrap.aws.rules import SentRequest
from bootstrap.config.names import Names
from bootstrap.deploy.permissions import GRANTS
from bootstrap.deploy.plan import all_requests
from bootstrap.deploy.preflight import QUOTAS, SERVERLESS_QUOTA
from bootstrap.deploy.teardown import ROLES
from bootstrap.resources.uploads import COMPLETION_MARKER, Uploads

#: Maximum number of characters of a managed policy; IAM does not count white space.
SIZE_LIMIT = 6144


def deployer_policies(names: Names) -> list[Parameters]:
    """Return the policy of a deployer, as one document or, beyond `SIZE_LIMIT`, as several.

    Parameters
    ----------
    names : Names
        With the account of the deployment.
    """
    documents: list[list[Parameters]] = [[]]
    for statement in _statements(names):
        if documents[-1] and policy_size(_document([*documents[-1], statement])) > SIZE_LIMIT:
            documents.append([])
        documents[-1].append(statement)
    return [_document(statements) for statements in documents]


def policy_size(document: Parameters) -> int:
    """Return the number of characters that IAM counts."""
    return len(json.dumps(document, separators=(",", ":"), ensure_ascii=False))


def deployer_requests(names: Names) -> Iterator[SentRequest]:
    """Yield the requests of all commands; of parameters, those that decide on the resources."""
    for request in all_requests(names, _any_uploads()):
        parameters = request.parameters
        for operation in (request.operation, *_RELATED.get(request.operation, ())):
            yield SentRequest(request.service, operation, parameters)
    for (service, _), requests in _OTHER_REQUESTS.items():
        for operation in requests.split():
            yield SentRequest(service, operation, {})
    if names.config.residency:
        for bucket in dict.fromkeys((names.data_bucket, names.log_bucket, names.images[0])):
            for operation in ("get_bucket_location", "get_bucket_replication"):
                yield SentRequest("s3", operation, {"Bucket": bucket})
    for role in filter(None, map(names.existing_role, ROLES)):
        yield SentRequest("iam", "get_role", {"RoleName": role})
    for service, code in (*(("ec2", code) for _, code in QUOTAS.values()), SERVERLESS_QUOTA):
        query = {"ServiceCode": service, "QuotaCode": code}
        yield SentRequest("service-quotas", "get_service_quota", query)
    # `down` finds the resources of both modes, because the mode may have changed.
    for role in ROLES:
        yield SentRequest("iam", "get_role", {"RoleName": names.prefixed(role)})
    nodes = {"InstanceProfileName": names.prefixed("nodes")}
    yield SentRequest("iam", "get_instance_profile", nodes)
    yield SentRequest("s3", "list_objects_v2", {"Bucket": names.log_bucket})
    yield SentRequest("s3", "get_object", {"Bucket": names.log_bucket, "Key": "emr/"})


def _any_uploads() -> Uploads:
    """Return uploads of each kind, whose contents do not matter."""
    file = LocalFile(Path("file"), None, "")
    code = ("bootstrap_emr.sh", "submit.py", "fenced-log-store.jar")
    return Uploads(
        environment=file,
        code=dict.fromkeys(code, file),
        model={f"model/{COMPLETION_MARKER}": file},
        notebooks={"notebook.ipynb": file},
    )


def _statements(names: Names) -> list[Parameters]:
    """Return the statements: each has all actions with the same resources and condition."""
    resources: dict[tuple[str, str], dict[str, None]] = {}
    for request in deployer_requests(names):
        for grant in GRANTS[request.service, request.operation]:
            condition = json.dumps(grant.condition(names, request.parameters))
            arns = dict.fromkeys(grant.resources(names, request.parameters))
            for action in grant.actions.split() if arns else ():
                resources.setdefault((action, condition), {}).update(arns)
    actions: dict[tuple[tuple[str, ...], str], list[str]] = {}
    for (action, condition), arns in resources.items():
        actions.setdefault((tuple(arns), condition), []).append(action)
    statements = []
    for number, ((arns_of, condition), granted) in enumerate(actions.items(), 1):
        statement: Parameters = {
            "Sid": f"Pomona{number}",
            "Effect": "Allow",
            "Action": sorted(granted),
            "Resource": list(arns_of),
        }
        if tests := json.loads(condition):
            statement["Condition"] = tests
        statements.append(statement)
    return statements


def _document(statements: list[Parameters]) -> Parameters:
    return {"Version": "2012-10-17", "Statement": statements}


#: Operations that read or change what another operation has created, with the same parameters.
_RELATED: dict[str, tuple[str, ...]] = {
    "create_bucket": ("head_bucket", "list_objects_v2"),
    "put_public_access_block": ("get_public_access_block",),
    "put_bucket_ownership_controls": ("get_bucket_ownership_controls",),
    "put_bucket_encryption": ("get_bucket_encryption",),
    "put_bucket_versioning": ("get_bucket_versioning",),
    "put_bucket_policy": ("get_bucket_policy",),
    "put_bucket_lifecycle_configuration": ("get_bucket_lifecycle_configuration",),
    "put_object": ("head_object",),
    "create_role": ("get_role", "update_assume_role_policy"),
    "put_role_policy": ("get_role_policy",),
    "attach_role_policy": ("list_attached_role_policies",),
    "create_service_linked_role": ("list_roles",),
    "create_security_group": ("describe_security_groups",),
    "create_tags": ("describe_tags",),
    "create_application": ("update_application",),
    "create_queue": ("set_queue_attributes",),
    "create_schedule": ("update_schedule",),
}
#: Requests of the other commands, by service and purpose.
_OTHER_REQUESTS = {
    ("sts", "account"): "get_caller_identity",
    ("iam", "policy --check"): "simulate_principal_policy",
    ("emr", "plan and up, status, logs, tunnel"): (
        "list_clusters describe_cluster list_bootstrap_actions get_managed_scaling_policy "
        "get_auto_termination_policy list_instance_groups list_instances list_steps describe_step "
        "describe_security_configuration"
    ),
    ("emr", "resize"): "put_managed_scaling_policy modify_instance_groups add_instance_groups",
    ("emr", "down"): "terminate_job_flows",
    ("emr-serverless", "plan and up, status, logs"): (
        "list_applications get_application list_job_runs get_job_run"
    ),
    ("emr-serverless", "down"): "cancel_job_run stop_application delete_application",
    ("scheduler", "status and down"): "get_schedule delete_schedule",
    ("sqs", "status and down"): "get_queue_url get_queue_attributes",
    ("ec2", "plan and up"): "describe_instance_type_offerings describe_instance_types",
    ("ec2", "down"): "describe_security_groups",
}
