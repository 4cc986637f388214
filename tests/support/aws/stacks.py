"""Make moto's CloudFormation deploy the templates: resources are created with the requests that they stand for.

moto's own CloudFormation ignores most settings of buckets and roles, skips schedules, applications and policies of
buckets, changes no policy of a role, and knows neither conditions in an update, failures nor imports. Here, each
resource is translated to requests (`support.aws.cloudformation`), which are sent with the credentials of the caller, as
AWS does without a service role: with IAM enforced, the caller needs their permissions. They are marked as called via
CloudFormation, for the condition `aws:CalledVia`.

Types without a translation are recorded only: alarms, topics, rules, budgets, policies of queues, Glue. What a change
set requires to read, drift, and time are not simulated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from bootstrap.aws.request import resolve_references
from support.aws.account import ACCOUNT, ADMIN, REGION, MotoAccount
from support.aws.cloudformation import (
    SentRequest,
    Stack,
    parse_template,
    resource_requests,
    resource_tags,
    with_tags,
)

#: Types in the order of creation; others follow.
_ORDER = ("AWS::IAM::Role", "AWS::IAM::InstanceProfile", "AWS::IAM::Policy", "AWS::S3::Bucket")
#: Properties that CloudFormation changes only by replacing the resource.
_CREATE_ONLY = {
    "AWS::IAM::Role": ("Path", "RoleName"),
    "AWS::IAM::InstanceProfile": ("Path", "InstanceProfileName"),
    "AWS::EC2::SecurityGroup": ("GroupName", "GroupDescription", "VpcId"),
}
_SERVICE = "cloudformation.amazonaws.com"
_CALLER: ContextVar[dict[str, str]] = ContextVar("caller")
_IMPORT: ContextVar[bool] = ContextVar("import")


def support_stacks(patch: pytest.MonkeyPatch, account: MotoAccount) -> None:
    """Apply all changes of moto."""
    from moto.cloudformation import models
    from moto.cloudformation.exceptions import ValidationError
    from moto.cloudformation.responses import CloudFormationResponse as Response

    backend = models.CloudFormationBackend
    create = backend.create_change_set

    def create_change_set(self: Any, **options: Any) -> Any:
        same = [one for one in self.stacks.values() if one.name == options["stack_name"]]
        if options["change_set_type"] == "CREATE":
            for stack in same:
                if stack.status != "REVIEW_IN_PROGRESS":
                    raise ValidationError(message=f"Stack [{stack.name}] already exists")
                del self.stacks[stack.stack_id]
        elif same[0].status == "ROLLBACK_COMPLETE":
            raise ValidationError(message=f"{same[0].name} is in ROLLBACK_COMPLETE state")
        result = create(self, **options)
        change_set = self.change_sets[result[0]]
        change_set.import_existing = _IMPORT.get(False)
        changed = change_set.changes or options["change_set_type"] == "CREATE"
        change_set.status = "CREATE_COMPLETE" if changed else "FAILED"
        change_set.execution_status = "AVAILABLE" if changed else "UNAVAILABLE"
        change_set.status_reason = (
            "" if changed else "The submitted information didn't contain changes."
        )
        return result

    def diff(change_set: Any) -> list[Any]:
        old = _deployed(change_set.stack)
        new = _resolve(change_set.template, change_set.parameters, change_set.tags)
        deployment = _Deployment(account, change_set.stack, models, _IMPORT.get(False))
        return [
            _change(models, deployment.describe(action, one), name, one, old.get(name, one))
            for action, name, one in _differences(old, new)
        ]

    def execute(self: Any, change_set_name: str, stack_name: str | None = None) -> None:
        change_set = self.change_sets[change_set_name]
        kind, stack = change_set.change_set_type, self.stacks[change_set.stack_id]
        values, tags = change_set.parameters, change_set.tags or {}
        deploy(stack, kind, change_set.template, values, tags, change_set.import_existing)

    def update(self: Any, name: str, template: str, parameters: Any, **_: Any) -> Any:
        stack = self.get_stack(name)
        values = self._resolve_update_parameters(instance=stack, incoming_params=parameters)
        if not [*_differences(_deployed(stack), _resolve(template, values, stack.tags))]:
            raise ValidationError(message="No updates are to be performed.")
        deploy(stack, "UPDATE", template, values, stack.tags, False)
        return stack

    def deploy(
        stack: Any, kind: str, template: str, values: Any, tags: Any, import_existing: bool
    ) -> None:
        stack._add_stack_event(f"{kind}_IN_PROGRESS", resource_status_reason="User Initiated")
        deployment = _Deployment(account, stack, models, import_existing)
        if deployment.apply(_resolve(template, values, tags)):
            stack.template, stack.parameters, stack.tags = template, values, tags
            stack.status = f"{kind}_COMPLETE"
        else:
            stack.status = "ROLLBACK_COMPLETE" if kind == "CREATE" else "UPDATE_ROLLBACK_COMPLETE"
        stack._add_stack_event(stack.status)

    def delete(self: Any, name_or_stack_id: str) -> None:
        for stack in list(self.stacks.values()):
            if name_or_stack_id not in (stack.stack_id, stack.name):
                continue
            stack._add_stack_event("DELETE_IN_PROGRESS", resource_status_reason="User Initiated")
            complete = _Deployment(account, stack, models, False).delete_all()
            stack.status = "DELETE_COMPLETE" if complete else "DELETE_FAILED"
            stack._add_stack_event(stack.status)
            if complete:
                self.deleted_stacks[stack.stack_id] = self.stacks.pop(stack.stack_id)

    def outputs(stack: Any) -> list[dict[str, Any]]:
        never_deployed = stack.status in ("REVIEW_IN_PROGRESS", "ROLLBACK_COMPLETE")
        if never_deployed or not getattr(stack, "deployed", None):
            return []
        resolved = _stack(stack.template, stack.parameters).outputs()
        values = resolve_references(resolved, stack.ids)
        return [{"OutputKey": key, "OutputValue": value} for key, value in values.items()]

    def parameters(stack: Any) -> list[dict[str, Any]]:
        return [{"ParameterKey": k, "ParameterValue": v} for k, v in stack.parameters.items()]

    def resources(self: Any, stack_name_or_id: str) -> Any:
        stack = self.get_stack(stack_name_or_id)
        return stack, [
            SimpleNamespace(
                logical_resource_id=name,
                physical_resource_id=stack.ids.get(_reference(one), name),
                cf_resource_type=one["Type"],
            )
            for name, one in _deployed(stack).items()
        ]

    patch.setattr(backend, "create_change_set", create_change_set)
    patch.setattr(backend, "execute_change_set", execute)
    patch.setattr(backend, "update_stack", update)
    patch.setattr(backend, "delete_stack", delete)
    patch.setattr(backend, "list_stack_resources", resources)
    patch.setattr(models.ChangeSet, "diff", diff)
    patch.setattr(models.Stack, "outputs", property(outputs))
    patch.setattr(models.Stack, "parameter_list", property(parameters))
    patch.setattr(models.Stack, "stack_parameters", property(lambda stack: stack.parameters))
    # CreateChangeSet does not reject an update without changes, and `update` does.
    patch.setattr(Response, "_validate_different_update", lambda *_: None)
    for name in ("create_change_set", "execute_change_set", "update_stack", "delete_stack"):
        patch.setattr(Response, name, _with_caller(getattr(Response, name)))


def _with_caller(respond: Any) -> Any:
    """Return a response function that stores the credentials of the caller and the option for imports."""

    def respond_with_caller(response: Any) -> Any:
        from moto.iam.models import iam_backends

        (key,) = re.findall(r"Credential=([^/]+)/", response.headers["Authorization"])
        known = iam_backends[ACCOUNT]["aws"].access_keys.get(key)
        secret = known.secret_access_key if known else ADMIN["AWS_SECRET_ACCESS_KEY"]
        _CALLER.set({"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret})
        _IMPORT.set(bool(response._get_bool_param("ImportExistingResources", False)))
        return respond(response)

    return respond_with_caller


def _stack(template: str, parameters: Mapping[str, str]) -> Stack:
    return Stack(parse_template(template), parameters)


def _resolve(
    template: str, parameters: Mapping[str, str], tags: Mapping[str, str] | None
) -> dict[str, Any]:
    """Return the resources of a template by logical ID, in the order of creation, with the tags of the stack."""
    stack = _stack(template, parameters)
    found = {
        name: with_tags({**one, "Stack": stack}, {**(tags or {}), **resource_tags(one)})
        for name, one in stack.resources.items()
    }
    rank = {kind: number for number, kind in enumerate(_ORDER)}
    return dict(sorted(found.items(), key=lambda item: rank.get(item[1]["Type"], len(rank))))


def _deployed(stack: Any) -> dict[str, Any]:
    return getattr(stack, "deployed", {})


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Yield the changes in the order of CloudFormation, which removes resources at the end."""
    for name, one in new.items():
        if name not in old:
            yield "Add", name, one
        elif one["Properties"] != old[name]["Properties"]:
            yield "Modify", name, one
    yield from (("Remove", name, old[name]) for name in reversed(old) if name not in new)


