"""Rules for the CloudFormation templates that cfn-lint does not have.

`template_violations` also applies the rules of `bootstrap.aws` for requests, to those of a stack and to those that `up`
sends before and after it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from batch_pca.refits.glue import TABLES
from bootstrap.aws.combination_rules import violations
from bootstrap.aws.rules import SentRequest
from bootstrap.config.names import metrics_namespace
from streaming.ingest.cloudwatch import METRICS
from support.aws.account import ACCOUNT, REGION
from support.aws.cloudformation import Stack
from support.aws.iam_reference import statement_violations

#: Resources whose deletion loses data, or the protection of data.
_DATA = ("AWS::S3::Bucket", "AWS::S3::BucketPolicy", "AWS::Glue::Database")
#: Actions that support no narrower resource than "*"; those of EMR need a condition on the tag instead.
_WITHOUT_RESOURCE = ("ssm:UpdateInstanceInformation", "ssmmessages:")
_WITH_TAG = ("elasticmapreduce:RunJobFlow", "elasticmapreduce:AddTags")
_READ_ACTIONS = {"s3:ListBucket", "s3:GetBucketLocation", "s3:GetObject", "kms:Decrypt"}
_WITH_NAMESPACE = ("cloudwatch:PutMetricData",)
_READ_ACTIONS |= {f"glue:Get{what}" for what in ("Database", "Table", "Tables", "Partitions")}
# A query writes only what its caller may write.
_READ_ACTIONS |= {
    "athena:GetQueryExecution",
    "athena:GetQueryResults",
    "athena:GetQueryResultsStream",
    "athena:GetWorkGroup",
    "athena:ListQueryExecutions",
    "athena:StartQueryExecution",
    "athena:StopQueryExecution",
}
#: Metric of failures, with its statistic: SQS counts no messages that a redrive policy moves as sent, and messages that
#: stay in a queue keep an alarm in its state, so that later ones are not reported.
_SENT, _REDRIVEN = (
    ("NumberOfMessagesSent", "Sum"),
    ("ApproximateNumberOfMessagesVisible", "Maximum"),
)
_TAGGED = (
    "AWS::Athena::WorkGroup",
    "AWS::EC2::SecurityGroup",
    "AWS::EMRServerless::Application",
    "AWS::IAM::Role",
    "AWS::SNS::Topic",
    "AWS::SQS::Queue",
)


def template_violations(
    stack: Stack, before: Sequence[SentRequest] = (), after: Sequence[SentRequest] = ()
) -> list[str]:
    """Return a line for each violation by a stack, and by the requests that are sent before and after it."""
    found = [line for rule in _RULES for line in rule(stack)]
    earlier = list(before)
    for request in (*(SentRequest(*one) for one in stack.requests()), *after):
        found += violations(request, earlier)
        earlier.append(request)
    return found


def _resources(stack: Stack, *kinds: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, resource in stack.resources.items():
        if resource["Type"] in kinds:
            yield name, resource["Properties"]


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _statements(stack: Stack) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the statements of the policies of roles, each with the name of the role."""
    for _, operation, parameters in stack.requests():
        if operation == "put_role_policy":
            for statement in json.loads(parameters["PolicyDocument"])["Statement"]:
                yield parameters["RoleName"], statement


def _retained_data(stack: Stack) -> Iterator[str]:
    for name, resource in stack.resources.items():
        for key in ("DeletionPolicy", "UpdateReplacePolicy"):
            if resource["Type"] in _DATA and resource.get(key) != "Retain":
                yield f"{name}: {key} is not Retain"


def _different_buckets(stack: Stack) -> Iterator[str]:
    yield from stack.failed_assertions()
    counts = Counter(one["BucketName"] for _, one in _resources(stack, "AWS::S3::Bucket"))
    yield from (f"two buckets are named {name}" for name, count in counts.items() if count > 1)


