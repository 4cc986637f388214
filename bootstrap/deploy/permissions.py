"""The IAM actions and resources of each operation that the commands of `pomona cloud` send.

Source: Service Authorization Reference, https://docs.aws.amazon.com/service-authorization/latest/reference/, and for
`elasticmapreduce:PutAutoTerminationPolicy` the page on auto-termination policies of the EMR Management Guide. For
`aws:CalledVia`, which CloudFormation sets and which has several values: IAM User Guide, global condition context keys.
What CloudFormation itself needs: the permissions of the handlers in the schemas of its resource types.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from bootstrap.aws.combination_rules import FOR_EMR
from bootstrap.aws.request import Parameters
from bootstrap.config.names import Names
from bootstrap.resources.iam_policies import dns_suffix, ec2_service, emr_service
from bootstrap.resources.network import SUBNET_REFERENCE
from bootstrap.resources.stack import TEMPLATES

Resources = Callable[[Names, Parameters], Iterable[str]]
Condition = Callable[[Names, Parameters], Parameters]


def _no_condition(_names: Names, _parameters: Parameters) -> Parameters:
    return {}


@dataclass(frozen=True)
class Grant:
    """Actions that an operation needs, on the resources that follow from its parameters.

    Parameters
    ----------
    actions : str
        Separated by spaces.
    resources : callable
        Returns ARNs; ``*`` if the actions support no resources.
    condition : callable
    """

    actions: str
    resources: Resources
    condition: Condition = _no_condition


def _all(_names: Names, _parameters: Parameters) -> list[str]:
    return ["*"]


def _bucket(names: Names, parameters: Parameters) -> list[str]:
    return [names.bucket_arn(parameters["Bucket"])]


def _data_bucket(names: Names, parameters: Parameters) -> list[str]:
    return _bucket(names, parameters) if parameters["Bucket"] == names.data_bucket else []


def _objects(names: Names, parameters: Parameters) -> list[str]:
    """Return the objects of the same kind: the keys of uploads contain a hash of the content."""
    lake = names.config.storage.lake
    kinds = ("pomona/", f"{lake}models/", "jupyter/jovyan/pomona-", "emr/")
    kind = next(kind for kind in kinds if parameters["Key"].startswith(kind))
    return [names.bucket_arn(parameters["Bucket"], f"{kind}*")]


def _role(names: Names, parameters: Parameters) -> list[str]:
    return [_role_arn(names, parameters["RoleName"])]


def _bounded_role(names: Names, parameters: Parameters) -> list[str]:
    """Return the role if new roles get a permissions boundary."""
    return _role(names, parameters) if names.config.roles.boundary else []


def _role_arn(names: Names, role: str) -> str:
    """Return the ARN of a role from its name or ARN, or from the ARN of its instance profile."""
    role = role.replace(":instance-profile/", ":role/")
    prefix = f"arn:{names.partition}:iam::{names.account}:"
    return role if role.startswith(prefix) else f"{prefix}role/{role}"


def _principals(names: Names, _parameters: Parameters) -> list[str]:
    """Return the users and roles, one of which is the caller."""
    prefix = f"arn:{names.partition}:iam::{names.account}:"
    return [f"{prefix}user/*", f"{prefix}role/*"]


def _instance_profile(names: Names, parameters: Parameters) -> list[str]:
    profile = parameters["InstanceProfileName"]
    return [f"arn:{names.partition}:iam::{names.account}:instance-profile/{profile}"]


def _service_linked_role(names: Names, parameters: Parameters) -> list[str]:
    """Return the role, whose path in China has the name of the service with or without its suffix."""
    service = parameters["AWSServiceName"].removesuffix(".cn")
    return [_role_arn(names, f"aws-service-role/{service}*")]


def _schedule(names: Names, parameters: Parameters) -> list[str]:
    name = parameters.get("Name", names.prefixed("refit"))
    return [names.arn("scheduler", f"schedule/default/{name}")]


def _queue(names: Names, parameters: Parameters) -> list[str]:
    return [names.arn("sqs", parameters.get("QueueName", names.failed_refits))]


def _quota(names: Names, parameters: Parameters) -> list[str]:
    return [names.arn("servicequotas", f"{parameters['ServiceCode']}/{parameters['QuotaCode']}")]


def _stacks(names: Names, _parameters: Parameters) -> list[str]:
    existing = names.config.stack
    stacks = [existing] if existing else [names.prefixed(one) for one in TEMPLATES]
    return [names.arn("cloudformation", f"stack/{one}/*") for one in stacks]


def _topic(names: Names, _parameters: Parameters) -> list[str]:
    return [names.arn("sns", names.prefixed("alarms"))]


def _existing_topic(_names: Names, parameters: Parameters) -> list[str]:
    return [parameters["TopicArn"]]


def _named(service: str, kind: str) -> Resources:
    """Return the resources of a service whose name is that of the parameters."""
    return lambda names, parameters: [names.arn(service, f"{kind}{parameters['Name']}")]


def _budget(names: Names, _parameters: Parameters) -> list[str]:
    """Return the budgets of all addresses: another one replaces the budget."""
    return [f"arn:{names.partition}:budgets::{names.account}:budget/{names.prefixed('monthly-*')}"]


def _billing_view(names: Names, _parameters: Parameters) -> list[str]:
    """Return the view of a budget that names none."""
    return [f"arn:{names.partition}:billing::{names.account}:billingview/primary"]


def _glue_database(names: Names, parameters: Parameters) -> list[str]:
    return [names.arn("glue", "catalog"), names.arn("glue", f"database/{parameters['Name']}")]


def _clusters(names: Names, _parameters: Parameters) -> list[str]:
    return [names.arn("elasticmapreduce", "cluster/*")]


def _applications(names: Names, _parameters: Parameters) -> list[str]:
    return [names.arn("emr-serverless", "/applications/*")]


def _job_runs(names: Names, _parameters: Parameters) -> list[str]:
    return [names.arn("emr-serverless", "/applications/*/jobruns/*")]


def _security_groups(names: Names, _parameters: Parameters) -> list[str]:
    return [names.arn("ec2", "security-group/*")]


def _vpcs(names: Names, _parameters: Parameters) -> list[str]:
    return [names.arn("ec2", "vpc/*")]


def _tagged_network(names: Names, parameters: Parameters) -> list[str]:
    """Return the subnet or VPC that gets EMR's tag."""
    (resource,) = parameters["Resources"]
    if resource == SUBNET_REFERENCE:
        return [names.arn("ec2", f"subnet/{names.config.network.subnet or '*'}")]
    if resource.startswith("subnet-"):
        return [names.arn("ec2", f"subnet/{resource}")]
    return _vpcs(names, parameters)