def _change(models: Any, action: str, name: str, resource: Any, old: Any) -> Any:
    change = models.Change(action, name, resource["Type"])
    new = resource["Properties"]
    changed = [
        key for key in {**old["Properties"], **new} if old["Properties"].get(key) != new.get(key)
    ]
    replaced = set(changed) & set(_CREATE_ONLY.get(resource["Type"], ()))
    change.replacement = str(bool(replaced)) if action == "Modify" else None
    change.details = [{"Target": {"Attribute": "Properties", "Name": key}} for key in changed]
    return change


def _reference(resource: Mapping[str, Any]) -> str:
    """Return the reference to the ID that AWS assigns to a resource."""
    if resource["Type"] == "AWS::EC2::SecurityGroup":
        return f"{resource['Properties']['GroupName'].rpartition('-')[2]}.GroupId"
    return f"{resource['Type']}.Id"


class _Deployment:
    """An operation on a stack."""

    def __init__(
        self, account: MotoAccount, stack: Any, models: Any, import_existing: bool
    ) -> None:
        self._account, self._stack, self._models = account, stack, models
        self._import = import_existing
        self._resources: dict[str, Any] = stack.__dict__.setdefault("deployed", {})
        self._ids: dict[str, str] = stack.__dict__.setdefault("ids", {})

    def apply(self, resources: Mapping[str, Any]) -> bool:
        """Create, change and delete resources; return False after a failure, which is rolled back."""
        added = []
        for action, name, one in list(_differences(self._resources, resources)):
            try:
                if action == "Remove":
                    self._delete(name)
                    continue
                if action == "Add":
                    added.append(name)
                    self._create(one)
                else:
                    self._update(self._resources[name], one)
                self._resources[name] = one
            except ClientError as error:
                verb = {"Add": "CREATE", "Modify": "UPDATE", "Remove": "DELETE"}[action]
                self._event(name, one["Type"], f"{verb}_FAILED", str(error))
                for created in reversed(added[:-1]):
                    if self._resources[created].get("DeletionPolicy") != "Retain":
                        self._delete(created)
                return False
        return True

    def delete_all(self) -> bool:
        """Delete the resources without the policy Retain; return False after a failure."""
        for name, one in reversed([*self._resources.items()]):
            try:
                if one.get("DeletionPolicy") != "Retain":
                    self._delete(name)
            except ClientError as error:
                self._event(name, one["Type"], "DELETE_FAILED", str(error))
                return False
        self._resources.clear()
        return True

    def _event(self, name: str, kind: str, status: str, reason: str) -> None:
        stack = self._stack
        event = self._models.Event(
            stack.stack_id, stack.name, name, name, kind, status, reason, None
        )
        stack.events.append(event)

    def _client(self, service: str) -> Any:
        """Return a client for requests that CloudFormation sends with the credentials of the caller."""
        return self._account.client(service, _CALLER.get(), called_via=_SERVICE)

    def _send(self, service: str, operation: str, parameters: Mapping[str, Any]) -> Any:
        resolved = resolve_references(parameters, self._ids)
        return getattr(self._client(service), operation)(**resolved)

    def _create(self, resource: dict[str, Any]) -> None:
        requests = [*resource_requests(resource)]
        kind, properties = resource["Type"], resource["Properties"]
        if kind == "AWS::S3::Bucket" and self._exists("head_bucket", properties["BucketName"]):
            self._require_import(
                resource, "BucketName", f"{properties['BucketName']} already exists"
            )
            return
        if kind == "AWS::S3::BucketPolicy" and self._exists(
            "get_bucket_policy", properties["Bucket"]
        ):
            reason = f"The bucket policy already exists on bucket {properties['Bucket']}"
            self._require_import(resource, "Bucket", reason)
            return
        for service, operation, parameters in requests:
            response = self._send(service, operation, parameters)
            for key in ("GroupId", "applicationId"):
                if operation.startswith("create_") and key in response:
                    self._ids[_reference(resource)] = response[key]
                    if key == "applicationId":
                        self._ids["application.applicationId"] = response[key]

    def describe(self, action: str, resource: dict[str, Any]) -> str:
        """Return the action of a change set: the import of an existing resource instead of its creation."""
        kind, properties = resource["Type"], resource["Properties"]
        exists = (
            kind == "AWS::S3::Bucket" and self._exists("head_bucket", properties["BucketName"])
        ) or (
            kind == "AWS::S3::BucketPolicy"
            and self._exists("get_bucket_policy", properties["Bucket"])
        )
        return "Import" if action == "Add" and exists and self._import else action

    def _require_import(self, resource: dict[str, Any], key: str, reason: str) -> None:
        """Raise AWS's error unless the existing resource is imported, which requires a literal name."""
        name = next(n for n, one in resource["Stack"].resources.items() if one["Type"] == resource["Type"]
                    and one["Properties"][key] == resource["Properties"][key])  # fmt: skip
        written = resource["Stack"].template["Resources"][name]
        literal = isinstance(written["Properties"][key], str)
        if not (self._import and literal and written.get("DeletionPolicy") == "Retain"):
            raise ClientError({"Error": {"Code": "AlreadyExists", "Message": reason}}, "Create")

    def _exists(self, operation: str, bucket: str) -> bool:
        try:
            getattr(self._client("s3"), operation)(Bucket=bucket)
        except ClientError as error:
            if error.response["Error"]["Code"] in ("404", "NoSuchBucket", "NoSuchBucketPolicy"):
                return False
            raise
        return True

    def _require_no_references(self, group: str) -> None:
        """Raise the error of EC2 if another group refers to this one; moto deletes it."""
        for other in self._client("ec2").describe_security_groups()["SecurityGroups"]:
            pairs = [one for rule in other["IpPermissions"] for one in rule["UserIdGroupPairs"]]
            if other["GroupId"] != group and group in [one.get("GroupId") for one in pairs]:
                reason = f"resource {group} has a dependent object"
                error = {"Error": {"Code": "DependencyViolation", "Message": reason}}
                raise ClientError(error, "DeleteSecurityGroup")

    def _update(self, old: dict[str, Any], new: dict[str, Any]) -> None:
        for request in _tag_changes(old, new, self._ids):
            self._send(*request)
        before, after = ([*resource_requests(with_tags(one, {}))] for one in (old, new))
        for request in after:
            if request not in before:
                self._send_change(*request)
        for service, operation, parameters in before:
            if (service, operation, parameters) in after:
                continue
            if operation == "authorize_security_group_ingress":
                self._send(service, "revoke_security_group_ingress", parameters)
            elif (
                new["Type"] == "AWS::IAM::Policy"
                and parameters["RoleName"] not in new["Properties"]["Roles"]
            ):
                policy = {key: parameters[key] for key in ("RoleName", "PolicyName")}
                self._send("iam", "delete_role_policy", policy)

    def _send_change(self, service: str, operation: str, parameters: dict[str, Any]) -> None:
        match operation:
            case "create_role":
                role = {"RoleName": parameters["RoleName"]}
                document = {"PolicyDocument": parameters["AssumeRolePolicyDocument"]}
                self._send("iam", "update_assume_role_policy", role | document)
            case "create_schedule":
                self._send(service, "update_schedule", parameters)
            case "create_queue":
                url = self._send("sqs", "get_queue_url", {"QueueName": parameters["QueueName"]})
                attributes = {"QueueUrl": url["QueueUrl"], "Attributes": parameters["Attributes"]}
                self._send("sqs", "set_queue_attributes", attributes)
            case "create_application":
                kept = ("maximumCapacity", "autoStopConfiguration", "releaseLabel")
                changed = {key: parameters[key] for key in kept}
                application = {"applicationId": self._ids["application.applicationId"]}
                self._send(service, "update_application", application | changed)
            case _:
                self._send(service, operation, parameters)

    def _delete(self, name: str) -> None:
        one = self._resources[name]
        if one["Type"] == "AWS::EC2::SecurityGroup":
            self._require_no_references(self._ids[_reference(one)])
        for request in _deletions(one, self._ids):
            try:
                self._send(*request)
            except ClientError as error:  # what an earlier attempt has deleted
                if error.response["Error"]["Code"] != "NoSuchEntity":
                    raise
        del self._resources[name]


