"""Resolve a CloudFormation template, and translate its resources to the requests that create the same resources.

The resolver supports the functions that the templates use, and fails on any other.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from support.aws.account import ACCOUNT, REGION

#: A request: boto3 names of service and operation, and parameters.
SentRequest = tuple[str, str, dict[str, Any]]
_ABSENT = object()
#: End of the host names of the partitions in which it is not ``amazonaws.com``.
_URL_SUFFIXES = {"aws-cn": "amazonaws.com.cn", "aws-eusc": "amazonaws.eu"}
#: The property with the tags of each type that gets those of its stack, by the schemas of CloudFormation.
TAG_PROPERTIES = {
    "AWS::S3::Bucket": "Tags",
    "AWS::IAM::Role": "Tags",
    "AWS::EC2::SecurityGroup": "Tags",
    "AWS::SQS::Queue": "Tags",
    "AWS::EMRServerless::Application": "Tags",
    "AWS::SNS::Topic": "Tags",
    "AWS::Events::Rule": "Tags",
    "AWS::CloudWatch::Alarm": "Tags",
    "AWS::Athena::WorkGroup": "Tags",
    "AWS::Budgets::Budget": "ResourceTags",
}


class _TemplateLoader(yaml.CSafeLoader):
    """YAML with the short form of CloudFormation's functions; the parser of cfn-lint takes 20 times as long."""