def _equals(key: str, value: Callable[[Names, Parameters], Any]) -> Condition:
    return lambda names, parameters: {"StringEquals": {key: value(names, parameters)}}


def _name(names: Names, _parameters: Parameters) -> str:
    return names.config.name


def _sets_tag_of_emr(_names: Names, _parameters: Parameters) -> Parameters:
    return {
        "StringEquals": {f"aws:RequestTag/{FOR_EMR['Key']}": FOR_EMR["Value"]},
        "ForAllValues:StringEquals": {"aws:TagKeys": [FOR_EMR["Key"]]},
    }


def _not_of_others(names: Names, _parameters: Parameters) -> Parameters:
    """Return the condition that protects resources with the tag of another deployment, and the tag itself."""
    return {"StringEqualsIfExists": {"aws:ResourceTag/pomona": names.config.name}}


def _called_via(_names: Names, _parameters: Parameters) -> Parameters:
    return {"ForAnyValue:StringEquals": {"aws:CalledVia": ["cloudformation.amazonaws.com"]}}


def _bounded(names: Names, _parameters: Parameters) -> Parameters:
    """Return the condition that a role has the permissions boundary of the configuration, if there is one."""
    boundary = names.config.roles.boundary
    return {"StringEquals": {"iam:PermissionsBoundary": boundary}} if boundary else {}