def _queue_url(properties: Mapping[str, Any]) -> str:
    return f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{properties['QueueName']}"


def _tag_changes(
    old: dict[str, Any], new: dict[str, Any], ids: Mapping[str, str]
) -> Iterator[SentRequest]:
    """Yield the requests that set and remove tags of a resource; nothing for a type that `up` does not create."""
    before, after = resource_tags(old), resource_tags(new)
    changed = {key: value for key, value in after.items() if before.get(key) != value}
    removed = [key for key in before if key not in after]
    listed = [{"Key": key, "Value": value} for key, value in changed.items()]
    properties, resource = new["Properties"], dict[str, Any]()
    match new["Type"]:
        case "AWS::S3::Bucket" if changed or removed:
            tagging = {"TagSet": properties["Tags"]}
            yield (
                "s3",
                "put_bucket_tagging",
                {"Bucket": properties["BucketName"], "Tagging": tagging},
            )
            return
        case "AWS::IAM::Role":
            resource = {"RoleName": properties["RoleName"]}
            requests = ("iam", "tag_role", "untag_role")
            values = {"Tags": listed}, {"TagKeys": removed}
        case "AWS::EC2::SecurityGroup":
            resource = {"Resources": [ids[_reference(new)]]}
            requests = ("ec2", "create_tags", "delete_tags")
            values = {"Tags": listed}, {"Tags": [{"Key": key} for key in removed]}
        case "AWS::SQS::Queue":
            resource = {"QueueUrl": _queue_url(properties)}
            requests = ("sqs", "tag_queue", "untag_queue")
            values = {"Tags": changed}, {"TagKeys": removed}
        case "AWS::EMRServerless::Application":
            arn = f"arn:aws:emr-serverless:{REGION}:{ACCOUNT}:/applications/{ids['application.applicationId']}"
            resource = {"resourceArn": arn}
            requests = ("emr-serverless", "tag_resource", "untag_resource")
            values = {"tags": changed}, {"tagKeys": removed}
        case _:
            return
    if changed:
        yield requests[0], requests[1], resource | values[0]
    if removed:
        yield requests[0], requests[2], resource | values[1]


