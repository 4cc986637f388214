"""Tests for `bootstrap/templates/`: cfn-lint and our rules pass, and both find mistakes that are planted."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest

from bootstrap.aws.rules import SentRequest
from bootstrap.deploy.plan import all_requests
from bootstrap.resources.schedule import create_schedule
from bootstrap.resources.stack import TEMPLATES, read_template, template_parameters
from support.aws.account import ACCOUNT
from support.aws.cloudformation import Stack, parse_template
from support.aws.cluster_configs import VARIANTS, names, uploads
from support.aws.template_rules import template_violations

KEY = "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-12345678900"
ADDRESS = "ops@example.com"
BOUNDARY = "arn:aws:iam::123456789012:policy/boundary"
#: Parameters of what is off by default.
OPTIONS = {
    "NotifyObjects": "true",
    "GlueDatabase": "fruits",
    "LimitHours": "12",
    "AlarmAddress": ADDRESS,
    "MonthlyBudget": "100",
    "PermissionsBoundary": BOUNDARY,
    "RolePath": "/teams/",
    **{
        f"{kind}KeyArn": f"{KEY}{number}"
        for number, kind in enumerate(("Data", "Log", "Images", "Disk"))
    },
}
VPC = "vpc-0123456789abcdef0"
APPLICATION = "00f1r2u3i4t5s678"


@functools.cache
def surrounding(variant: str, folder: Path) -> tuple[list[SentRequest], list[SentRequest], str]:
    """Return the requests of `up` before and after those of the stack, and the input of its schedule."""
    requests = [
        SentRequest(one.service, one.operation, one.parameters)
        for one in all_requests(names(VARIANTS[variant]), uploads(folder))
    ]
    before = [one for one in requests if one.operation == "create_tags"]
    last = ("run_job_flow", "add_job_flow_steps", "start_job_run")
    config_names, text = names(VARIANTS[variant]), ""
    if config_names.config.schedule:
        locations = uploads(folder).locations(config_names)
        content = create_schedule(config_names, locations, config_names.config.schedule)
        text = content["Target"]["Input"]
    return before, [one for one in requests if one.operation in last], text


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("uploads")


def stack(
    variant: str, folder: Path, text: str, name: str, options: dict[str, str] | None = None
) -> Stack:
    """Return the stack of a template text with the parameters of a configuration."""
    config_names = names(VARIANTS[variant])
    parameters = {k: v for k, v in template_parameters(name, config_names).items() if v is not None}
    if name == "long-lived":
        refit = surrounding(variant, folder)[2]
        parameters |= {"RefitInput": refit[:4096], "RefitInputRest": refit[4096:8192]}
        parameters |= {"RefitInputEnd": refit[8192:]}
        serverless = config_names.config.mode == "serverless"
        parameters |= {"ApplicationId": APPLICATION} if serverless else {"VpcId": VPC}
        parameters |= options or {}
    return Stack(parse_template(text), parameters)


def found(
    variant: str, folder: Path, text: str, name: str, options: dict[str, str] | None = None
) -> list[str]:
    """Return the violations by a stack, and by the cluster and the jobs that use the long-lived resources."""
    before, after, _ = surrounding(variant, folder) if name == "long-lived" else ([], [], "")
    return template_violations(stack(variant, folder, text, name, options), before, after)


def options_of(variant: str) -> dict[str, str]:
    """Return the options that a configuration admits: notifications need images in the data bucket."""
    elsewhere = bool(names(VARIANTS[variant]).config.storage.images.startswith("s3://"))
    return OPTIONS | ({"NotifyObjects": "false"} if elsewhere else {})


@pytest.mark.parametrize("variant", VARIANTS)
def test_templates_follow_rules(variant: str, folder: Path) -> None:
    for name in TEMPLATES:
        text = read_template(name)
        assert found(variant, folder, text, name) == []
        if name == "long-lived":
            assert found(variant, folder, text, name, options_of(variant)) == []


def test_options_create_their_resources(folder: Path) -> None:
    text = read_template("long-lived")
    every = set(parse_template(text)["Resources"])
    created, optional = set[str](), set[str]()
    for variant in VARIANTS:
        with_options = stack(variant, folder, text, "long-lived", options_of(variant)).resources
        without = stack(variant, folder, text, "long-lived").resources
        created |= with_options.keys()
        optional |= with_options.keys() - without.keys()
    assert created == every
    assert optional == {
        *("ImageEventFailures", "ImageEvents", "ImageEventsPolicy", "Catalog", "Alarms"),
        *("AlarmsPolicy", "FailedSteps", "FailedClusters", "FailedJobs", "FailedStarts"),
        *("FailedImageEvents", "StalledStream", "LargeBacklog", "Queries", "Budget"),
    }


def lint(text: str) -> list[tuple[str, int]]:
    """Return the rule and the line of each error and warning of cfn-lint."""
    from cfnlint.api import ManualArgs, lint

    matches = lint(text, config=ManualArgs(regions=["eu-west-1"]))
    return [(match.rule.id, match.linenumber) for match in matches]


def resolved_templates(folder: Path) -> str:
    """Return one template with the literal resources of a cluster with all options and of a serverless application."""
    text = read_template("long-lived")
    resources: dict[str, Any] = {}
    for variant, options in (("stream", OPTIONS), ("serverless", {"AlarmAddress": ADDRESS})):
        for name, one in stack(variant, folder, text, "long-lived", options).resources.items():
            plain = {key: v for key, v in one.items() if key not in ("Condition", "DependsOn")}
            if plain != resources.setdefault(name, plain):
                # Names must differ in one template.
                text_of_other = json.dumps(plain).replace("fruits", "apples")
                resources[f"{name}Of{variant.title()}"] = json.loads(text_of_other)
    document = json.dumps({"AWSTemplateFormatVersion": "2010-09-09", "Resources": resources})
    for group in ("primary", "workers"):  # IDs that AWS assigns
        document = document.replace(f"${{{group}.GroupId}}", "sg-0123456789abcdef0")
    return document


@pytest.mark.long
@pytest.mark.slow
def test_templates_pass_cfn_lint(folder: Path) -> None:
    """One test, because cfn-lint starts slowly: it tries the combinations of the conditions.

    It cannot derive literal policies, names and ARNs from parameters, so it also checks the resolved resources.
    """
    for name in TEMPLATES:
        assert lint(read_template(name)) == []
    # An ARN instead of a function is what this test wants.
    found = lint(resolved_templates(folder))
    assert [one for one in found if one[0] != "W3005"] == []


#: Mistakes that cfn-lint finds: the rule, and the text that is replaced.
LINTED = {
    "misspelled property": ("E3002", "      BucketEncryption:", "      BucketEncrytion:"),
    "unknown attribute": ("E1010", "!GetAtt SchedulerRole.Arn", "!GetAtt SchedulerRole.Id"),
    "unknown parameter": ("E1020", "BucketName: !Ref LogBucket", "BucketName: !Ref LogsBucket"),
    "unknown condition": ("E3015", "    Condition: AlarmsOfJobs", "    Condition: JobAlarms"),
    "value outside of enumeration": ("E3030", "Status: Enabled}", "Status: On}"),
    "missing required property": ("E3003", "      Roles: [!Ref NodesRole]\n", ""),
    "number as text": ("E3012", "EvaluationPeriods: 1", "EvaluationPeriods: one"),
    "circular dependency": ("E3004", "Endpoint: !Ref AlarmAddress", "Endpoint: !Ref AlarmsPolicy"),
}


@pytest.mark.long
@pytest.mark.slow
def test_cfn_lint_finds_planted_mistakes() -> None:
    text = read_template("long-lived")
    expected = set[str]()
    for rule, old, new in LINTED.values():
        assert old in text
        text = text.replace(old, new, 1)
        expected.add(rule)
    assert expected <= {rule for rule, _ in lint(text)}


#: Mistakes that our rules find: configuration, replaced text, its replacement, a part of the violation.
_LAKE = '              - !Sub "arn:${AWS::Partition}:s3:::${DataBucket}/${LakeKey}"\n'
PLANTED = {
    "lake without the key of its folder": ("stream", _LAKE, "", "/lake is missing beside"),
    "images without the key of their folder": (
        "stream",
        '- - !Sub\n                  - "arn:${AWS::Partition}:s3:::${Bucket}/${ImagesKey}"\n',
        '- - !Sub\n                  - "arn:${AWS::Partition}:s3:::${Bucket}/${ImagesKey}/x"\n',
        "/images is missing beside",
    ),
    "notebooks without the key of their folder": (
        "stream",
        '                - !Sub "arn:${AWS::Partition}:s3:::${DataBucket}/jupyter"\n',
        "",
        "/jupyter is missing beside",
    ),
    "no TagResource": (
        "serverless",
        "Action: [emr-serverless:TagResource]",
        "Action: [emr-serverless:GetJobRun]",
        "lacks emr-serverless:TagResource",
    ),
    "no AddTags": (
        "once",
        "[elasticmapreduce:RunJobFlow, elasticmapreduce:AddTags]",
        "[elasticmapreduce:RunJobFlow]",
        "lacks elasticmapreduce:AddTags",
    ),
    "misspelled action": (
        "stream",
        "Action: [kms:Decrypt, kms:GenerateDataKey]",
        "Action: [kms:Decrypt, kms:GenerateDataKey, kms:GenerateDataKeys]",
        "IAM has no action kms:GenerateDataKeys",
    ),
    "action of a bucket on objects": (
        "stream",
        "s3:DeleteObject, s3:AbortMultipartUpload]",
        "s3:DeleteObject, s3:ListBucketMultipartUploads]",
        "s3:ListBucketMultipartUploads supports none of the resources arn:aws:s3:::fruits-data-",
    ),
    "resource of another service": (
        "stream",
        _LAKE,
        _LAKE + '              - !Sub "arn:${AWS::Partition}:sqs:::${DataBucket}/${LakeKey}"\n',
        "no action supports the resource arn:aws:sqs:::fruits-data-",
    ),
    "condition key of another service": (
        "once",
        "aws:RequestTag/pomona: !Ref Name",
        "aws:RequestTag/pomona: !Ref Name, iam:PassedToService: x",
        "does not support the condition key iam:PassedToService",
    ),
    "data bucket deleted with the stack": (
        "stream",
        "    Condition: CreateDataBucket\n    DeletionPolicy: Retain",
        "    Condition: CreateDataBucket\n    DeletionPolicy: Delete",
        "Data: DeletionPolicy is not Retain",
    ),
    "log bucket replaced": (
        "stream",
        "    Condition: CreateLogBucket\n    DeletionPolicy: Retain\n    UpdateReplacePolicy: Retain\n",
        "    Condition: CreateLogBucket\n    DeletionPolicy: Retain\n",
        "Logs: UpdateReplacePolicy is not Retain",
    ),
    "Glue database deleted with the stack": (
        "stream",
        "    Condition: CreateGlueDatabase\n    DeletionPolicy: Retain\n",
        "    Condition: CreateGlueDatabase\n",
        "Catalog: DeletionPolicy is not Retain",
    ),
    "no ExpiredObjectDeleteMarker": (
        "stream",
        "            ExpiredObjectDeleteMarker: true\n          # A running",
        "            AbortIncompleteMultipartUpload: {DaysAfterInitiation: 9}\n          # A running",
        "Data: no rule has ExpiredObjectDeleteMarker",
    ),
    "noncurrent versions kept": (
        "stream",
        "NoncurrentVersionExpiration: {NoncurrentDays: 30}",
        "AbortIncompleteMultipartUpload: {DaysAfterInitiation: 30}",
        "no rule removes noncurrent versions",
    ),
    "data expires": (
        "stream",
        "NoncurrentVersionExpiration: {NoncurrentDays: 30}",
        "ExpirationInDays: 30",
        "expires data",
    ),
    "data bucket without its key": (
        "stream",
        "{SSEAlgorithm: aws:kms, KMSMasterKeyID: !Ref DataKeyArn}",
        "{SSEAlgorithm: AES256}",
        "Data: objects are not encrypted with DataKeyArn",
    ),
    "log bucket with the key of the data": (
        "stream",
        "KMSMasterKeyID: !Ref LogKeyArn",
        "KMSMasterKeyID: !Ref DataKeyArn",
        "Logs: objects are not encrypted with LogKeyArn",
    ),
    "data without GenerateDataKey": (
        "stream",
        "Action: [kms:Decrypt, kms:GenerateDataKey]",
        "Action: [kms:Decrypt]",
        "nodes: lacks kms:GenerateDataKey for DataKeyArn",
    ),
    "images cannot be decrypted": (
        "serverless",
        "Resource: [!Ref ImagesKeyArn]",
        "Resource: [!Ref LogKeyArn]",
        "job: lacks kms:Decrypt for ImagesKeyArn",
    ),
    "evaluator without the key of the data": (
        "stream",
        '- !If [HasDataKey, !Ref DataKeyArn, !Ref "AWS::NoValue"]',
        "- !Ref LogKeyArn",
        "evaluator: lacks kms:Decrypt for DataKeyArn",
    ),
    "schedule without the key of the logs": (
        "serverless",
        "Action: [kms:Decrypt, kms:DescribeKey, kms:GenerateDataKey]\n                  Resource: [!Ref LogKeyArn]",
        "Action: [kms:Decrypt, kms:DescribeKey, kms:GenerateDataKey]\n                  Resource: [!Ref DataKeyArn]",
        "scheduler: lacks kms:GenerateDataKey for LogKeyArn",
    ),
    "disks without the key": (
        "stream",
        "kms:GenerateDataKeyWithoutPlaintext, ",
        "",
        "service: lacks kms:GenerateDataKeyWithoutPlaintext for DiskKeyArn",
    ),
    "grants to anybody": (
        "stream",
        'Bool: {kms:GrantIsForAWSResource: "true"}',
        'Bool: {aws:SecureTransport: "true"}',
        "grants to any principal are allowed",
    ),
    "key outside of a service": (
        "stream",
        "kms:ViaService: !Sub",
        "aws:PrincipalTag/x: !Sub",
        "UseDiskKey: kms:Decrypt is allowed outside of a service",
    ),
    "open tunnel": ("private", "CidrIp: !Ref SshFrom1", 'CidrIp: "0.0.0.0/0"', "port 22 is open"),
    "open port": (
        "private",
        "{IpProtocol: tcp, FromPort: 22, ToPort: 22, CidrIp: !Ref SshFrom1",
        '{IpProtocol: tcp, FromPort: 8888, ToPort: 8888, CidrIpv6: "::/0"',
        "port 8888 is open",
    ),
    "all ports open": (
        "private",
        "{IpProtocol: tcp, FromPort: 22, ToPort: 22, CidrIp: !Ref SshFrom1",
        '{IpProtocol: "-1", CidrIp: !Ref SshFrom1',
        "a rule opens all ports",
    ),
    "equal bucket names": (
        "stream",
        "BucketName: !Ref LogBucket",
        "BucketName: !Ref DataBucket",
        "two buckets are named fruits-data-123456789012",
    ),
    "one hop for JupyterHub": ("stream", "!If [HasJupyterHub, 2, 1]", "1", "2 hops are needed"),
    "too many hops": ("stream", "!If [HasJupyterHub, 2, 1]", "65", "it must be 1 to 64"),
    "version 1 of the metadata service": (
        "stream",
        "MinimumInstanceMetadataServiceVersion: 2",
        "MinimumInstanceMetadataServiceVersion: 1",
        "version 1 of the instance metadata service",
    ),
    "closed port of EMR": (
        "private",
        "          FromPort: 9443\n          ToPort: 9443",
        "          FromPort: 8443\n          ToPort: 8443",
        "has no inbound rule for the primary node on port 9443",
    ),
    "public policies": (
        "stream",
        "        BlockPublicPolicy: true\n",
        "        BlockPublicPolicy: false\n",
        "BlockPublicPolicy is not set",
    ),
    "no public access block": (
        "stream",
        "        RestrictPublicBuckets: true\n",
        "",
        "RestrictPublicBuckets is not set",
    ),
    "public objects": (
        "stream",
        'Effect: Deny\n            Principal: "*"',
        'Effect: Allow\n            Principal: "*"',
        "the policy of the bucket allows access",
    ),
    "TLS not required": (
        "stream",
        '{Bool: {aws:SecureTransport: "false"}}',
        '{Bool: {aws:SecureTransport: "true"}}',
        "requests without TLS are allowed",
    ),
    "TLS not required for objects": (
        "stream",
        '              - !Sub "arn:${AWS::Partition}:s3:::${LogBucket}/*"\n            Condition',
        "            Condition",
        "Logs: requests without TLS are allowed",
    ),
    "ACLs": ("stream", "BucketOwnerEnforced", "ObjectWriter", "ACLs are enabled"),
    "no versioning": ("stream", "{Status: Enabled}", "{Status: Suspended}", "cannot be restored"),
    "wildcard action": (
        "stream",
        "Action: [s3:GetObject, s3:PutObject, s3:DeleteObject, s3:AbortMultipartUpload]",
        'Action: ["s3:*"]',
        "wildcard in the action s3:*",
    ),
    "wildcard resource": (
        "stream",
        "Resource: [!GetAtt RefitFailures.Arn]",
        'Resource: ["*"]',
        "sqs:SendMessage is allowed on all resources",
    ),
    "all buckets": (
        "stream",
        'Resource: [!Sub "arn:${AWS::Partition}:s3:::${DataBucket}/pomona/*"]',
        'Resource: [!Sub "arn:${AWS::Partition}:s3:::*"]',
        "wildcard in the bucket",
    ),
    "clusters without the tag": (
        "once",
        "                  Condition: {StringEquals: {aws:RequestTag/pomona: !Ref Name}}\n",
        "",
        "elasticmapreduce:RunJobFlow is allowed on all resources",
    ),
    "role passed to any service": (
        "serverless",
        "                  Condition: {StringEquals: {iam:PassedToService: emr-serverless.amazonaws.com}}\n",
        "",
        "the role can be passed to any service",
    ),
    "foreign role passed": (
        "serverless",
        "                      - !GetAtt JobRole.Arn\n",
        '                      - !Sub "arn:${AWS::Partition}:iam::${AWS::AccountId}:role/admin"\n',
        "role/admin is not a role of the stack",
    ),
    "hour limit without permission": (
        "stream",
        "Action: [elasticmapreduce:TerminateJobFlows]",
        "Action: [elasticmapreduce:ListSteps]",
        "lacks elasticmapreduce:TerminateJobFlows",
    ),
    "hour limit of other clusters": (
        "once",
        "                  Condition: {StringEquals: {elasticmapreduce:ResourceTag/pomona: !Ref Name}}\n"
        '                - !Ref "AWS::NoValue"\n              # Without a stream',
        '                - !Ref "AWS::NoValue"\n              # Without a stream',
        "TerminateJobFlows is allowed for clusters of others",
    ),
    "no dead-letter permission": (
        "stream",
        "Action: [sqs:SendMessage]",
        "Action: [sqs:ReceiveMessage]",
        "lacks sqs:SendMessage",
    ),
    "no dead-letter queue": (
        "stream",
        "        DeadLetterConfig: {Arn: !GetAtt RefitFailures.Arn}\n",
        "",
        "drops failed invocations",
    ),
    "unencrypted queue": (
        "stream",
        "      SqsManagedSseEnabled: true\n",
        "      SqsManagedSseEnabled: false\n",
        "messages are not encrypted",
    ),
    "short retention": (
        "stream",
        "MessageRetentionPeriod: 1209600",
        "MessageRetentionPeriod: 60",
        "before the maximum",
    ),
    "S3 may not send": (
        "stream",
        "Principal: {Service: s3.amazonaws.com}",
        "Principal: {Service: sns.amazonaws.com}",
        "S3 rejects the notification",
    ),
    "events of other accounts": (
        "stream",
        '              StringEquals: {aws:SourceAccount: !Ref "AWS::AccountId"}\n              ArnLike: {aws',
        "              ArnLike: {aws",
        "buckets of other accounts may send",
    ),
    "no redrive": (
        "stream",
        "      RedrivePolicy: {deadLetterTargetArn: !GetAtt ImageEventFailures.Arn, maxReceiveCount: 5}\n",
        "",
        "received for ever",
    ),
    "evaluator writes": (
        "stream",
        "Sid: ReadData\n                Effect: Allow\n                Action: [s3:GetObject]",
        "Sid: ReadData\n                Effect: Allow\n                Action: [s3:GetObject, s3:DeleteObject]",
        "s3:DeleteObject changes something",
    ),
    "evaluator lists everything": (
        "stream",
        "                Condition:\n                  StringLike:\n                    s3:prefix: !If",
        "                Condition:\n                  StringLike:\n                    s3:delimiter: !If",
        "lists all prefixes",
    ),
    "logs readable": (
        "stream",
        "Action: [s3:PutObject]",
        "Action: [s3:PutObject, s3:GetObject]",
        "reads or deletes logs",
    ),
    "trust without account": (
        "serverless",
        '              StringEquals: {aws:SourceAccount: !Ref "AWS::AccountId"}\n              ArnLike:\n'
        "                aws:SourceArn:\n                  !Sub \"arn:${AWS::Partition}:emr-serverless",
        "              ArnLike:\n                aws:SourceArn:\n"
        "                  !Sub \"arn:${AWS::Partition}:emr-serverless",
        "may assume the role for another account",
    ),
    "any principal": (
        "stream",
        '- [!Sub "arn:${AWS::Partition}:iam::${AWS::AccountId}:root"]',
        '- ["*"]',
        "any principal may assume the role",
    ),
    "no boundary": (
        "stream",
        '      PermissionsBoundary: !If [HasBoundary, !Ref PermissionsBoundary, !Ref "AWS::NoValue"]\n'
        '      Description: "Pomona: read-only',
        '      Description: "Pomona: read-only',
        "has no permissions boundary",
    ),
    "no path": (
        "stream",
        '      RoleName: !Sub "${Name}-scheduler"\n      Path: !Ref RolePath\n',
        '      RoleName: !Sub "${Name}-scheduler"\n',
        "is not below the path /teams/",
    ),
    "group without the tag of EMR": (
        "stream",
        '        - {Key: for-use-with-amazon-emr-managed-policies, Value: "true"}\n',
        "",
        "EMR's service role may not use it",
    ),
    "role without tag": (
        "stream",
        '      Tags: [{Key: pomona, Value: !Ref Name}]\n\n  # EMR requires',
        '      Tags: [{Key: Pomona, Value: !Ref Name}]\n\n  # EMR requires',
        "NodesRole: has no tag pomona",
    ),
    "profile with another name": (
        "stream",
        'InstanceProfileName: !Sub "${Name}-nodes"',
        'InstanceProfileName: !Sub "${Name}-profile"',
        "EMR requires the same name",
    ),
    "silent alarm": (
        "stream",
        "      AlarmActions: [!If [HasTopic, !Ref AlarmTopic, !Ref Alarms]]\n\n  FailedImage",
        "\n  FailedImage",
        "FailedStarts: sends nothing",
    ),
    "events may not be published": (
        "stream",
        "Principal: {Service: events.amazonaws.com}",
        "Principal: {Service: sns.amazonaws.com}",
        "events.amazonaws.com may not publish",
    ),
    "events of other pipelines": (
        "stream",
        '          name: [!Sub "${Name}-ingest", !Sub "${Name}-refit"]\n',
        "",
        "matches the events of other pipelines",
    ),
    "silent end of a job at its time limit": (
        "serverless",
        "state: [FAILED, CANCELLED]",
        "state: [FAILED]",
        "FailedJobs: a job in state CANCELLED is not reported",
    ),
    "silent failure of a job": (
        "serverless",
        "state: [FAILED, CANCELLED]",
        "state: [CANCELLED]",
        "FailedJobs: a job in state FAILED is not reported",
    ),
    "silent end of the stream": (
        "stream",
        "      InsufficientDataActions: [!If [HasTopic, !Ref AlarmTopic, !Ref Alarms]]\n",
        "",
        "StalledStream: a stream that ends is not reported",
    ),
    "other metric": (
        "stream",
        "MetricName: LastCommitAge}",
        "MetricName: CommitAge}",
        "StalledStream: Pomona/fruits has no metric CommitAge",
    ),
    "other namespace of an alarm": (
        "stream",
        'Namespace: !Sub "Pomona/${Name}"\n      MetricName: Backlog',
        'Namespace: Pomona\n      MetricName: Backlog',
        "LargeBacklog: nothing may publish to Pomona",
    ),
    "other namespace in the policy": (
        "private",
        'cloudwatch:namespace: !Sub "Pomona/${Name}"',
        'cloudwatch:namespace: !Sub "pomona/${Name}"',
        "pomona/fruits: the stream publishes to Pomona/fruits",
    ),
    "any namespace": (
        "stream",
        '              Condition: {StringEquals: {cloudwatch:namespace: !Sub "Pomona/${Name}"}}\n',
        "",
        "cloudwatch:PutMetricData is allowed on all resources",
    ),
    "dimensions": (
        "stream",
        "      MetricName: Backlog\n",
        "      MetricName: Backlog\n      Dimensions: [{Name: Cluster, Value: fruits}]\n",
        "LargeBacklog: the metrics of the stream have no dimensions",
    ),
    "unknown metric in an expression": (
        "stream",
        "IF(backlog > 0, age / 60, 0)",
        "IF(waiting > 0, age / 60, 0)",
        "the expression uses waiting",
    ),
    "messages that stay in the queue": (
        "stream",
        "MetricName: NumberOfMessagesSent",
        "MetricName: ApproximateNumberOfMessagesVisible",
        "FailedStarts: ApproximateNumberOfMessagesVisible does not report each failure",
    ),
    "messages of a redrive policy": (
        "stream",
        "MetricName: ApproximateNumberOfMessagesVisible",
        "MetricName: NumberOfMessagesSent",
        "FailedImageEvents: NumberOfMessagesSent does not report each failure",
    ),
    "table without permission": (
        "stream",
        "${Arn}:table/${Db}/refits ${Arn}:table/${Db}/reduced",
        "${Arn}:table/${Db}/refits",
        "fruits-nodes: may not use arn:aws:glue:eu-west-1:123456789012:table/fruits/reduced",
    ),
    "all tables": (
        "stream",
        "table/${Db}/refits",
        "table/${Db}/*",
        "may use arn:aws:glue:eu-west-1:123456789012:table/fruits/*",
    ),
    "evaluator registers tables": (
        "stream",
        "Action: [glue:GetDatabase,",
        "Action: [glue:CreateTable, glue:GetDatabase,",
        "glue:CreateTable changes something",
    ),
    "older engine of Athena": (
        "stream",
        "Athena engine version 3",
        "Athena engine version 2",
        "only engine version 3 reads Delta",
    ),
    "results in a bucket": (
        "stream",
        "ManagedQueryResultsConfiguration: {Enabled: true}",
        "ResultConfiguration: {OutputLocation: !Sub 's3://${LogBucket}/'}",
        "the evaluator may not write results",
    ),
    "other workgroup": (
        "stream",
        "workgroup/${Name}",
        "workgroup/primary",
        "the evaluator may use",
    ),
    "silent budget": (
        "stream",
        "      NotificationsWithSubscribers:\n",
        "      Notifications:\n",
        "Budget: sends nothing",
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", PLANTED)
def test_rules_find_planted_mistakes(mistake: str, folder: Path) -> None:
    variant, old, new, expected = PLANTED[mistake]
    text = read_template("long-lived")
    assert old in text
    lines = found(variant, folder, text.replace(old, new, 1), "long-lived", options_of(variant))
    assert any(expected in line for line in lines), lines


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"LogBucket": "fruits-data-123456789012"}, "DataBucket and LogBucket must differ"),
        ({"ImagesBucket": "fruits-data-123456789012"}, "Leave ImagesBucket empty"),
        ({"ImagesBucket": "fruits-log-123456789012"}, "ImagesBucket and LogBucket must differ"),
        ({"ImagesKey": ""}, "need a folder"),
        ({"ImagesKey": "lake"}, "ImagesKey and LakeKey must differ"),
        ({"NotifyObjects": "true", "ImagesBucket": "pictures"}, "only for images in the data"),
        ({"NotifyObjects": "true", "DataBucketExists": "true"}, "of a data bucket that it creates"),
        ({"MonthlyBudget": "10"}, "A budget needs AlarmAddress"),
    ],
)
def test_rules_section_rejects_combinations(
    parameters: dict[str, str], expected: str, folder: Path
) -> None:
    text = read_template("long-lived")
    failed = stack("stream", folder, text, "long-lived", parameters).failed_assertions()
    assert len(failed) == 1
    assert expected in failed[0]


#: Existing roles, as a configuration and as the ARNs that policies and requests contain.
EXISTING_ROLES = (
    'roles = {service = "teams/emr", nodes = "emr-nodes", job = "jobs", scheduler = "teams/starts", '
    'evaluator = "readers"}\n'
)


@pytest.mark.parametrize("variant", ["stream", "once", "serverless"])
def test_existing_roles_are_referenced_not_created(variant: str, folder: Path) -> None:
    config_names = names(VARIANTS[variant] + EXISTING_ROLES)
    filled = {
        key: value
        for key, value in template_parameters("long-lived", config_names).items()
        if value is not None
    }
    filled |= {"ApplicationId": APPLICATION, "RefitInput": surrounding(variant, folder)[2]}
    existing = Stack(parse_template(read_template("long-lived")), filled)
    kinds = [one["Type"] for one in existing.resources.values()]
    assert not [kind for kind in kinds if kind.startswith("AWS::IAM::")]
    assert existing.resources["Schedule"]["Properties"]["Target"]["RoleArn"] == (
        f"arn:aws:iam::{ACCOUNT}:role/teams/starts"
    )
    assert [line for line in template_violations(existing) if "is not a role" in line] == []
    # One existing role does not change the others, which refer to it.
    filled |= {f"Existing{role}Role": "" for role in ("Service", "Scheduler", "Evaluator")}
    mixed = Stack(parse_template(read_template("long-lived")), filled)
    assert [line for line in template_violations(mixed) if "is not a role" in line] == []
    roles = {one["Properties"].get("RoleName") for one in mixed.resources.values()} - {None}
    created = {"fruits-evaluator", "fruits-scheduler"}
    assert roles == created | ({"fruits-service"} if variant != "serverless" else set())
    passed = [
        (one["Condition"]["StringEquals"]["iam:PassedToService"], arn)
        for role in mixed.resources.values()
        for policy in role["Properties"].get("Policies", ())
        for one in policy["PolicyDocument"]["Statement"]
        if "iam:PassRole" in one["Action"]
        for arn in one["Resource"]
    ]
    nodes = ("ec2.amazonaws.com", f"arn:aws:iam::{ACCOUNT}:role/emr-nodes")
    service = ("elasticmapreduce.amazonaws.com", f"arn:aws:iam::{ACCOUNT}:role/fruits-service")
    job = ("emr-serverless.amazonaws.com", f"arn:aws:iam::{ACCOUNT}:role/jobs")
    expected = {"stream": [nodes], "once": [nodes, service, nodes], "serverless": [job]}
    assert passed == expected[variant]


def test_existing_buckets_are_not_created(folder: Path) -> None:
    more = (
        'storage = {data_bucket = "mine", data_bucket_exists = true, '
        'log_bucket = "logs", log_bucket_exists = true}\n'
    )
    options = {k: v or "" for k, v in template_parameters("long-lived", names(more)).items()}
    resources = stack(
        "stream", folder, read_template("long-lived"), "long-lived", options
    ).resources
    assert not {"Data", "DataPolicy", "Logs", "LogsPolicy"} & resources.keys()
    policy = json.dumps(resources["PipelinePolicy"]["Properties"]["PolicyDocument"])
    assert "arn:aws:s3:::mine/lake/*" in policy
    assert "arn:aws:s3:::logs/emr/*" in policy