def _private_buckets(stack: Stack) -> Iterator[str]:
    for name, bucket in _resources(stack, "AWS::S3::Bucket"):
        block = bucket.get("PublicAccessBlockConfiguration", {})
        closed = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy")
        for key in (*closed, "RestrictPublicBuckets"):
            if block.get(key) is not True:
                yield f"{name}: {key} is not set, and policies or ACLs can make objects public"
        ownership = bucket.get("OwnershipControls", {}).get("Rules", [{}])[0]
        if ownership.get("ObjectOwnership") != "BucketOwnerEnforced":
            yield f"{name}: ACLs are enabled"
        if not bucket.get("BucketEncryption", {}).get("ServerSideEncryptionConfiguration"):
            yield f"{name}: objects are not encrypted"
        if bucket.get("VersioningConfiguration", {}).get("Status") != "Enabled":
            yield f"{name}: deleted objects cannot be restored"


def _bucket_policies(stack: Stack) -> Iterator[str]:
    policies = dict(_resources(stack, "AWS::S3::BucketPolicy"))
    for name, bucket in _resources(stack, "AWS::S3::Bucket"):
        own = [one for one in policies.values() if one["Bucket"] == bucket["BucketName"]]
        statements = [one for policy in own for one in policy["PolicyDocument"]["Statement"]]
        for one in statements:
            if one["Effect"] != "Deny":
                yield f"{name}: the policy of the bucket allows access beside the roles"
        insecure = {"Bool": {"aws:SecureTransport": "false"}}
        ends = (f":::{bucket['BucketName']}", f":::{bucket['BucketName']}/*")
        if not any(
            one["Effect"] == "Deny"
            and one["Principal"] == "*"
            and one["Action"] == "s3:*"
            and one["Condition"] == insecure
            and all(any(arn.endswith(end) for arn in one["Resource"]) for end in ends)
            for one in statements
        ):
            yield f"{name}: requests without TLS are allowed"


def _lifecycle(stack: Stack) -> Iterator[str]:
    for name, bucket in _resources(stack, "AWS::S3::Bucket"):
        rules = bucket.get("LifecycleConfiguration", {}).get("Rules", [])
        if not any("AbortIncompleteMultipartUpload" in rule for rule in rules):
            yield f"{name}: parts of aborted uploads are kept"
        if not any(rule.get("ExpiredObjectDeleteMarker") for rule in rules):
            yield f"{name}: no rule has ExpiredObjectDeleteMarker"
        if bucket["BucketName"] == stack.values["DataBucket"]:
            for rule in rules:
                if {"ExpirationInDays", "ExpirationDate", "Transitions"} & rule.keys():
                    yield f"{name}: the rule {rule['Id']} expires data"


def _narrow_statements(stack: Stack) -> Iterator[str]:
    for role, one in _statements(stack):
        actions, resources = _items(one["Action"]), _items(one["Resource"])
        where = f"{role}, {one['Sid']}"
        if one["Effect"] != "Allow" or "NotAction" in one or "NotResource" in one:
            yield f"{where}: not an Allow statement with actions and resources"
        yield from (f"{where}: wildcard in the action {a}" for a in actions if "*" in a)
        if "*" in resources:
            tag = one.get("Condition", {}).get("StringEquals", {}).get("aws:RequestTag/pomona")
            namespace = one.get("Condition", {}).get("StringEquals", {}).get("cloudwatch:namespace")
            for action in actions:
                narrowed = (action in _WITH_TAG and tag) or (
                    action in _WITH_NAMESPACE and namespace
                )
                if not action.startswith(_WITHOUT_RESOURCE) and not narrowed:
                    yield f"{where}: {action} is allowed on all resources"
        for arn in resources:
            bucket = arn.rpartition(":::")[2].partition("/")[0]
            if ":s3:::" in arn and "*" in bucket:
                yield f"{where}: wildcard in the bucket of {arn}"


def _known_to_iam(stack: Stack) -> Iterator[str]:
    for role, one in _statements(stack):
        keys = [key for keys in one.get("Condition", {}).values() for key in keys]
        resources = [
            arn.replace(f"arn:{stack.partition}:", "arn:aws:") for arn in _items(one["Resource"])
        ]
        for line in statement_violations(_items(one["Action"]), resources, keys):
            yield f"{role}, {one['Sid']}: {line}"