def _deletions(resource: Mapping[str, Any], ids: Mapping[str, str]) -> Iterator[SentRequest]:
    """Yield the requests that delete a resource."""
    properties = resource["Properties"]
    match resource["Type"]:
        case "AWS::IAM::Role":
            role = {"RoleName": properties["RoleName"]}
            for policy in properties.get("Policies", ()):
                yield "iam", "delete_role_policy", role | {"PolicyName": policy["PolicyName"]}
            for arn in properties.get("ManagedPolicyArns", ()):
                yield "iam", "detach_role_policy", role | {"PolicyArn": arn}
            yield "iam", "delete_role", role
        case "AWS::IAM::Policy":
            for role in properties["Roles"]:
                policy = {"RoleName": role, "PolicyName": properties["PolicyName"]}
                yield "iam", "delete_role_policy", policy
        case "AWS::IAM::InstanceProfile":
            profile = {"InstanceProfileName": properties["InstanceProfileName"]}
            for role in properties["Roles"]:
                yield "iam", "remove_role_from_instance_profile", profile | {"RoleName": role}
            yield "iam", "delete_instance_profile", profile
        case "AWS::EC2::SecurityGroup":
            yield "ec2", "delete_security_group", {"GroupId": ids[_reference(resource)]}
        case "AWS::EMR::SecurityConfiguration":
            yield "emr", "delete_security_configuration", {"Name": properties["Name"]}
        case "AWS::SQS::Queue":
            yield "sqs", "delete_queue", {"QueueUrl": _queue_url(properties)}
        case "AWS::Scheduler::Schedule":
            yield "scheduler", "delete_schedule", {"Name": properties["Name"]}
        case "AWS::EMRServerless::Application":
            application = {"applicationId": ids["application.applicationId"]}
            yield "emr-serverless", "delete_application", application
