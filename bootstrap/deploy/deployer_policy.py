"""The IAM policy of a deployer, who runs `plan`, `up`, `status`, `logs`, `clone`, `resize` and `down`.

It is derived from the requests of these commands, from the resources of the templates, which CloudFormation creates
with the permissions of the deployer, and from the actions and resources of each operation in `GRANTS`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from bootstrap.aws.request import LocalFile, Parameters
from bootstrap.aws.rules import SentRequest
from bootstrap.config.names import ROLES, Names
from bootstrap.deploy.deployment import stack_resources
from bootstrap.deploy.permissions import GRANTS, KEY_GRANTS, TYPE_GRANTS, TYPE_OPERATIONS, Grant
from bootstrap.deploy.plan import all_requests
from bootstrap.deploy.preflight import QUOTAS, SERVERLESS_QUOTA
from bootstrap.resources.cluster_requests import hour_limit
from bootstrap.resources.iam_policies import EMR_SERVICE_POLICY
from bootstrap.resources.template import Resource
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
        is_existing = service == "cloudformation" and names.config.stack  # is only read
        for operation in ("describe_stacks",) if is_existing else requests.split():
            yield SentRequest(service, operation, {})
    for bucket in names.buckets:
        yield SentRequest("s3", "head_bucket", {"Bucket": bucket})
        if names.config.residency:
            yield SentRequest("s3", "get_bucket_replication", {"Bucket": bucket})
    # `down` deletes these even if the configuration has changed; the name for a clone ends with the ID of the cluster.
    for suffix in ("end", "end-j-*", "refit"):
        for operation in ("get_schedule", "delete_schedule"):
            yield SentRequest("scheduler", operation, {"Name": names.prefixed(suffix)})
    if names.config.limits.hours:
        limit = hour_limit(names, "j-*")
        yield SentRequest("scheduler", "create_schedule", limit.parameters)
    for role in filter(None, map(names.existing_role, ROLES)):
        yield SentRequest("iam", "get_role", {"RoleName": role})
    if topic := names.config.alarms.topic:
        yield SentRequest("sns", "get_topic_attributes", {"TopicArn": topic})
    for service, code in (*(("ec2", code) for _, code in QUOTAS.values()), SERVERLESS_QUOTA):
        query = {"ServiceCode": service, "QuotaCode": code}
        yield SentRequest("service-quotas", "get_service_quota", query)
    for one in stack_resources(names):
        service, operations = TYPE_OPERATIONS.get(one.type, ("", ""))
        parameters = _identity(names, one)
        for operation in operations.split():
            yield SentRequest(service, operation, parameters)
        if "AmazonEMRServicePolicy_v2" in one.properties:
            policy = f"arn:{names.partition}:iam::aws:policy/{EMR_SERVICE_POLICY}"
            for operation in ("attach_role_policy", "detach_role_policy"):
                yield SentRequest("iam", operation, parameters | {"PolicyArn": policy})
    yield SentRequest("s3", "list_objects_v2", {"Bucket": names.log_bucket})
    yield SentRequest("s3", "get_object", {"Bucket": names.log_bucket, "Key": "emr/"})


def _identity(names: Names, resource: Resource) -> Parameters:
    """Return the parameters that identify a resource in the requests for it."""
    database = names.config.glue.database or ""
    name = resource.physical_name({"Name": names.config.name, "GlueDatabase": database})
    path = names.config.roles.path.lstrip("/")
    match resource.type:
        case "AWS::S3::Bucket" | "AWS::S3::BucketPolicy":
            buckets = {"Data": names.data_bucket, "DataPolicy": names.data_bucket}
            return {"Bucket": buckets.get(resource.name, names.log_bucket)}
        case "AWS::IAM::Role":
            return {"RoleName": f"{path}{name}"}
        case "AWS::IAM::Policy":
            suffix = "job" if names.config.mode == "serverless" else "nodes"
            return {"RoleName": f"{path}{names.prefixed(suffix)}"}
        case "AWS::IAM::InstanceProfile":
            return {"InstanceProfileName": f"{path}{name}", "RoleName": f"{path}{name}"}
        case "AWS::SQS::Queue":
            return {"QueueName": name}
        case "AWS::Scheduler::Schedule":
            return {"Target": {"RoleArn": names.role_arn("scheduler")}}
    return {"Name": name}


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
    for grant, parameters in _grants(names):
        condition = json.dumps(grant.condition(names, parameters))
        arns = dict.fromkeys(grant.resources(names, parameters))
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


def _grants(names: Names) -> Iterator[tuple[Grant, Parameters]]:
    for request in deployer_requests(names):
        for grant in GRANTS[request.service, request.operation]:
            yield grant, request.parameters
    for resource in stack_resources(names):
        for grant in TYPE_GRANTS.get(resource.type, ()):
            yield grant, _identity(names, resource)
    for grant in KEY_GRANTS:
        yield grant, {}


def _document(statements: list[Parameters]) -> Parameters:
    return {"Version": "2012-10-17", "Statement": statements}


#: Operations that read or change what another operation has created, with the same parameters.
_RELATED: dict[str, tuple[str, ...]] = {
    "put_object": ("head_object",),
    "create_service_linked_role": ("list_roles",),
    "create_tags": ("describe_tags",),
    "create_schedule": ("update_schedule",),
}
#: Requests of the other commands, by service and purpose.
_OTHER_REQUESTS = {
    ("sts", "account"): "get_caller_identity",
    ("iam", "policy --check"): "simulate_principal_policy",
    ("emr", "plan and up, status, logs, tunnel"): (
        "list_clusters describe_cluster list_bootstrap_actions get_managed_scaling_policy "
        "get_auto_termination_policy list_instance_groups list_instance_fleets list_instances list_steps "
        "describe_step describe_security_configuration list_supported_instance_types"
    ),
    ("emr", "resize"): (
        "put_managed_scaling_policy modify_instance_groups add_instance_groups modify_instance_fleet "
        "add_instance_fleet"
    ),
    ("emr", "down"): "terminate_job_flows",
    ("emr-serverless", "plan and up, status, logs"): (
        "list_applications get_application list_job_runs get_job_run"
    ),
    ("emr-serverless", "down"): "cancel_job_run stop_application",
    ("scheduler", "down"): "list_schedules",
    ("sqs", "status"): "get_queue_url get_queue_attributes",
    ("cloudformation", "plan, up and down"): (
        "describe_stacks describe_stack_events list_stack_resources create_change_set describe_change_set "
        "execute_change_set delete_change_set update_stack delete_stack"
    ),
    ("ec2", "plan and up"): (
        "describe_instance_type_offerings describe_instance_types get_ebs_encryption_by_default "
        "get_ebs_default_kms_key_id"
    ),
    ("ec2", "down"): "describe_security_groups describe_vpc_endpoints",
}