def _passed_roles(stack: Stack) -> Iterator[str]:
    known = {one["RoleName"] for _, one in _resources(stack, "AWS::IAM::Role")}
    existing = [value for key, value in stack.values.items() if key.startswith("Existing")]
    for role, one in _statements(stack):
        if "iam:PassRole" in _items(one["Action"]):
            if "iam:PassedToService" not in one.get("Condition", {}).get("StringEquals", {}):
                yield f"{role}, {one['Sid']}: the role can be passed to any service"
            for arn in _items(one["Resource"]):
                if arn.rpartition("/")[2] not in known and arn.partition("/")[2] not in existing:
                    yield f"{role}, {one['Sid']}: {arn} is not a role of the stack"


#: What EC2 needs to start an instance with encrypted volumes, on behalf of the caller: EBS User Guide, Requirements for
#: Amazon EBS encryption.
_DISK_ACTIONS = (
    "kms:CreateGrant",
    "kms:Decrypt",
    "kms:DescribeKey",
    "kms:GenerateDataKeyWithoutPlaintext",
    "kms:ReEncryptFrom",
    "kms:ReEncryptTo",
)


def _keys(stack: Stack) -> Iterator[str]:
    """A role that may use what a key encrypts must be allowed to use the key, and only through a service."""
    kinds = ("Data", "Log", "Images", "Disk")
    keys = {kind: stack.values.get(f"{kind}KeyArn", "") for kind in kinds}
    for name, bucket in _resources(stack, "AWS::S3::Bucket"):
        kind = "Data" if bucket["BucketName"] == stack.values["DataBucket"] else "Log"
        (rule,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        if rule["ServerSideEncryptionByDefault"].get("KMSMasterKeyID", "") != keys[kind]:
            yield f"{name}: objects are not encrypted with {kind}KeyArn"
    allowed = set()
    for role, one in _statements(stack):
        for action in _items(one["Action"]):
            if action.startswith("kms:"):
                allowed |= {
                    (role.rpartition("-")[2], action, arn) for arn in _items(one["Resource"])
                }
                if "kms:ViaService" not in one.get("Condition", {}).get("StringEquals", {}):
                    yield f"{role}, {one['Sid']}: {action} is allowed outside of a service"
                grant = {"kms:GrantIsForAWSResource": "true"}
                if action == "kms:CreateGrant" and one["Condition"].get("Bool") != grant:
                    yield f"{role}, {one['Sid']}: grants to any principal are allowed"
    serverless = stack.values.get("Mode") == "serverless"
    pipeline = "job" if serverless else "nodes"
    # EMR Serverless rejects a job of a principal that may not use the key of its logs.
    roles = {one["RoleName"] for _, one in _resources(stack, "AWS::IAM::Role")}
    submits = serverless and f"{stack.values['Name']}-scheduler" in roles
    starts = f"{stack.values['Name']}-service" in roles
    for role, kind, actions in (
        *([("scheduler", "Log", ("kms:Decrypt", "kms:GenerateDataKey"))] if submits else []),
        *([("service", "Disk", _DISK_ACTIONS)] if starts else []),
        (pipeline, "Data", ("kms:Decrypt", "kms:GenerateDataKey")),
        (pipeline, "Log", ("kms:GenerateDataKey",)),
        (pipeline, "Images", ("kms:Decrypt",)),
        ("evaluator", "Data", ("kms:Decrypt",)),
        ("evaluator", "Images", ("kms:Decrypt",)),
    ):
        for action in actions if keys[kind] else ():
            if (role, action, keys[kind]) not in allowed:
                yield f"{role}: lacks {action} for {kind}KeyArn"


def _hour_limit(stack: Stack) -> Iterator[str]:
    action, tag = "elasticmapreduce:TerminateJobFlows", "elasticmapreduce:ResourceTag/pomona"
    if not stack.values.get("LimitHours") or stack.values["Mode"] == "serverless":
        return
    grants = [one for _, one in _statements(stack) if action in _items(one["Action"])]
    if not grants:
        yield f"limits.hours: the role of the schedule lacks {action}"
    for one in grants:
        if one.get("Condition", {}).get("StringEquals", {}).get(tag) != stack.values["Name"]:
            yield f"{one['Sid']}: {action} is allowed for clusters of others"


def _folder_keys(stack: Stack) -> Iterator[str]:
    """S3A sends HEAD for the key of a folder without its slash; S3 answers 403 if it may not be read."""
    for role, one in _statements(stack):
        resources = _items(one["Resource"])
        for arn in resources:
            folder, slash, _ = arn.partition("/*")
            # EMR, not S3A, downloads what is below pomona/.
            read = "s3:GetObject" in _items(one["Action"]) and not arn.endswith("/pomona/*")
            if slash and "/" in folder and read and folder not in resources:
                yield f"{role}, {one['Sid']}: {folder} is missing beside {arn}"


def _logs_only_written(stack: Stack) -> Iterator[str]:
    for role, one in _statements(stack):
        for arn in _items(one["Resource"]):
            if f":::{stack.values.get('LogBucket')}" in arn and _items(one["Action"]) != [
                "s3:PutObject"
            ]:
                yield f"{role}, {one['Sid']}: reads or deletes logs"


def _read_only_evaluator(stack: Stack) -> Iterator[str]:
    for role, one in _statements(stack):
        if not role.endswith("-evaluator"):
            continue
        for action in _items(one["Action"]):
            if action not in _READ_ACTIONS:
                yield f"{role}, {one['Sid']}: {action} changes something"
        listed = [arn.rpartition(":::")[2] for arn in _items(one["Resource"])]
        prefixes = one.get("Condition", {}).get("StringLike", {}).get("s3:prefix")
        whole = stack.values["ImagesBucket"] if not stack.values["ImagesKey"] else None
        if "s3:ListBucket" in _items(one["Action"]) and not prefixes and listed != [whole]:
            yield f"{role}, {one['Sid']}: lists all prefixes"


def _trust_policies(stack: Stack) -> Iterator[str]:
    for name, role in _resources(stack, "AWS::IAM::Role"):
        for one in role["AssumeRolePolicyDocument"]["Statement"]:
            principal, condition = one["Principal"], one.get("Condition", {})
            service = str(principal.get("Service", "")) if isinstance(principal, dict) else ""
            if principal == "*" or "*" in str(principal):
                yield f"{name}: any principal may assume the role"
            # EC2 supports no source condition.
            if service and not service.startswith("ec2."):
                if "aws:SourceAccount" not in condition.get("StringEquals", {}):
                    yield f"{name}: {service} may assume the role for another account"
                if "aws:SourceArn" not in condition.get("ArnLike", {}):
                    yield f"{name}: {service} may assume the role for any resource"


def _role_options(stack: Stack) -> Iterator[str]:
    for name, role in _resources(stack, "AWS::IAM::Role"):
        boundary = stack.values["PermissionsBoundary"]
        if boundary and role.get("PermissionsBoundary") != boundary:
            yield f"{name}: has no permissions boundary"
        if role.get("Path", "/") != stack.values["RolePath"]:
            yield f"{name}: is not below the path {stack.values['RolePath']}"


def _closed_groups(stack: Stack) -> Iterator[str]:
    for name, group in _resources(stack, "AWS::EC2::SecurityGroup"):
        for rule in group.get("SecurityGroupIngress", ()):
            if {"0.0.0.0/0", "::/0"} & {rule.get("CidrIp"), rule.get("CidrIpv6")}:
                yield f"{name}: port {rule.get('FromPort')} is open to all addresses"
            if rule.get("IpProtocol") in ("-1", -1) or "FromPort" not in rule:
                yield f"{name}: a rule opens all ports"


def _metadata_version(stack: Stack) -> Iterator[str]:
    for name, one in _resources(stack, "AWS::EMR::SecurityConfiguration"):
        service = one["SecurityConfiguration"].get("InstanceMetadataServiceConfiguration", {})
        if service.get("MinimumInstanceMetadataServiceVersion") != 2:
            yield f"{name}: version 1 of the instance metadata service is allowed"


def _queues(stack: Stack) -> Iterator[str]:
    queues = dict(_resources(stack, "AWS::SQS::Queue"))
    for name, queue in queues.items():
        if not (queue.get("SqsManagedSseEnabled") or queue.get("KmsMasterKeyId")):
            yield f"{name}: messages are not encrypted"
        if int(queue.get("MessageRetentionPeriod", 0)) < 1209600:
            yield f"{name}: messages are deleted before the maximum of 14 days"
    for name, bucket in _resources(stack, "AWS::S3::Bucket"):
        configured = bucket.get("NotificationConfiguration", {}).get("QueueConfigurations", ())
        for notification in configured:
            arn = notification["Queue"]
            (queue,) = [one for one in queues.values() if arn.endswith(f":{one['QueueName']}")]
            if "RedrivePolicy" not in queue:
                yield f"{queue['QueueName']}: a message that fails is received for ever"
            if not any(_admits_bucket(one, arn, bucket) for one in _queue_statements(stack)):
                yield f"{queue['QueueName']}: {name} may not send to it, and S3 rejects the notification"
    for one in _queue_statements(stack):
        if "aws:SourceAccount" not in one.get("Condition", {}).get("StringEquals", {}):
            yield f"{one['Resource']}: buckets of other accounts may send to it"


def _queue_statements(stack: Stack) -> Iterator[dict[str, Any]]:
    for _, policy in _resources(stack, "AWS::SQS::QueuePolicy"):
        yield from policy["PolicyDocument"]["Statement"]


def _admits_bucket(statement: dict[str, Any], queue: str, bucket: dict[str, Any]) -> bool:
    source = statement.get("Condition", {}).get("ArnLike", {}).get("aws:SourceArn", "")
    return (
        statement["Principal"] == {"Service": "s3.amazonaws.com"}
        and statement["Action"] == "sqs:SendMessage"
        and statement["Resource"] == queue
        and source.endswith(f":::{bucket['BucketName']}")
    )


def _alarms(stack: Stack) -> Iterator[str]:
    topics = [one["TopicName"] for _, one in _resources(stack, "AWS::SNS::Topic")]
    senders = {
        one["Principal"]["Service"]
        for _, policy in _resources(stack, "AWS::SNS::TopicPolicy")
        for one in policy["PolicyDocument"]["Statement"]
    }
    for name, alarm in _resources(stack, "AWS::CloudWatch::Alarm"):
        if not alarm.get("AlarmActions"):
            yield f"{name}: sends nothing"
    kinds = {
        "AWS::CloudWatch::Alarm": "cloudwatch.amazonaws.com",
        "AWS::Events::Rule": "events.amazonaws.com",
    }
    for kind, service in kinds.items():
        if topics and any(_resources(stack, kind)) and service not in senders:
            yield f"{topics[0]}: {service} may not publish"
    for name, rule in _resources(stack, "AWS::Events::Rule"):
        if not rule.get("Targets"):
            yield f"{name}: sends nothing"
        if not {"name", "applicationId"} & rule["EventPattern"].get("detail", {}).keys():
            yield f"{name}: matches the events of other pipelines"
        if rule["EventPattern"]["source"] == ["aws.emr-serverless"]:
            # EMR Serverless cancels a job that exceeds its time; an event has the state in capital letters.
            for state in ("FAILED", "CANCELLED"):
                if state not in rule["EventPattern"]["detail"].get("state", (state,)):
                    yield f"{name}: a job in state {state} is not reported"
    for name, budget in _resources(stack, "AWS::Budgets::Budget"):
        if not budget.get("NotificationsWithSubscribers"):
            yield f"{name}: sends nothing"


def _metrics(stack: Stack) -> Iterator[str]:
    """Compare the metrics of alarms with those that the stream may publish and publishes, and with those of SQS."""
    granted = {
        one["Condition"]["StringEquals"]["cloudwatch:namespace"]
        for _, one in _statements(stack)
        if "cloudwatch:PutMetricData" in _items(one["Action"]) and "Condition" in one
    }
    own = metrics_namespace(stack.values["Name"])
    yield from (f"{name}: the stream publishes to {own}" for name in granted if name != own)
    targets = {
        queue["RedrivePolicy"]["deadLetterTargetArn"].rpartition(":")[2]
        for _, queue in _resources(stack, "AWS::SQS::Queue")
        if "RedrivePolicy" in queue
    }
    for name, alarm in _resources(stack, "AWS::CloudWatch::Alarm"):
        metrics = [
            one["MetricStat"]["Metric"] for one in alarm.get("Metrics", ()) if "MetricStat" in one
        ]
        for metric in metrics or [alarm]:
            namespace, metric_name = metric["Namespace"], metric["MetricName"]
            if namespace not in {*granted, "AWS/SQS"}:
                yield f"{name}: nothing may publish to {namespace}"
            elif namespace == "AWS/SQS":
                redriven = metric["Dimensions"][0]["Value"] in targets
                if (metric_name, metric["Statistic"]) != (_REDRIVEN if redriven else _SENT):
                    yield f"{name}: {metric_name} does not report each failure"
            elif metric_name not in METRICS:
                yield f"{name}: {namespace} has no metric {metric_name}"
            if "Dimensions" in metric and namespace == own:
                yield f"{name}: the metrics of the stream have no dimensions"
        published = {one["Namespace"] for one in metrics} & granted
        if (
            published
            and alarm["TreatMissingData"] == "missing"
            and not alarm.get("InsufficientDataActions")
        ):
            yield f"{name}: a stream that ends is not reported"
        ids = {one["Id"] for one in alarm.get("Metrics", ())}
        for one in alarm.get("Metrics", ()):
            for used in set(re.findall(r"\b[a-z]\w*", one.get("Expression", ""))) - ids:
                yield f"{name}: the expression uses {used}, which is no metric of the alarm"


def _catalog(stack: Stack) -> Iterator[str]:
    """Compare the tables that roles may use with those that Pomona registers, and check the workgroup of Athena."""
    database = stack.values.get("GlueDatabase")
    if not database:
        return
    catalog = f"arn:{stack.partition}:glue:{REGION}:{ACCOUNT}:"
    tables = {f"{catalog}table/{database}/{name}" for name in TABLES}
    required = tables | {f"{catalog}catalog", f"{catalog}database/{database}"}
    for role, one in _statements(stack):
        if "glue:GetTable" in _items(one["Action"]):
            resources = set(_items(one["Resource"])) - {f"{catalog}database/default"}
            yield from (f"{role}: may not use {arn}" for arn in sorted(required - resources))
            yield from (f"{role}: may use {arn}" for arn in sorted(resources - required))
    for name, group in _resources(stack, "AWS::Athena::WorkGroup"):
        configuration = group["WorkGroupConfiguration"]
        if configuration.get("EngineVersion") != {
            "SelectedEngineVersion": "Athena engine version 3"
        }:
            yield f"{name}: only engine version 3 reads Delta tables"
        if configuration.get("ManagedQueryResultsConfiguration") != {"Enabled": True}:
            yield f"{name}: the evaluator may not write results to a bucket"
        if configuration.get("EnforceWorkGroupConfiguration") is not True:
            yield f"{name}: clients override the configuration"
        arn = f"arn:{stack.partition}:athena:{REGION}:{ACCOUNT}:workgroup/{group['Name']}"
        granted = [
            one["Resource"] for _, one in _statements(stack) if "athena:" in str(one["Action"])
        ]
        if granted not in ([], [[arn]]):
            yield f"{name}: the evaluator may use {granted} instead of {arn}"


def _tags(stack: Stack) -> Iterator[str]:
    for name, properties in _resources(stack, *_TAGGED):
        if {"Key": "pomona", "Value": stack.values["Name"]} not in properties.get("Tags", ()):
            yield f"{name}: has no tag pomona"
    for name, group in _resources(stack, "AWS::EC2::SecurityGroup"):
        emr = {"Key": "for-use-with-amazon-emr-managed-policies", "Value": "true"}
        if emr not in group.get("Tags", ()):
            yield f"{name}: EMR's service role may not use it"


_RULES = (
    _retained_data,
    _different_buckets,
    _private_buckets,
    _bucket_policies,
    _lifecycle,
    _narrow_statements,
    _known_to_iam,
    _passed_roles,
    _keys,
    _hour_limit,
    _folder_keys,
    _logs_only_written,
    _read_only_evaluator,
    _trust_policies,
    _role_options,
    _closed_groups,
    _metadata_version,
    _queues,
    _alarms,
    _metrics,
    _catalog,
    _tags,
)