def _all_of(*conditions: Condition) -> Condition:
    """Return the condition that requires all of these conditions."""

    def merge(names: Names, parameters: Parameters) -> Parameters:
        """Merge the tests of each operator."""
        merged: dict[str, Any] = {}
        for condition in conditions:
            for operator, tests in condition(names, parameters).items():
                merged[operator] = merged.get(operator, {}) | tests
        return merged

    return merge


_NEW = _equals("aws:RequestTag/pomona", _name)
_OWN = _equals("aws:ResourceTag/pomona", _name)
_OWN_CLUSTER = _equals("elasticmapreduce:ResourceTag/pomona", _name)
#: Requests that CloudFormation sends on behalf of the deployer. A new security group has no tag when CloudFormation
#: opens it, and CloudFormation may set tags in a later request.
_BY_CLOUDFORMATION = _all_of(_called_via, _not_of_others)
_THIS_POLICY = _equals("iam:PolicyARN", lambda _, p: p["PolicyArn"])


def _pass_role(role: Callable[[Parameters], str], service: Callable[[Names], str]) -> Grant:
    """Return the permission to pass a role of the parameters to a service."""
    return Grant(
        "iam:PassRole",
        lambda names, parameters: [_role_arn(names, role(parameters))],
        _equals("iam:PassedToService", lambda names, _: service(names)),
    )


def _auto_terminated(names: Names, parameters: Parameters) -> list[str]:
    """Return the clusters if the new one gets an auto-termination policy; it has no ARN yet, and perhaps no tags."""
    return _clusters(names, parameters) if "AutoTerminationPolicy" in parameters else []


def _key(name: str) -> Resources:
    """Return the KMS key of `[encryption]`, if there is one."""
    return lambda names, _: filter(None, [getattr(names.config.encryption, name)])


def _s3_service(names: Names, _parameters: Parameters) -> str:
    return f"s3.{names.config.region}.{dns_suffix(names)}"


def _s3_and_jobs(names: Names, parameters: Parameters) -> list[str]:
    return [
        _s3_service(names, parameters),
        f"emr-serverless.{names.config.region}.{dns_suffix(names)}",
    ]