def _function(loader: _TemplateLoader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    if suffix == "GetAtt":
        value = value.split(".", 1)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


_TemplateLoader.add_multi_constructor("!", _function)


@functools.cache
def parse_template(text: str) -> dict[str, Any]:
    """Return a template with its functions in the long form; do not change it."""
    result: dict[str, Any] = yaml.load(text, Loader=_TemplateLoader)
    return result


class Stack:
    """A template with values for its parameters; `resources` are those whose condition holds, with plain values.

    An ID that AWS assigns becomes a reference such as ``${tunnel.GroupId}``, as in the requests of a plan.
    """

    def __init__(
        self, template: Mapping[str, Any], parameters: Mapping[str, str], partition: str = "aws"
    ) -> None:
        self.template = self._template = template
        self.partition = partition
        self.values: dict[str, Any] = {}
        unknown = parameters.keys() - template["Parameters"].keys()
        assert not unknown, f"the template has no parameters {unknown}"
        for name, declared in template["Parameters"].items():
            value = parameters.get(name, declared.get("Default"))
            assert value is not None, f"{name} has no value"
            converters = {"Number": int, "CommaDelimitedList": lambda text: text.split(",")}
            self.values[name] = converters.get(declared["Type"], str)(value)
        self.resources: dict[str, dict[str, Any]] = {}
        for name, resource in template["Resources"].items():
            if "Condition" not in resource or self.condition(resource["Condition"]):
                self.resources[name] = resource | {
                    "Properties": self.resolve(resource["Properties"])
                }

    def condition(self, name: str) -> bool:
        """Return whether a condition of the template holds."""
        return bool(self.resolve(self._template["Conditions"][name]))

    def failed_assertions(self) -> list[str]:
        """Return the descriptions of the assertions in `Rules` that fail."""
        return [
            one["AssertDescription"]
            for rule in self._template.get("Rules", {}).values()
            if self.resolve(rule.get("RuleCondition", True))
            for one in rule["Assertions"]
            if not self.resolve(one["Assert"])
        ]

    def outputs(self) -> dict[str, str]:
        """Return the outputs whose condition holds."""
        return {
            name: str(self.resolve(one["Value"]))
            for name, one in self._template.get("Outputs", {}).items()
            if "Condition" not in one or self.condition(one["Condition"])
        }

    def requests(self) -> list[SentRequest]:
        """Return the requests that create the resources."""
        return [request for one in self.resources.values() for request in resource_requests(one)]

    def resolve(self, value: Any) -> Any:
        """Return a value without functions."""
        if isinstance(value, list):
            items = [self.resolve(item) for item in value]
            return [item for item in items if item is not _ABSENT]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((name, argument),) = value.items()
            if name in ("Ref", "Condition") and isinstance(argument, str):
                return self._reference(argument) if name == "Ref" else self.condition(argument)
            if name.startswith("Fn::"):
                return getattr(self, "_" + name.removeprefix("Fn::").lower())(argument)
        items = {key: self.resolve(item) for key, item in value.items()}
        return {key: item for key, item in items.items() if item is not _ABSENT}

    def _if(self, argument: Any) -> Any:
        name, then, otherwise = argument
        return self.resolve(then if self.condition(name) else otherwise)

    def _equals(self, argument: Any) -> bool:
        first, second = self.resolve(argument)
        return str(first) == str(second)

    def _not(self, argument: Any) -> bool:
        return not self.resolve(argument)[0]

    def _and(self, argument: Any) -> bool:
        return all(self.resolve(argument))

    def _or(self, argument: Any) -> bool:
        return any(self.resolve(argument))

    def _join(self, argument: Any) -> str:
        delimiter, items = argument
        return str(delimiter).join(self.resolve(items))

    def _select(self, argument: Any) -> Any:
        index, items = self.resolve(argument)
        return items[int(index)]

    def _split(self, argument: Any) -> list[str]:
        delimiter, text = argument
        parts: list[str] = self.resolve(text).split(delimiter)
        return parts

    def _sub(self, argument: Any) -> str:
        text, variables = (argument, {}) if isinstance(argument, str) else argument
        values = {name: self.resolve(value) for name, value in variables.items()}

        def replace(match: re.Match[str]) -> str:
            name = match[1]
            if name in values:
                return str(values[name])
            return str(self._getatt(name.split(".")) if "." in name else self._reference(name))

        return re.sub(r"\$\{([^}]+)\}", replace, text)

    def _getatt(self, argument: Any) -> str:
        name, attribute = argument
        resource = self._template["Resources"][name]
        kind, properties = resource["Type"], self.resolve(resource["Properties"])
        match kind, attribute:
            case "AWS::IAM::Role", "Arn":
                path = properties.get("Path", "/")
                return f"arn:{self.partition}:iam::{ACCOUNT}:role{path}{properties['RoleName']}"
            case "AWS::SQS::Queue", "Arn":
                return f"arn:{self.partition}:sqs:{REGION}:{ACCOUNT}:{properties['QueueName']}"
            case "AWS::SQS::Queue", "QueueName":
                return str(properties["QueueName"])
            case "AWS::EC2::SecurityGroup", "GroupId":
                return f"${{{properties['GroupName'].rpartition('-')[2]}.GroupId}}"
            case "AWS::EMRServerless::Application", "ApplicationId":
                return "${application.applicationId}"
        raise AssertionError(f"{kind} {attribute}")

    def _reference(self, name: str) -> Any:
        pseudo = {
            "AWS::NoValue": _ABSENT,
            "AWS::AccountId": ACCOUNT,
            "AWS::Region": REGION,
            "AWS::URLSuffix": _URL_SUFFIXES.get(self.partition, "amazonaws.com"),
            "AWS::Partition": self.partition,
        }
        if name in pseudo:
            return pseudo[name]
        if name in self.values:
            return self.values[name]
        resource = self._template["Resources"][name]
        kind, properties = resource["Type"], self.resolve(resource["Properties"])
        named = {
            "AWS::IAM::Role": "RoleName",
            "AWS::IAM::InstanceProfile": "InstanceProfileName",
            "AWS::S3::Bucket": "BucketName",
        }
        if kind in named:
            return properties[named[kind]]
        if kind == "AWS::SNS::Topic":
            return f"arn:{self.partition}:sns:{REGION}:{ACCOUNT}:{properties['TopicName']}"
        if kind == "AWS::SQS::Queue":
            return f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{properties['QueueName']}"
        return f"{kind} {name}"


def resource_tags(resource: Mapping[str, Any]) -> dict[str, str]:
    """Return the tags of a resource by key."""
    found = resource["Properties"].get(TAG_PROPERTIES.get(resource["Type"], ""), ())
    return {one["Key"]: one["Value"] for one in found}


def with_tags(resource: dict[str, Any], tags: Mapping[str, str]) -> dict[str, Any]:
    """Return a resource with exactly these tags, if its type has tags."""
    name = TAG_PROPERTIES.get(resource["Type"])
    if name is None:
        return resource
    listed = [{"Key": key, "Value": value} for key, value in tags.items()]
    return resource | {"Properties": resource["Properties"] | {name: listed}}


def resource_requests(resource: Mapping[str, Any]) -> Iterator[SentRequest]:
    """Yield the requests that create a resource; nothing for a type that `up` does not create."""
    translate = _TRANSLATORS.get(resource["Type"])
    if translate is not None:
        yield from translate(resource["Properties"])


def _bucket(properties: Mapping[str, Any]) -> Iterator[SentRequest]:
    bucket = {"Bucket": properties["BucketName"]}
    location = {"CreateBucketConfiguration": {"LocationConstraint": REGION}}
    yield "s3", "create_bucket", bucket | location
    if "Tags" in properties:
        yield "s3", "put_bucket_tagging", bucket | {"Tagging": {"TagSet": properties["Tags"]}}
    for key, operation, parameter in (
        ("PublicAccessBlockConfiguration", "put_public_access_block", ""),
        ("OwnershipControls", "put_bucket_ownership_controls", ""),
        ("VersioningConfiguration", "put_bucket_versioning", ""),
        ("BucketEncryption", "put_bucket_encryption", "ServerSideEncryptionConfiguration"),
        ("LifecycleConfiguration", "put_bucket_lifecycle_configuration", ""),
    ):
        if key not in properties:
            continue
        value = properties[key]
        if key == "BucketEncryption":
            rules = [
                {"ApplyServerSideEncryptionByDefault": one["ServerSideEncryptionByDefault"]}
                for one in value["ServerSideEncryptionConfiguration"]
            ]
            value = {"Rules": rules}
        elif key == "LifecycleConfiguration":
            rules = [_lifecycle_rule(one) for one in value["Rules"]]
            value = {"Rules": sorted(rules, key=lambda rule: str(rule["ID"]))}
        yield "s3", operation, bucket | {parameter or key: value}


def _lifecycle_rule(rule: Mapping[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {"ID": rule["Id"], "Filter": {"Prefix": rule.get("Prefix", "")}}
    for key, value in rule.items():
        if key == "ExpirationInDays":
            result["Expiration"] = {"Days": value}
        elif key == "ExpiredObjectDeleteMarker":
            result["Expiration"] = {"ExpiredObjectDeleteMarker": value}
        elif key not in ("Id", "Prefix"):
            result[key] = value
    return result


def _bucket_policy(properties: Mapping[str, Any]) -> Iterator[SentRequest]:
    policy = json.dumps(properties["PolicyDocument"])
    yield "s3", "put_bucket_policy", {"Bucket": properties["Bucket"], "Policy": policy}


def _role(properties: Mapping[str, Any]) -> Iterator[SentRequest]:
    role = {"RoleName": properties["RoleName"]}
    create = role | {
        "AssumeRolePolicyDocument": json.dumps(properties["AssumeRolePolicyDocument"]),
        "Description": properties["Description"],
        "Tags": properties["Tags"],
    }
    if properties.get("Path", "/") != "/":
        create["Path"] = properties["Path"]
    if "PermissionsBoundary" in properties:
        create["PermissionsBoundary"] = properties["PermissionsBoundary"]
    yield "iam", "create_role", create
    for policy in properties.get("Policies", ()):
        yield from _policy({"Roles": [properties["RoleName"]], **policy})
    for arn in properties.get("ManagedPolicyArns", ()):
        yield "iam", "attach_role_policy", role | {"PolicyArn": arn}


def _policy(properties: Mapping[str, Any]) -> Iterator[SentRequest]:
    policy = {
        "PolicyName": properties["PolicyName"],
        "PolicyDocument": json.dumps(properties["PolicyDocument"]),
    }
    for role in properties["Roles"]:
        yield "iam", "put_role_policy", {"RoleName": role, **policy}


def _instance_profile(properties: Mapping[str, Any]) -> Iterator[SentRequest]:
    profile = {"InstanceProfileName": properties["InstanceProfileName"]}
    path = {} if properties.get("Path", "/") == "/" else {"Path": properties["Path"]}
    yield "iam", "create_instance_profile", profile | path
    for role in properties["Roles"]:
        yield "iam", "add_role_to_instance_profile", profile | {"RoleName": role}


def _security_group(properties: Mapping[str, Any]) -> Iterator[SentRequest]:
    """Yield the requests in the order that needs most permissions: the group gets its tags after its rules.

    Users report this order, and AWS documents none: aws-cloudformation/cloudformation-coverage-roadmap 714,
    aws/aws-cdk 13204.
    """
    create = {
        "GroupName": properties["GroupName"],
        "Description": properties["GroupDescription"],
    }
    vpc = {"VpcId": properties["VpcId"]} if "VpcId" in properties else {}
    yield "ec2", "create_security_group", create | vpc
    group = f"${{{properties['GroupName'].rpartition('-')[2]}.GroupId}}"
    for rule in properties.get("SecurityGroupIngress", ()):
        permission = {key: rule[key] for key in ("IpProtocol", "FromPort", "ToPort") if key in rule}
        about = {"Description": rule["Description"]} if "Description" in rule else {}
        for key, sources, source in (
            ("CidrIp", "IpRanges", "CidrIp"),
            ("CidrIpv6", "Ipv6Ranges", "CidrIpv6"),
            ("SourceSecurityGroupId", "UserIdGroupPairs", "GroupId"),
        ):
            if key in rule:
                permission[sources] = [{source: rule[key]} | about]
        parameters = {"GroupId": group, "IpPermissions": [permission]}
        yield "ec2", "authorize_security_group_ingress", parameters
    yield "ec2", "create_tags", {"Resources": [group], "Tags": properties["Tags"]}


def _security_configuration(properties: Mapping[str, Any]) -> Iterator[SentRequest]:
    content = json.dumps(properties["SecurityConfiguration"])
    parameters = {"Name": properties["Name"], "SecurityConfiguration": content}
    yield "emr", "create_security_configuration", parameters


def _queue(properties: Mapping[str, Any]) -> Iterator[SentRequest]:
    attributes = {
        key: json.dumps(value) if isinstance(value, dict) else str(value).lower()
        for key, value in properties.items()
        if key not in ("QueueName", "Tags")
    }
    tags = {tag["Key"]: tag["Value"] for tag in properties.get("Tags", ())}
    parameters = {"QueueName": properties["QueueName"], "Attributes": attributes, "tags": tags}
    yield "sqs", "create_queue", parameters


def _schedule(properties: Mapping[str, Any]) -> Iterator[SentRequest]:
    yield "scheduler", "create_schedule", dict(properties)


def _application(properties: Mapping[str, Any]) -> Iterator[SentRequest]:
    parameters = _uncapitalized({k: v for k, v in properties.items() if k != "Tags"})
    tags = {tag["Key"]: tag["Value"] for tag in properties["Tags"]}
    yield "emr-serverless", "create_application", parameters | {"tags": tags}


def _uncapitalized(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key[0].lower() + key[1:]: _uncapitalized(item) for key, item in value.items()}


_TRANSLATORS = {
    "AWS::S3::Bucket": _bucket,
    "AWS::S3::BucketPolicy": _bucket_policy,
    "AWS::IAM::Role": _role,
    "AWS::IAM::Policy": _policy,
    "AWS::IAM::InstanceProfile": _instance_profile,
    "AWS::EC2::SecurityGroup": _security_group,
    "AWS::EMR::SecurityConfiguration": _security_configuration,
    "AWS::SQS::Queue": _queue,
    "AWS::Scheduler::Schedule": _schedule,
    "AWS::EMRServerless::Application": _application,
}
