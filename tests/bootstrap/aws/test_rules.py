"""Tests for the two tables of rules in `bootstrap.aws`: each rule finds its violation, with a remedy and a source."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bootstrap.aws.combination_rules import COMBINATIONS, FOR_EMR, combination_violations
from bootstrap.aws.rules import RULES, SentRequest, request_violations

CORE = {"InstanceRole": "CORE", "InstanceType": "m5.xlarge", "InstanceCount": 1}
PRIMARY = CORE | {"InstanceRole": "MASTER"}
TASK = CORE | {"InstanceRole": "TASK"}
HUB = [{"Name": "JupyterHub"}]


def cluster(*groups: dict[str, Any], **fields: Any) -> SentRequest:
    return SentRequest("emr", "run_job_flow", {"Instances": {"InstanceGroups": [*groups]}} | fields)


def fleet(role: str = "CORE", on_demand: int = 1, spot: int = 0, **fields: Any) -> dict[str, Any]:
    capacities = {"TargetOnDemandCapacity": on_demand, "TargetSpotCapacity": spot}
    types = [{"InstanceType": "m5.xlarge", "WeightedCapacity": 1}]
    return {"InstanceFleetType": role, "InstanceTypeConfigs": types, **capacities, **fields}


def fleets(*others: dict[str, Any], primary: dict[str, Any] | None = None) -> SentRequest:
    instances = {"InstanceFleets": [primary or fleet("MASTER"), *others]}
    return SentRequest("emr", "run_job_flow", {"Instances": instances})


def added_fleet(**fields: Any) -> SentRequest:
    return SentRequest("emr", "add_instance_fleet", {"InstanceFleet": fleet(**fields)})


def types(number: int) -> list[dict[str, Any]]:
    return [{"InstanceType": f"m{n}.large"} for n in range(number)]


STRATEGY = {"OnDemandSpecification": {"AllocationStrategy": "lowest-price"}}


def limits(**units: int) -> SentRequest:
    limits = {"UnitType": "Instances", "MinimumCapacityUnits": 1, "MaximumCapacityUnits": 8} | units
    policy = {"ManagedScalingPolicy": {"ComputeLimits": limits}}
    return SentRequest("emr", "put_managed_scaling_policy", policy)


def schedule(
    target: str, content: Any, expression: str = "rate(1 hour)", **fields: Any
) -> SentRequest:
    queue = {"DeadLetterConfig": {"Arn": "arn:aws:sqs:eu-west-1:1:failures"}}
    arns = {
        "Arn": f"arn:aws:scheduler:::aws-sdk:{target}",
        "RoleArn": "arn:aws:iam::1:role/starter",
    }
    target_fields = {**arns, "Input": json.dumps(content), **queue, **fields}
    parameters = {"ScheduleExpression": expression, "Target": target_fields}
    return SentRequest("scheduler", "create_schedule", parameters)


def lifecycle(*rules: dict[str, Any]) -> SentRequest:
    configuration = {"Bucket": "fruits", "LifecycleConfiguration": {"Rules": list(rules)}}
    return SentRequest("s3", "put_bucket_lifecycle_configuration", configuration)


def rule(name: str, prefix: str = "", **actions: Any) -> dict[str, Any]:
    return {"ID": name, "Status": "Enabled", "Filter": {"Prefix": prefix}, **actions}


def role_policy(*actions: str, sid: str = "Start") -> SentRequest:
    document = {"Statement": [{"Sid": sid, "Effect": "Allow", "Action": list(actions)}]}
    parameters = {"RoleName": "starter", "PolicyDocument": json.dumps(document)}
    return SentRequest("iam", "put_role_policy", parameters)


def ingress(port: int, **sources: Any) -> SentRequest:
    permission = {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, **sources}
    parameters = {"GroupId": "sg-service", "IpPermissions": [permission]}
    return SentRequest("ec2", "authorize_security_group_ingress", parameters)


def security_configuration(hops: int) -> SentRequest:
    service = {"MinimumInstanceMetadataServiceVersion": 2, "HttpPutResponseHopLimit": hops}
    document = json.dumps({"InstanceMetadataServiceConfiguration": service})
    parameters = {"Name": "imdsv2", "SecurityConfiguration": document}
    return SentRequest("emr", "create_security_configuration", parameters)


def group(name: str, description: str = "nodes", **fields: Any) -> SentRequest:
    parameters = {"GroupName": name, "Description": description, **fields}
    return SentRequest("ec2", "create_security_group", parameters)


NO_MARKERS = rule("markers", Expiration={"ExpiredObjectDeleteMarker": True, "Days": 3})
TAGGED = {"ID": "tagged", "Status": "Enabled", "Filter": {"Tag": {"Key": "a", "Value": "b"}}}
INVALID = [
    (cluster(PRIMARY, CORE, TASK | {"InstanceCount": 0}), "instance group TASK has 0 instances"),
    (
        SentRequest(
            "emr", "add_instance_groups", {"InstanceGroups": [TASK | {"InstanceCount": 0}]}
        ),
        "TASK has 0 inst",
    ),
    (cluster(PRIMARY, PRIMARY, CORE), "2 instance groups are MASTER"),
    (cluster(PRIMARY, CORE, CORE), "2 instance groups are CORE"),
    (cluster(PRIMARY, TASK), "TASK without CORE"),
    (cluster(PRIMARY | {"InstanceCount": 2}, CORE), "instance group MASTER has 2 instances"),
    (
        SentRequest("emr", "add_instance_groups", {"InstanceGroups": [CORE]}),
        "CORE in a running cluster",
    ),
    (fleets(fleet(on_demand=0)), "instance fleet CORE has no target capacity"),
    (added_fleet(role="TASK", on_demand=0), "instance fleet TASK has no target capacity"),
    (
        fleets(primary=fleet("MASTER", 1, 1)),
        "instance fleet MASTER has 1 On-Demand and 1 Spot units",
    ),
    (
        fleets(primary=fleet("MASTER", 2)),
        "instance fleet MASTER has 2 On-Demand and 0 Spot units",
    ),
    (
        fleets(fleet(InstanceTypeConfigs=[{"InstanceType": "m5.large", "WeightedCapacity": 0}])),
        "instance fleet CORE: m5.large has the weight 0",
    ),
    (
        fleets(
            primary=fleet(
                "MASTER",
                InstanceTypeConfigs=[{"InstanceType": "m5.large", "WeightedCapacity": 2}],
            )
        ),
        "instance fleet MASTER: m5.large has the weight 2",
    ),
    (fleets(fleet("MASTER"), fleet()), "2 instance fleets are MASTER"),
    (fleets(fleet(), fleet("TASK"), fleet("TASK")), "2 instance fleets are TASK"),
    (fleets(fleet("TASK")), "TASK without CORE"),
    (added_fleet(), "instance fleet CORE in a running cluster"),
    (
        fleets(fleet(InstanceTypeConfigs=types(6))),
        "instance fleet CORE has 6 types and no allocation strategy",
    ),
    (
        fleets(fleet(spot=1, InstanceTypeConfigs=types(6), LaunchSpecifications=STRATEGY)),
        "instance fleet CORE has 6 types and no allocation strategy",
    ),
    (
        fleets(fleet(InstanceTypeConfigs=types(31), LaunchSpecifications=STRATEGY)),
        "instance fleet CORE has 31 types and an allocation strategy",
    ),
    (
        added_fleet(role="TASK", InstanceTypeConfigs=[*types(1), *types(1)]),
        "instance fleet TASK has the type m0.large 2 times",
    ),
    (
        fleets(
            fleet(),
            fleet(
                "TASK",
                LaunchSpecifications={"SpotSpecification": {"TimeoutDurationMinutes": 4}},
            ),
        ),
        "instance fleet TASK: TimeoutDurationMinutes is 4",
    ),
    (
        SentRequest(
            "emr", "run_job_flow", {"Instances": {"InstanceFleets": [], "InstanceGroups": []}}
        ),
        "the request has InstanceFleets and InstanceGroups",
    ),
    (
        SentRequest(
            "emr", "run_job_flow", {"Instances": {"InstanceFleets": [], "Ec2SubnetId": "subnet-1"}}
        ),
        "Ec2SubnetId with InstanceFleets",
    ),
    (
        SentRequest("emr", "run_job_flow", {"Instances": {"Ec2SubnetIds": ["subnet-1"]}}),
        "Ec2SubnetIds without InstanceFleets",
    ),
    (
        SentRequest(
            "emr",
            "run_job_flow",
            {
                "Instances": {"InstanceFleets": []},
                "ManagedScalingPolicy": {"ComputeLimits": {"UnitType": "Instances"}},
            },
        ),
        "UnitType is Instances with InstanceFleets",
    ),
    (
        cluster(ManagedScalingPolicy={"ComputeLimits": {"UnitType": "InstanceFleetUnits"}}),
        "UnitType is InstanceFleetUnits without InstanceFleets",
    ),
    (
        cluster(ReleaseLabel="emr-spark-8.0.0", Applications=[{"Name": "Hadoop"}]),
        "emr-spark-8.0.0 has no application Hadoop",
    ),
    (
        cluster(ReleaseLabel="emr-spark-8.0.0", Applications=HUB),
        "emr-spark-8.0.0 has no application JupyterHub",
    ),
    (
        SentRequest(
            "emr", "run_job_flow", {"Instances": {"EmrManagedMasterSecurityGroup": "sg-1"}}
        ),
        "only one of the two EMR-managed",
    ),
    (
        SentRequest("emr", "run_job_flow", {"Instances": {"ServiceAccessSecurityGroup": "sg-1"}}),
        "without the EMR-managed security groups",
    ),
    (
        limits(MaximumCoreCapacityUnits=4, MaximumOnDemandCapacityUnits=2),
        "MaximumCoreCapacityUnits is 4, MaximumOnDemandCapacityUnits is 2",
    ),
    (
        limits(MaximumOnDemandCapacityUnits=9),
        "MaximumOnDemandCapacityUnits is 9, MaximumCapacityUnits is 8",
    ),
    (limits(MinimumCapacityUnits=9), "MinimumCapacityUnits is 9, MaximumCapacityUnits is 8"),
    (cluster(AutoTerminationPolicy={"IdleTimeout": 30}), "AutoTerminationPolicy.IdleTimeout is 30"),
    (cluster(StepConcurrencyLevel=257), "StepConcurrencyLevel is 257"),
    (
        cluster(
            StepConcurrencyLevel=2, Steps=[{"Name": "s", "ActionOnFailure": "TERMINATE_CLUSTER"}]
        ),
        "ActionOnFailure is TERMINATE_CLUSTER",
    ),
    (
        cluster(Configurations=[{"Classification": "jupyter-s3-conf"}]),
        "jupyter-s3-conf without the application JupyterHub",
    ),
    (security_configuration(65), "HttpPutResponseHopLimit is 65"),
    (
        SentRequest(
            "emr-serverless",
            "start_job_run",
            {"mode": "STREAMING", "retryPolicy": {"maxAttempts": 3}},
        ),
        "maxAttempts with mode STREAMING",
    ),
    (
        SentRequest(
            "emr-serverless", "start_job_run", {"retryPolicy": {"maxFailedAttemptsPerHour": 11}}
        ),
        "maxFailedAttemptsPerHour is 11",
    ),
    (schedule("emr:addJobFlowSteps", {}, DeadLetterConfig={}), "Target has no DeadLetterConfig"),
    (
        schedule(
            "emr:addJobFlowSteps", {}, DeadLetterConfig={"Arn": "arn:aws:sqs:eu-west-1:1:a.fifo"}
        ),
        "is the FIFO queue",
    ),
    (
        schedule("emr:addJobFlowSteps", {}, expression="cron(0 2 * * * *)"),
        "ScheduleExpression is 'cron(0 2 * * * *)'; day-of-month is * and day-of-week is *",
    ),
    (
        schedule("emr:addJobFlowSteps", {}, expression="at(noon)"),
        "ScheduleExpression is 'at(noon)'",
    ),
    (schedule("emr:describeCluster", {}), "the target describeCluster is read-only"),
    (
        schedule("emr:runJobFlow", cluster(PRIMARY, TASK | {"InstanceCount": 0}).parameters),
        "TASK has 0 instances",
    ),
    (
        schedule(
            "emrserverless:startJobRun", {"Mode": "STREAMING", "RetryPolicy": {"MaxAttempts": 1}}
        ),
        "maxAttempts with mode STREAMING",
    ),
    (
        lifecycle(rule("a", Expiration={"Days": 1}), rule("a", Expiration={"Days": 1})),
        "2 lifecycle rules have the ID a",
    ),
    (lifecycle(rule("a")), "lifecycle rule a has no action"),
    (lifecycle(NO_MARKERS), "lifecycle rule markers: ExpiredObjectDeleteMarker with Days"),
    (
        lifecycle(TAGGED | {"Expiration": {"ExpiredObjectDeleteMarker": True}}),
        "ExpiredObjectDeleteMarker with a tag",
    ),
    (
        SentRequest(
            "s3",
            "create_bucket",
            {"Bucket": "b", "CreateBucketConfiguration": {"LocationConstraint": "us-east-1"}},
        ),
        "LocationConstraint is us-east-1",
    ),
    (
        SentRequest("iam", "create_role", {"RoleName": "a/b", "AssumeRolePolicyDocument": "{}"}),
        "RoleName is 'a/b'",
    ),
    (
        SentRequest(
            "iam", "create_role", {"RoleName": "r", "AssumeRolePolicyDocument": "x" * 2049}
        ),
        "has 2049 characters, more than 2048",
    ),
    (
        SentRequest(
            "iam",
            "put_role_policy",
            {"RoleName": "r", "PolicyDocument": json.dumps({"a": "x" * 10_240})},
        ),
        "more than 10240",
    ),
    (role_policy("s3:*", sid="List data"), "Sid is 'List data'"),
    (
        SentRequest(
            "iam", "add_role_to_instance_profile", {"InstanceProfileName": "a", "RoleName": "b"}
        ),
        "the instance profile a has the role b",
    ),
    (
        SentRequest(
            "ec2", "create_tags", {"Resources": ["vpc-1"], "Tags": [{"Key": "aws:x", "Value": ""}]}
        ),
        "the tag aws:x is reserved",
    ),
    (cluster(Tags=[{"Key": f"t{n}", "Value": ""} for n in range(51)]), "51 tags"),
    (group("fruits", "Pomona's nodes"), 'Description is "Pomona\'s nodes"'),
    (group("sg-fruits"), "GroupName is 'sg-fruits'"),
    (ingress(22), "the rule for port 22 has no source"),
]


@pytest.mark.parametrize(("request_", "message"), INVALID, ids=[message for _, message in INVALID])
def test_request_that_aws_rejects_is_found(request_: SentRequest, message: str) -> None:
    violations = request_violations(request_)
    assert [line for line in violations if message in line], violations
    assert all("https://" in line for line in violations)


def test_request_that_aws_accepts_has_no_violation() -> None:
    for request in (
        cluster(PRIMARY, CORE, TASK, ReleaseLabel="emr-7.13.0", Applications=HUB),
        cluster(ReleaseLabel="emr-9.0.0", Applications=[{"Name": "Unknown"}]),
        limits(MaximumCoreCapacityUnits=2, MaximumOnDemandCapacityUnits=4),
        lifecycle(rule("a", Expiration={"ExpiredObjectDeleteMarker": True})),
        ingress(22, IpRanges=[{"CidrIp": "0.0.0.0/0"}]),
        schedule("emrserverless:startJobRun", {"Mode": "BATCH", "RetryPolicy": {"MaxAttempts": 1}}),
        SentRequest("emr", "modify_instance_groups", {"InstanceGroups": [{"InstanceCount": 0}]}),
    ):
        assert request_violations(request) == []


ATTACHED = SentRequest(
    "iam",
    "attach_role_policy",
    {"RoleName": "service", "PolicyArn": "arn:aws:iam::aws:policy/AmazonEMRServicePolicy_v2"},
)
VERSIONED = SentRequest(
    "s3",
    "put_bucket_versioning",
    {"Bucket": "fruits", "VersioningConfiguration": {"Status": "Enabled"}},
)
NODES = {"UserIdGroupPairs": [{"GroupId": "sg-primary"}]}
PRIVATE = {
    "EmrManagedMasterSecurityGroup": "sg-primary",
    "EmrManagedSlaveSecurityGroup": "sg-workers",
    "ServiceAccessSecurityGroup": "sg-service",
    "Ec2SubnetId": "subnet-1",
}
MARKERS = rule("markers", Expiration={"ExpiredObjectDeleteMarker": True})
OLD = rule("old", NoncurrentVersionExpiration={"NoncurrentDays": 30})


def private(release: str, **fields: Any) -> SentRequest:
    return SentRequest(
        "emr", "run_job_flow", {"Instances": PRIVATE, "ReleaseLabel": release} | fields
    )


def tag(*resources: str) -> SentRequest:
    return SentRequest("ec2", "create_tags", {"Resources": [*resources], "Tags": [FOR_EMR]})


START = schedule(
    "emrserverless:startJobRun", {"Tags": {"pomona": "fruits"}, "ExecutionRoleArn": "a"}
)
START_ACTIONS = ("emr-serverless:StartJobRun", "sqs:SendMessage", "iam:PassRole")
COMBINED = [
    (
        [security_configuration(1)],
        cluster(Applications=HUB, SecurityConfiguration="imdsv2"),
        "JupyterHub with the security configuration imdsv2",
    ),
    ([], private("emr-7.13.0"), "sg-service has no inbound rule for the primary node on port 9443"),
    ([ingress(9443, **NODES)], private("emr-spark-8.0.0"), "the primary node on port 443"),
    (
        [ingress(9443, UserIdGroupPairs=[{"GroupId": "sg-other"}])],
        private("emr-7.13.0"),
        "on port 9443",
    ),
    (
        [ATTACHED, tag("subnet-1")],
        private("emr-7.13.0", ServiceRole="service"),
        "the VPC of the private subnet lacks the tag for-use-with",
    ),
    (
        [ATTACHED, tag("vpc-1")],
        private("emr-7.13.0", ServiceRole="service"),
        "the subnet subnet-1 lacks the tag for-use-with",
    ),
    (
        [ingress(9443, IpRanges=[{"CidrIp": "0.0.0.0/0"}])],
        private("emr-7.13.0"),
        "sg-service: ports 9443 to 9443 are open to all addresses",
    ),
    ([ATTACHED], cluster(ServiceRole="service"), "the cluster lacks the tag for-use-with"),
    (
        [cluster(StepConcurrencyLevel=2)],
        SentRequest(
            "emr",
            "add_job_flow_steps",
            {"Steps": [{"Name": "s", "ActionOnFailure": "CANCEL_AND_WAIT"}]},
        ),
        "CANCEL_AND_WAIT",
    ),
    (
        [role_policy(*START_ACTIONS)],
        START,
        "starter of the schedule lacks emr-serverless:TagResource",
    ),
    ([role_policy("emr-serverless:*")], START, "starter of the schedule lacks sqs:SendMessage"),
    (
        [role_policy("emr-serverless:*", "sqs:*")],
        START,
        "starter of the schedule lacks iam:PassRole",
    ),
    (
        [VERSIONED],
        lifecycle(OLD),
        "fruits is versioned, and no rule removes expired delete markers",
    ),
    (
        [VERSIONED],
        lifecycle(MARKERS),
        "fruits is versioned, and no rule removes noncurrent versions",
    ),
    (
        [VERSIONED],
        lifecycle(MARKERS | {"Filter": {"Prefix": "a/"}}, OLD),
        "removes expired delete markers",
    ),
]


@pytest.mark.parametrize(
    ("earlier", "request_", "message"), COMBINED, ids=[message for *_, message in COMBINED]
)
def test_combination_that_aws_rejects_is_found(
    earlier: list[SentRequest], request_: SentRequest, message: str
) -> None:
    violations = combination_violations(request_, earlier)
    assert [line for line in violations if message in line], violations
    assert all("https://" in line for line in violations)


def test_combination_that_aws_accepts_has_no_violation() -> None:
    network = [
        ATTACHED,
        tag("subnet-1"),
        tag("vpc-1"),
        ingress(9443, **NODES),
        ingress(443, **NODES),
    ]
    tagged = {"ServiceRole": "service", "Tags": [FOR_EMR]}
    for earlier, request in (
        ([security_configuration(2)], cluster(Applications=HUB, SecurityConfiguration="imdsv2")),
        (network, private("emr-spark-8.0.0", **tagged)),
        ([role_policy(*START_ACTIONS, "emr-serverless:TagResource")], START),
        ([VERSIONED], lifecycle(MARKERS, OLD)),
        ([], lifecycle(OLD)),
        (
            [ingress(22, IpRanges=[{"CidrIp": "0.0.0.0/0"}]), *network],
            private("emr-7.13.0", **tagged),
        ),
    ):
        assert combination_violations(request, earlier) == []


def test_each_rule_is_tested_and_has_remedy_and_source() -> None:
    sent = [(request, ()) for request, _ in INVALID]
    found = {id(rule) for rule in RULES for request, _ in sent if [*rule.violations(request)]}
    combined = [(request, earlier) for earlier, request, _ in COMBINED]
    for rule_ in COMBINATIONS:
        found |= {
            id(rule_) for request, earlier in combined if [*rule_.violations(request, earlier)]
        }
    for one in (*RULES, *COMBINATIONS):
        assert id(one) in found, one.remedy
        assert one.remedy
        assert one.source.startswith("https://")