_BY_S3 = _equals("kms:ViaService", _s3_service)
#: Use of the KMS keys by uploads, whose parts S3 decrypts, and by `pomona cloud logs`; only through S3.
KEY_GRANTS = (
    Grant("kms:GenerateDataKey kms:Decrypt", _key("data_key"), _BY_S3),
    Grant("kms:Decrypt", _key("log_key"), _BY_S3),
)
_PASS_SCHEDULER = _pass_role(lambda p: p["Target"]["RoleArn"], lambda _: "scheduler.amazonaws.com")
#: By service and operation, with boto3 names.
GRANTS: dict[tuple[str, str], tuple[Grant, ...]] = {
    ("sts", "get_caller_identity"): (),  # needs no permission
    ("s3", "create_bucket"): (Grant("s3:CreateBucket", _bucket),),
    ("s3", "head_bucket"): (Grant("s3:ListBucket", _bucket),),
    ("s3", "get_bucket_replication"): (Grant("s3:GetReplicationConfiguration", _bucket),),
    ("s3", "list_objects_v2"): (Grant("s3:ListBucket", _bucket),),
    ("s3", "put_public_access_block"): (Grant("s3:PutBucketPublicAccessBlock", _bucket),),
    ("s3", "get_public_access_block"): (Grant("s3:GetBucketPublicAccessBlock", _bucket),),
    ("s3", "put_bucket_ownership_controls"): (Grant("s3:PutBucketOwnershipControls", _bucket),),
    ("s3", "get_bucket_ownership_controls"): (Grant("s3:GetBucketOwnershipControls", _bucket),),
    ("s3", "put_bucket_encryption"): (Grant("s3:PutEncryptionConfiguration", _bucket),),
    ("s3", "get_bucket_encryption"): (Grant("s3:GetEncryptionConfiguration", _bucket),),
    ("s3", "put_bucket_versioning"): (Grant("s3:PutBucketVersioning", _bucket),),
    ("s3", "get_bucket_versioning"): (Grant("s3:GetBucketVersioning", _bucket),),
    ("s3", "put_bucket_tagging"): (
        Grant("s3:PutBucketTagging s3:TagResource s3:UntagResource", _bucket),
    ),
    ("s3", "get_bucket_tagging"): (Grant("s3:GetBucketTagging s3:ListTagsForResource", _bucket),),
    ("s3", "put_bucket_policy"): (Grant("s3:PutBucketPolicy", _bucket),),
    ("s3", "get_bucket_policy"): (Grant("s3:GetBucketPolicy", _bucket),),
    ("s3", "put_bucket_lifecycle_configuration"): (Grant("s3:PutLifecycleConfiguration", _bucket),),
    ("s3", "get_bucket_lifecycle_configuration"): (Grant("s3:GetLifecycleConfiguration", _bucket),),
    ("s3", "put_object"): (Grant("s3:PutObject", _objects),),
    ("s3", "head_object"): (Grant("s3:GetObject", _objects),),
    ("s3", "get_object"): (Grant("s3:GetObject", _objects),),
    # With `roles.boundary`, no role without it gets policies, because a deployer can delete a role and create it again.
    # `iam:TagRole` does not support the condition. A role without the boundary can still lose policies and be deleted.
    ("iam", "create_role"): (
        Grant("iam:CreateRole", _role, _bounded),
        Grant("iam:TagRole", _role),
    ),
    ("iam", "untag_role"): (Grant("iam:UntagRole", _role),),
    ("iam", "list_role_tags"): (Grant("iam:ListRoleTags", _role),),
    ("iam", "get_role"): (Grant("iam:GetRole", _role),),
    ("iam", "update_assume_role_policy"): (Grant("iam:UpdateAssumeRolePolicy", _role),),
    ("iam", "put_role_policy"): (Grant("iam:PutRolePolicy", _role, _bounded),),
    ("iam", "get_role_policy"): (Grant("iam:GetRolePolicy", _role),),
    ("iam", "attach_role_policy"): (
        Grant("iam:AttachRolePolicy", _role, _all_of(_THIS_POLICY, _bounded)),
    ),
    ("iam", "list_attached_role_policies"): (Grant("iam:ListAttachedRolePolicies", _role),),
    ("iam", "list_role_policies"): (Grant("iam:ListRolePolicies", _role),),
    ("iam", "delete_role_policy"): (Grant("iam:DeleteRolePolicy", _role),),
    ("iam", "detach_role_policy"): (Grant("iam:DetachRolePolicy", _role, _THIS_POLICY),),
    ("iam", "delete_role"): (Grant("iam:DeleteRole", _role),),
    ("iam", "create_instance_profile"): (Grant("iam:CreateInstanceProfile", _instance_profile),),
    ("iam", "get_instance_profile"): (Grant("iam:GetInstanceProfile", _instance_profile),),
    ("iam", "add_role_to_instance_profile"): (
        Grant("iam:AddRoleToInstanceProfile", _instance_profile),
        _pass_role(lambda p: p["RoleName"], ec2_service),
    ),
    ("iam", "remove_role_from_instance_profile"): (
        Grant("iam:RemoveRoleFromInstanceProfile", _instance_profile),
    ),
    ("iam", "delete_instance_profile"): (Grant("iam:DeleteInstanceProfile", _instance_profile),),
    ("iam", "create_service_linked_role"): (
        Grant(
            "iam:CreateServiceLinkedRole",
            _service_linked_role,
            _equals("iam:AWSServiceName", lambda _, p: p["AWSServiceName"]),
        ),
    ),
    ("iam", "simulate_principal_policy"): (Grant("iam:SimulatePrincipalPolicy", _principals),),
    ("iam", "list_roles"): (Grant("iam:ListRoles", _all),),
    ("ec2", "describe_subnets"): (Grant("ec2:DescribeSubnets", _all),),
    ("ec2", "describe_route_tables"): (Grant("ec2:DescribeRouteTables", _all),),
    ("ec2", "describe_instance_type_offerings"): (
        Grant("ec2:DescribeInstanceTypeOfferings", _all),
    ),
    ("ec2", "describe_instance_types"): (Grant("ec2:DescribeInstanceTypes", _all),),
    ("ec2", "get_ebs_encryption_by_default"): (Grant("ec2:GetEbsEncryptionByDefault", _all),),
    ("ec2", "get_ebs_default_kms_key_id"): (Grant("ec2:GetEbsDefaultKmsKeyId", _all),),
    ("ec2", "describe_tags"): (Grant("ec2:DescribeTags", _all),),
    ("ec2", "describe_security_groups"): (Grant("ec2:DescribeSecurityGroups", _all),),
    ("ec2", "describe_vpc_endpoints"): (Grant("ec2:DescribeVpcEndpoints", _all),),
    ("ec2", "create_tags"): (Grant("ec2:CreateTags", _tagged_network, _sets_tag_of_emr),),
    ("ec2", "create_security_group"): (
        Grant("ec2:CreateSecurityGroup", _vpcs),
        Grant("ec2:CreateSecurityGroup ec2:CreateTags", _security_groups, _BY_CLOUDFORMATION),
    ),
    ("ec2", "delete_tags"): (Grant("ec2:DeleteTags", _security_groups, _BY_CLOUDFORMATION),),
    ("ec2", "authorize_security_group_ingress"): (
        Grant("ec2:AuthorizeSecurityGroupIngress", _security_groups, _BY_CLOUDFORMATION),
    ),
    # `down --all` also sends these two itself.
    ("ec2", "revoke_security_group_ingress"): (
        Grant("ec2:RevokeSecurityGroupIngress", _security_groups, _OWN),
    ),
    ("ec2", "revoke_security_group_egress"): (
        Grant("ec2:RevokeSecurityGroupEgress", _security_groups, _OWN),
    ),
    ("ec2", "delete_security_group"): (
        Grant("ec2:DeleteSecurityGroup", _security_groups, _BY_CLOUDFORMATION),
    ),
    ("service-quotas", "get_service_quota"): (Grant("servicequotas:GetServiceQuota", _quota),),
    ("emr", "create_security_configuration"): (
        Grant("elasticmapreduce:CreateSecurityConfiguration", _all),
    ),
    ("emr", "delete_security_configuration"): (
        Grant("elasticmapreduce:DeleteSecurityConfiguration", _all),
    ),
    ("emr", "describe_security_configuration"): (
        Grant("elasticmapreduce:DescribeSecurityConfiguration", _all),
    ),
    ("emr", "run_job_flow"): (
        Grant("elasticmapreduce:RunJobFlow elasticmapreduce:AddTags", _all, _NEW),
        Grant("elasticmapreduce:PutAutoTerminationPolicy", _auto_terminated),
        _pass_role(lambda p: p["ServiceRole"], emr_service),
        _pass_role(lambda p: p["JobFlowRole"], ec2_service),
    ),
    ("emr", "list_clusters"): (Grant("elasticmapreduce:ListClusters", _all),),
    ("emr", "list_supported_instance_types"): (
        Grant("elasticmapreduce:ListSupportedInstanceTypes", _all),
    ),
    ("emr", "describe_cluster"): (Grant("elasticmapreduce:DescribeCluster", _clusters),),
    ("emr", "list_bootstrap_actions"): (Grant("elasticmapreduce:ListBootstrapActions", _clusters),),
    ("emr", "get_managed_scaling_policy"): (
        Grant("elasticmapreduce:GetManagedScalingPolicy", _clusters),
    ),
    ("emr", "get_auto_termination_policy"): (
        Grant("elasticmapreduce:GetAutoTerminationPolicy", _clusters),
    ),
    ("emr", "list_instance_groups"): (Grant("elasticmapreduce:ListInstanceGroups", _clusters),),
    ("emr", "list_instance_fleets"): (Grant("elasticmapreduce:ListInstanceFleets", _clusters),),
    ("emr", "list_instances"): (Grant("elasticmapreduce:ListInstances", _clusters),),
    ("emr", "list_steps"): (Grant("elasticmapreduce:ListSteps", _clusters),),
    ("emr", "describe_step"): (Grant("elasticmapreduce:DescribeStep", _clusters),),
    ("emr", "add_job_flow_steps"): (
        Grant("elasticmapreduce:AddJobFlowSteps", _clusters, _OWN_CLUSTER),
    ),
    ("emr", "put_managed_scaling_policy"): (
        Grant("elasticmapreduce:PutManagedScalingPolicy", _clusters, _OWN_CLUSTER),
    ),
    ("emr", "modify_instance_groups"): (
        Grant("elasticmapreduce:ModifyInstanceGroups", _clusters, _OWN_CLUSTER),
    ),
    ("emr", "add_instance_groups"): (
        Grant("elasticmapreduce:AddInstanceGroups", _clusters, _OWN_CLUSTER),
    ),
    ("emr", "modify_instance_fleet"): (
        Grant("elasticmapreduce:ModifyInstanceFleet", _clusters, _OWN_CLUSTER),
    ),
    ("emr", "add_instance_fleet"): (
        Grant("elasticmapreduce:AddInstanceFleet", _clusters, _OWN_CLUSTER),
    ),
    ("emr", "terminate_job_flows"): (
        Grant("elasticmapreduce:TerminateJobFlows", _clusters, _OWN_CLUSTER),
    ),
    ("emr-serverless", "create_application"): (
        Grant("emr-serverless:CreateApplication", _all, _NEW),
        # Only CloudFormation creates applications.
        Grant("emr-serverless:TagResource", _applications, _all_of(_NEW, _BY_CLOUDFORMATION)),
    ),
    # A request that changes tags contains only the changed tags.
    ("emr-serverless", "tag_resource"): (Grant("emr-serverless:TagResource", _applications, _OWN),),
    ("emr-serverless", "untag_resource"): (
        Grant("emr-serverless:UntagResource", _applications, _OWN),
    ),
    ("emr-serverless", "start_job_run"): (
        Grant("emr-serverless:StartJobRun", _applications, _OWN),
        Grant("emr-serverless:TagResource", _job_runs, _all_of(_NEW, _not_of_others)),
        _pass_role(lambda p: p["executionRoleArn"], lambda _: "emr-serverless.amazonaws.com"),
        # EMR Serverless rejects a job of a principal that may not use the key of its logs.
        Grant(
            "kms:Decrypt kms:DescribeKey kms:GenerateDataKey",
            _key("log_key"),
            _equals("kms:ViaService", _s3_and_jobs),
        ),
    ),
    ("emr-serverless", "list_applications"): (Grant("emr-serverless:ListApplications", _all),),
    ("emr-serverless", "get_application"): (Grant("emr-serverless:GetApplication", _applications),),
    ("emr-serverless", "list_job_runs"): (Grant("emr-serverless:ListJobRuns", _applications),),
    ("emr-serverless", "get_job_run"): (Grant("emr-serverless:GetJobRun", _job_runs),),
    ("emr-serverless", "cancel_job_run"): (Grant("emr-serverless:CancelJobRun", _job_runs, _OWN),),
    ("emr-serverless", "update_application"): (
        Grant("emr-serverless:UpdateApplication", _applications, _OWN),
    ),
    ("emr-serverless", "stop_application"): (
        Grant("emr-serverless:StopApplication", _applications, _OWN),
    ),
    ("emr-serverless", "delete_application"): (
        Grant("emr-serverless:DeleteApplication", _applications, _OWN),
    ),
    ("scheduler", "create_schedule"): (
        Grant("scheduler:CreateSchedule", _schedule),
        _PASS_SCHEDULER,
    ),
    ("scheduler", "update_schedule"): (
        Grant("scheduler:UpdateSchedule", _schedule),
        _PASS_SCHEDULER,
    ),
    ("scheduler", "get_schedule"): (Grant("scheduler:GetSchedule", _schedule),),
    ("scheduler", "list_schedules"): (Grant("scheduler:ListSchedules", _all),),
    ("scheduler", "delete_schedule"): (Grant("scheduler:DeleteSchedule", _schedule),),
    ("sqs", "create_queue"): (Grant("sqs:CreateQueue sqs:TagQueue", _queue),),
    ("sqs", "untag_queue"): (Grant("sqs:UntagQueue", _queue),),
    ("sqs", "get_queue_url"): (Grant("sqs:GetQueueUrl", _queue),),
    ("sqs", "get_queue_attributes"): (Grant("sqs:GetQueueAttributes", _queue),),
    ("sqs", "set_queue_attributes"): (Grant("sqs:SetQueueAttributes", _queue),),
    ("sqs", "list_queue_tags"): (Grant("sqs:ListQueueTags", _queue),),
    ("sqs", "delete_queue"): (Grant("sqs:DeleteQueue", _queue),),
    ("sns", "get_topic_attributes"): (Grant("sns:GetTopicAttributes", _existing_topic),),
    ("cloudformation", "describe_stacks"): (Grant("cloudformation:DescribeStacks", _stacks),),
    ("cloudformation", "describe_stack_events"): (
        Grant("cloudformation:DescribeStackEvents", _stacks),
    ),
    ("cloudformation", "list_stack_resources"): (
        Grant("cloudformation:ListStackResources", _stacks),
    ),
    ("cloudformation", "create_change_set"): (
        Grant(
            "cloudformation:CreateChangeSet cloudformation:TagResource cloudformation:UntagResource",
            _stacks,
        ),
    ),
    ("cloudformation", "describe_change_set"): (
        Grant("cloudformation:DescribeChangeSet", _stacks),
    ),
    ("cloudformation", "execute_change_set"): (Grant("cloudformation:ExecuteChangeSet", _stacks),),
    ("cloudformation", "delete_change_set"): (Grant("cloudformation:DeleteChangeSet", _stacks),),
    ("cloudformation", "update_stack"): (Grant("cloudformation:UpdateStack", _stacks),),
    ("cloudformation", "delete_stack"): (Grant("cloudformation:DeleteStack", _stacks),),
}
#: Types of the templates that are created with the operations of `GRANTS`, with the permissions of the deployer:
#: operations that create, read, change and delete them. Retained types are not deleted.
TYPE_OPERATIONS: dict[str, tuple[str, str]] = {
    "AWS::S3::Bucket": (
        "s3",
        "create_bucket head_bucket list_objects_v2 put_public_access_block get_public_access_block "
        "put_bucket_ownership_controls get_bucket_ownership_controls put_bucket_encryption "
        "get_bucket_encryption put_bucket_versioning get_bucket_versioning "
        "put_bucket_lifecycle_configuration get_bucket_lifecycle_configuration put_bucket_tagging get_bucket_tagging",
    ),
    "AWS::S3::BucketPolicy": ("s3", "put_bucket_policy get_bucket_policy"),
    "AWS::IAM::Role": (
        "iam",
        "create_role get_role update_assume_role_policy put_role_policy get_role_policy "
        "list_role_policies list_attached_role_policies delete_role_policy delete_role untag_role list_role_tags",
    ),
    "AWS::IAM::Policy": ("iam", "put_role_policy get_role_policy delete_role_policy"),
    "AWS::IAM::InstanceProfile": (
        "iam",
        "create_instance_profile get_instance_profile add_role_to_instance_profile "
        "remove_role_from_instance_profile delete_instance_profile",
    ),
    "AWS::EC2::SecurityGroup": (
        "ec2",
        "create_security_group describe_security_groups authorize_security_group_ingress "
        "revoke_security_group_ingress revoke_security_group_egress delete_security_group delete_tags",
    ),
    "AWS::EMR::SecurityConfiguration": (
        "emr",
        "create_security_configuration describe_security_configuration delete_security_configuration",
    ),
    "AWS::SQS::Queue": (
        "sqs",
        "create_queue get_queue_url get_queue_attributes set_queue_attributes list_queue_tags untag_queue "
        "delete_queue",
    ),
    "AWS::Scheduler::Schedule": (
        "scheduler",
        "create_schedule get_schedule update_schedule delete_schedule",
    ),
    "AWS::EMRServerless::Application": (
        "emr-serverless",
        "create_application get_application update_application tag_resource untag_resource delete_application",
    ),
}
#: Actions for types without an entry in `TYPE_OPERATIONS`; for the other types, the further actions that only
#: CloudFormation sends. It reads all properties of a bucket, also those that the template does not set.
TYPE_GRANTS: dict[str, tuple[Grant, ...]] = {
    "AWS::S3::Bucket": (
        Grant("s3:PutBucketNotification", _data_bucket),
        Grant(
            "s3:GetAccelerateConfiguration s3:GetAnalyticsConfiguration s3:GetBucketAbac s3:GetBucketAcl "
            "s3:GetBucketCORS s3:GetBucketLogging s3:GetBucketMetadataTableConfiguration "
            "s3:GetBucketNotification s3:GetBucketObjectLockConfiguration s3:GetBucketWebsite "
            "s3:GetIntelligentTieringConfiguration s3:GetInventoryConfiguration s3:GetMetricsConfiguration "
            "s3:GetReplicationConfiguration",
            _bucket,
        ),
    ),
    # Another boundary, or none, would lift the limit that an administrator has set.
    "AWS::IAM::Role": (
        Grant("iam:UpdateRole iam:UpdateRoleDescription", _role),
        Grant("iam:PutRolePermissionsBoundary", _bounded_role, _bounded),
    ),
    "AWS::EC2::SecurityGroup": (
        Grant("ec2:DescribeInstances", _all),
        Grant(
            "ec2:UpdateSecurityGroupRuleDescriptionsIngress", _security_groups, _BY_CLOUDFORMATION
        ),
    ),
    "AWS::SNS::Topic": (
        Grant(
            "sns:CreateTopic sns:DeleteTopic sns:GetDataProtectionPolicy sns:GetTopicAttributes "
            "sns:ListSubscriptionsByTopic sns:ListTagsForResource sns:SetTopicAttributes sns:Subscribe "
            "sns:TagResource sns:UntagResource",
            _topic,
        ),
        Grant("sns:Unsubscribe", _all),
    ),
    "AWS::SNS::TopicPolicy": (Grant("sns:SetTopicAttributes", _topic),),
    "AWS::Events::Rule": (
        Grant(
            "events:DeleteRule events:DescribeRule events:ListTagsForResource events:ListTargetsByRule "
            "events:PutRule events:PutTargets events:RemoveTargets events:TagResource events:UntagResource",
            _named("events", "rule/"),
        ),
    ),
    "AWS::CloudWatch::Alarm": (
        Grant(
            "cloudwatch:DeleteAlarms cloudwatch:DescribeAlarms cloudwatch:ListTagsForResource "
            "cloudwatch:PutMetricAlarm cloudwatch:TagResource cloudwatch:UntagResource",
            _named("cloudwatch", "alarm:"),
        ),
    ),
    "AWS::Budgets::Budget": (
        Grant(
            "budgets:ListTagsForResource budgets:ModifyBudget budgets:TagResource budgets:UntagResource "
            "budgets:ViewBudget",
            _budget,
        ),
        Grant("billing:GetBillingViewData", _billing_view),
    ),
    "AWS::Glue::Database": (
        Grant("glue:CreateDatabase glue:GetDatabase glue:UpdateDatabase", _glue_database),
        Grant(
            "lakeformation:DescribeLakeFormationIdentityCenterConfiguration lakeformation:DescribeResource "
            "lakeformation:ListResources",
            _all,
        ),
    ),
    "AWS::Athena::WorkGroup": (
        Grant(
            "athena:CreateWorkGroup athena:DeleteWorkGroup athena:GetWorkGroup athena:ListTagsForResource "
            "athena:TagResource athena:UntagResource athena:UpdateWorkGroup",
            _named("athena", "workgroup/"),
        ),
    ),
    "AWS::SQS::QueuePolicy": (
        Grant("sqs:GetQueueAttributes sqs:SetQueueAttributes", _named("sqs", "")),
    ),
}
