"""Rules that AWS enforces and botocore's service models do not contain, each with its remedy and its source.

`RULES` apply to one request, `COMBINATIONS` of `bootstrap.aws.combination_rules` to a request and those sent before it.
`plan` and `up` apply both to all requests of a configuration; the tests apply both to each request that reaches moto,
which checks none of this.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from bootstrap.aws.request import Parameters
from bootstrap.schedule_expression import expression_problem

#: Applications of each release of EMR; releases that are missing here are not checked.
APPLICATIONS = {
    "emr-7.13.0": frozenset(
        (
            *("AmazonCloudWatchAgent", "Delta", "Flink", "HBase", "HCatalog", "Hadoop", "Hive"),
            *("Hudi", "Hue", "Iceberg", "JupyterEnterpriseGateway", "JupyterHub", "Livy"),
            *("Oozie", "Phoenix", "Pig", "Presto", "Spark", "TensorFlow", "Tez", "Trino"),
            *("Zeppelin", "ZooKeeper"),
        )
    ),
    "emr-spark-8.0.0": frozenset(
        (
            *("AmazonCloudWatchAgent", "Delta", "Hudi", "Iceberg", "JupyterEnterpriseGateway"),
            *("Livy", "Spark"),
        )
    ),
}
EMR_DOCS = "https://docs.aws.amazon.com/emr/latest/"
EMR_API_DOCS = f"{EMR_DOCS}APIReference/API_"
_S3_API = "https://docs.aws.amazon.com/AmazonS3/latest/API/API_"
_IAM_QUOTAS = "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html"
SCHEDULER_DOCS = "https://docs.aws.amazon.com/scheduler/latest/UserGuide/"


class SentRequest(NamedTuple):
    """A request: boto3 names of service and operation, and parameters."""

    service: str
    operation: str
    parameters: Parameters


@dataclass(frozen=True)
class Rule:
    """A constraint on requests. AWS rejects a violation, or accepts the request and fails later.

    Parameters
    ----------
    service : str
    operations : tuple of str
        boto3 names of the operations that the rule applies to.
    find : callable
        Yields a text for each violation, with the value. Its argument is the parameters; for a rule of
        `COMBINATIONS`, followed by the requests sent before.
    remedy : str
    source : str
        Document or report that states the constraint.
    """

    service: str
    operations: tuple[str, ...]
    find: Callable[..., Iterable[str]]
    remedy: str
    source: str

    def violations(self, request: SentRequest, *earlier: Sequence[SentRequest]) -> Iterator[str]:
        """Yield a line for each violation."""
        if request.service == self.service and request.operation in self.operations:
            for found in self.find(request.parameters, *earlier):
                yield f"{found}: {self.remedy} ({self.source})"


def request_violations(request: SentRequest) -> list[str]:
    """Return the violations of `RULES` by a request, and by the request that a schedule would send."""
    requests = [request, *scheduled_request(request)]
    return [line for one in requests for rule in RULES for line in rule.violations(one)]


def scheduled_request(request: SentRequest) -> list[SentRequest]:
    """Return the request of EMR or EMR Serverless that a schedule would send."""
    target = request.parameters.get("Target") if request.service == "scheduler" else None
    operation = str((target or {}).get("Arn", "")).rpartition("aws-sdk:")[2]
    content = json.loads((target or {}).get("Input") or "{}")
    if operation == "emr:runJobFlow":
        return [SentRequest("emr", "run_job_flow", content)]
    if operation == "emr:terminateJobFlows":
        return [SentRequest("emr", "terminate_job_flows", content)]
    if operation == "emr:addJobFlowSteps":
        return [SentRequest("emr", "add_job_flow_steps", content)]
    if operation == "emrserverless:startJobRun":
        return [SentRequest("emr-serverless", "start_job_run", _api_keys(content))]
    return []


def _api_keys(value: Any) -> Any:
    """Return a value with the keys of the API, which universal targets capitalize."""
    if not isinstance(value, dict):
        return value
    return {key[0].lower() + key[1:]: _api_keys(item) for key, item in value.items()}


def _instance_groups(parameters: Parameters) -> list[Parameters]:
    """Return the instance groups of RunJobFlow or AddInstanceGroups."""
    groups = parameters.get("InstanceGroups")
    if groups is None:
        groups = parameters.get("Instances", {}).get("InstanceGroups", [])
    return list(groups)


def _empty_groups(parameters: Parameters) -> Iterator[str]:
    for group in _instance_groups(parameters):
        if group["InstanceCount"] < 1:
            yield f"instance group {group['InstanceRole']} has {group['InstanceCount']} instances"


def _wrong_group_roles(parameters: Parameters) -> Iterator[str]:
    groups = _instance_groups(parameters)
    roles = [group["InstanceRole"] for group in groups]
    if roles and roles.count("MASTER") != 1:
        yield f"{roles.count('MASTER')} instance groups are MASTER"
    if roles.count("CORE") > 1:
        yield f"{roles.count('CORE')} instance groups are CORE"
    if "TASK" in roles and "CORE" not in roles:
        yield "TASK without CORE"
    for group in groups:
        if group["InstanceRole"] == "MASTER" and group["InstanceCount"] not in (1, 3):
            yield f"instance group MASTER has {group['InstanceCount']} instances"


def _added_group_roles(parameters: Parameters) -> Iterator[str]:
    for group in _instance_groups(parameters):
        if group["InstanceRole"] != "TASK":
            yield f"instance group {group['InstanceRole']} in a running cluster"


def _fleet_configs(parameters: Parameters) -> list[Parameters]:
    """Return the instance fleets of RunJobFlow or AddInstanceFleet."""
    fleets = parameters.get("Instances", {}).get("InstanceFleets", [])
    added = parameters.get("InstanceFleet")
    return [*fleets, *([added] if added else [])]


def _fleet_capacities(parameters: Parameters) -> Iterator[str]:
    for fleet in _fleet_configs(parameters):
        role = fleet["InstanceFleetType"]
        capacities = [fleet.get(f"Target{market}Capacity", 0) for market in ("OnDemand", "Spot")]
        if not any(capacities):
            yield f"instance fleet {role} has no target capacity"
        elif role == "MASTER" and sorted(capacities) != [0, 1]:
            yield f"instance fleet MASTER has {capacities[0]} On-Demand and {capacities[1]} Spot units"
        for one in fleet.get("InstanceTypeConfigs", ()):
            weight = one.get("WeightedCapacity", 1)
            if weight < 1 or (role == "MASTER" and weight != 1):
                yield f"instance fleet {role}: {one['InstanceType']} has the weight {weight}"


def _wrong_fleet_roles(parameters: Parameters) -> Iterator[str]:
    roles = [fleet["InstanceFleetType"] for fleet in _fleet_configs(parameters)]
    if roles and roles.count("MASTER") != 1:
        yield f"{roles.count('MASTER')} instance fleets are MASTER"
    for role in ("CORE", "TASK"):
        if roles.count(role) > 1:
            yield f"{roles.count(role)} instance fleets are {role}"
    if "TASK" in roles and "CORE" not in roles:
        yield "TASK without CORE"


def _added_fleet_roles(parameters: Parameters) -> Iterator[str]:
    for fleet in _fleet_configs(parameters):
        if fleet["InstanceFleetType"] != "TASK":
            yield f"instance fleet {fleet['InstanceFleetType']} in a running cluster"


def _fleet_types(parameters: Parameters) -> Iterator[str]:
    for fleet in _fleet_configs(parameters):
        role = fleet["InstanceFleetType"]
        types = [one["InstanceType"] for one in fleet.get("InstanceTypeConfigs", ())]
        launch = fleet.get("LaunchSpecifications", {})
        markets = [
            f"{market}Specification"
            for market in ("OnDemand", "Spot")
            if fleet.get(f"Target{market}Capacity", 0)
        ]
        has_strategy = all("AllocationStrategy" in launch.get(one, {}) for one in markets)
        limit = 30 if has_strategy else 5
        if not 1 <= len(types) <= limit:
            strategy = "an" if has_strategy else "no"
            yield f"instance fleet {role} has {len(types)} types and {strategy} allocation strategy"
        for one in sorted({one for one in types if types.count(one) > 1}):
            yield f"instance fleet {role} has the type {one} {types.count(one)} times"


def _spot_timeouts(parameters: Parameters) -> Iterator[str]:
    for fleet in _fleet_configs(parameters):
        spot = fleet.get("LaunchSpecifications", {}).get("SpotSpecification", {})
        minutes = spot.get("TimeoutDurationMinutes", 5)
        if not 5 <= minutes <= 1440:
            yield f"instance fleet {fleet['InstanceFleetType']}: TimeoutDurationMinutes is {minutes}"


def _mixed_collections(parameters: Parameters) -> Iterator[str]:
    instances = parameters.get("Instances", {})
    fleets = "InstanceFleets" in instances
    if fleets and "InstanceGroups" in instances:
        yield "the request has InstanceFleets and InstanceGroups"
    if fleets and "Ec2SubnetId" in instances:
        yield "Ec2SubnetId with InstanceFleets"
    if not fleets and "Ec2SubnetIds" in instances:
        yield "Ec2SubnetIds without InstanceFleets"
    limits = (parameters.get("ManagedScalingPolicy") or {}).get("ComputeLimits") or {}
    unit = limits.get("UnitType")
    if unit and fleets != (unit == "InstanceFleetUnits"):
        yield f"UnitType is {unit} {'with' if fleets else 'without'} InstanceFleets"


def _missing_applications(parameters: Parameters) -> Iterator[str]:
    release = parameters.get("ReleaseLabel", "")
    if release in APPLICATIONS:
        offered = {name.lower() for name in APPLICATIONS[release]}
        for application in parameters.get("Applications", ()):
            if application["Name"].lower() not in offered:
                yield f"{release} has no application {application['Name']}"


def _incomplete_security_groups(parameters: Parameters) -> Iterator[str]:
    instances = parameters.get("Instances", {})
    managed = [f"EmrManaged{node}SecurityGroup" in instances for node in ("Master", "Slave")]
    if any(managed) and not all(managed):
        yield "only one of the two EMR-managed security groups is specified"
    if "ServiceAccessSecurityGroup" in instances and not all(managed):
        yield "ServiceAccessSecurityGroup without the EMR-managed security groups"
    if all(managed) and instances["EmrManagedMasterSecurityGroup"] == instances.get(
        "ServiceAccessSecurityGroup"
    ):
        yield "ServiceAccessSecurityGroup is the security group of the primary node"


def _inconsistent_limits(parameters: Parameters) -> Iterator[str]:
    limits = (parameters.get("ManagedScalingPolicy") or {}).get("ComputeLimits") or {}
    keys = ("MaximumCoreCapacityUnits", "MaximumOnDemandCapacityUnits", "MaximumCapacityUnits")
    given = [(key, limits[key]) for key in keys if key in limits]
    for (low, value), (high, limit) in itertools.pairwise(given):
        if value > limit:
            yield f"{low} is {value}, {high} is {limit}"
    if limits.get("MinimumCapacityUnits", 1) > limits.get("MaximumCapacityUnits", 1):
        minimum, maximum = limits["MinimumCapacityUnits"], limits["MaximumCapacityUnits"]
        yield f"MinimumCapacityUnits is {minimum}, MaximumCapacityUnits is {maximum}"
    if limits.get("MinimumCapacityUnits", 1) < 1:
        yield f"MinimumCapacityUnits is {limits['MinimumCapacityUnits']}"


def _idle_timeout(parameters: Parameters) -> Iterator[str]:
    timeout = (parameters.get("AutoTerminationPolicy") or {}).get("IdleTimeout", 60)
    if not 60 <= timeout <= 604_800:
        yield f"AutoTerminationPolicy.IdleTimeout is {timeout}"


def _step_concurrency(parameters: Parameters) -> Iterator[str]:
    level = parameters.get("StepConcurrencyLevel", 1)
    if not 1 <= level <= 256:
        yield f"StepConcurrencyLevel is {level}"
    yield from actions_on_failure(parameters) if level > 1 else ()


def actions_on_failure(parameters: Parameters) -> Iterator[str]:
    """Yield the steps that a cluster with concurrent steps rejects."""
    for step in parameters.get("Steps", ()):
        if step.get("ActionOnFailure") in ("CANCEL_AND_WAIT", "TERMINATE_CLUSTER"):
            yield f"step {step['Name']}: ActionOnFailure is {step['ActionOnFailure']}"


def _jupyter_persistence(parameters: Parameters) -> Iterator[str]:
    classifications = [one["Classification"] for one in parameters.get("Configurations", ())]
    if "jupyter-s3-conf" in classifications and "JupyterHub" not in applications(parameters):
        yield "classification jupyter-s3-conf without the application JupyterHub"


def applications(parameters: Parameters) -> set[str]:
    """Return the names of the applications of RunJobFlow."""
    return {one["Name"] for one in parameters.get("Applications", ())}


def hop_limit(parameters: Parameters) -> int:
    """Return HttpPutResponseHopLimit of CreateSecurityConfiguration."""
    configuration = json.loads(parameters.get("SecurityConfiguration") or "{}")
    service = configuration.get("InstanceMetadataServiceConfiguration", {})
    return int(service.get("HttpPutResponseHopLimit", 1))


def _metadata_service(parameters: Parameters) -> Iterator[str]:
    hops = hop_limit(parameters)
    if not 1 <= hops <= 64:
        yield f"HttpPutResponseHopLimit is {hops}"


def _job_run_mode(parameters: Parameters) -> Iterator[str]:
    streaming, retries = parameters.get("mode") == "STREAMING", parameters.get("retryPolicy", {})
    if streaming and "maxAttempts" in retries:
        yield "retryPolicy.maxAttempts with mode STREAMING"
    if not streaming and "maxFailedAttemptsPerHour" in retries:
        yield "retryPolicy.maxFailedAttemptsPerHour with mode BATCH"
    if not 1 <= retries.get("maxFailedAttemptsPerHour", 1) <= 10:
        yield f"retryPolicy.maxFailedAttemptsPerHour is {retries['maxFailedAttemptsPerHour']}"


def _schedule_expression(parameters: Parameters) -> Iterator[str]:
    expression = parameters["ScheduleExpression"]
    one_time = re.fullmatch(r"at\(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\)", expression)
    if not one_time and (problem := expression_problem(expression)):
        yield f"ScheduleExpression is {expression!r}; {problem}"


def _no_dead_letter_queue(parameters: Parameters) -> Iterator[str]:
    if not parameters["Target"].get("DeadLetterConfig", {}).get("Arn"):
        yield "Target has no DeadLetterConfig"


def _fifo_dead_letter_queue(parameters: Parameters) -> Iterator[str]:
    arn = str(parameters["Target"].get("DeadLetterConfig", {}).get("Arn", ""))
    if arn.endswith(".fifo"):
        yield f"DeadLetterConfig.Arn is the FIFO queue {arn}"


def _read_only_target(parameters: Parameters) -> Iterator[str]:
    operation = str(parameters["Target"]["Arn"]).rpartition(":")[2]
    if ":aws-sdk:" in parameters["Target"]["Arn"] and re.match("get|describe|list", operation):
        yield f"the target {operation} is read-only"


def lifecycle_rules(parameters: Parameters) -> list[Parameters]:
    """Return the rules of PutBucketLifecycleConfiguration."""
    rules: list[Parameters] = parameters["LifecycleConfiguration"]["Rules"]
    return rules


def _invalid_lifecycle(parameters: Parameters) -> Iterator[str]:
    rules = lifecycle_rules(parameters)
    names = [rule.get("ID") for rule in rules]
    for name in sorted({str(name) for name in names if name and names.count(name) > 1}):
        yield f"{names.count(name)} lifecycle rules have the ID {name}"
    if len(rules) > 1000:
        yield f"{len(rules)} lifecycle rules"
    for rule in rules:
        if not {key for key in rule if key not in ("ID", "Status", "Filter", "Prefix")}:
            yield f"lifecycle rule {rule.get('ID')} has no action"


def _delete_marker_conditions(parameters: Parameters) -> Iterator[str]:
    for rule in lifecycle_rules(parameters):
        expiration = rule.get("Expiration", {})
        if not expiration.get("ExpiredObjectDeleteMarker"):
            continue
        for key in ("Days", "Date"):
            if key in expiration:
                yield f"lifecycle rule {rule.get('ID')}: ExpiredObjectDeleteMarker with {key}"
        conditions = {**rule.get("Filter", {}), **rule.get("Filter", {}).get("And", {})}
        for key in conditions:
            if key in ("Tag", "Tags"):
                yield f"lifecycle rule {rule.get('ID')}: ExpiredObjectDeleteMarker with a tag"


def _us_east_1(parameters: Parameters) -> Iterator[str]:
    location = parameters.get("CreateBucketConfiguration", {}).get("LocationConstraint")
    if location == "us-east-1":
        yield "LocationConstraint is us-east-1"


def _policy_size(key: str, limit: int) -> Callable[[Parameters], Iterator[str]]:
    def too_long(parameters: Parameters) -> Iterator[str]:
        # IAM counts no white space.
        size = len(re.sub(r"\s", "", str(parameters[key])))
        if size > limit:
            yield f"{parameters['RoleName']}: {key} has {size} characters, more than {limit}"

    return too_long


def _statement_ids(parameters: Parameters) -> Iterator[str]:
    document = json.loads(parameters["PolicyDocument"])
    names = [str(one["Sid"]) for one in document.get("Statement", ()) if one.get("Sid")]
    for name in names:
        if not re.fullmatch("[A-Za-z0-9]+", name):
            yield f"Sid is {name!r}, which has other characters than letters and digits"
        if names.count(name) > 1:
            yield f"{names.count(name)} statements have the Sid {name}"


def _role_name(parameters: Parameters) -> Iterator[str]:
    if not re.fullmatch(r"[\w+=,.@-]{1,64}", parameters["RoleName"], re.ASCII):
        yield f"RoleName is {parameters['RoleName']!r}"


def _different_profile_name(parameters: Parameters) -> Iterator[str]:
    profile, role = parameters["InstanceProfileName"], parameters["RoleName"]
    if profile != role:
        yield f"the instance profile {profile} has the role {role}"


def _reserved_tags(parameters: Parameters) -> Iterator[str]:
    tags = [*parameters.get("Tags", ())]
    for specification in parameters.get("TagSpecifications", ()):
        tags += specification["Tags"]
    for tag in tags:
        if tag["Key"].lower().startswith("aws:"):
            yield f"the tag {tag['Key']} is reserved"
    if len(tags) > 50:
        yield f"{len(tags)} tags"


def _group_texts(parameters: Parameters) -> Iterator[str]:
    characters = r"[a-zA-Z0-9. _\-:/()#,@\[\]+=&;{}!$*]{1,255}"
    for key in ("GroupName", "Description"):
        if not re.fullmatch(characters, parameters[key]):
            yield f"{key} is {parameters[key]!r}"
    if parameters["GroupName"].startswith("sg-"):
        yield f"GroupName is {parameters['GroupName']!r}"


def _rules_without_source(parameters: Parameters) -> Iterator[str]:
    keys = ("IpRanges", "Ipv6Ranges", "PrefixListIds", "UserIdGroupPairs")
    for rule in parameters.get("IpPermissions", ()):
        if not any(rule.get(key) for key in keys):
            yield f"the rule for port {rule.get('FromPort')} has no source"


#: Rules for single requests.
RULES = (
    Rule(
        "emr",
        ("run_job_flow", "add_instance_groups"),
        _empty_groups,
        "each instance group must have at least one instance; omit the group",
        "https://github.com/hashicorp/terraform-provider-aws/issues/6837",
    ),
    Rule(
        "emr",
        ("run_job_flow",),
        _wrong_group_roles,
        "a cluster has one MASTER group of 1 or 3 instances, at most one CORE group, and TASK groups only with "
        "a CORE group",
        f"{EMR_DOCS}ManagementGuide/emr-master-core-task-nodes.html",
    ),
    Rule(
        "emr",
        ("add_instance_groups",),
        _added_group_roles,
        "only TASK groups can be added",
        f"{EMR_DOCS}ManagementGuide/emr-manage-resize.html",
    ),
    Rule(
        "emr",
        ("run_job_flow", "add_instance_fleet"),
        _fleet_capacities,
        "a fleet has a target capacity of 1 or more, a MASTER fleet exactly one unit, and types a weight of 1 or more",
        f"{EMR_API_DOCS}InstanceFleetConfig.html, {EMR_API_DOCS}InstanceTypeConfig.html",
    ),
    Rule(
        "emr",
        ("run_job_flow",),
        _wrong_fleet_roles,
        "a cluster has one MASTER fleet, at most one CORE fleet, and at most one TASK fleet, only with a CORE fleet",
        f"{EMR_DOCS}ManagementGuide/emr-instance-group-configuration.html",
    ),
    Rule(
        "emr",
        ("add_instance_fleet",),
        _added_fleet_roles,
        "only a TASK fleet can be added",
        "https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/"
        "aws-resource-emr-instancefleetconfig.html",
    ),
    Rule(
        "emr",
        ("run_job_flow", "add_instance_fleet"),
        _fleet_types,
        "a fleet has up to 5 different types, with an allocation strategy up to 30",
        f"{EMR_DOCS}ManagementGuide/emr-instance-fleet.html",
    ),
    Rule(
        "emr",
        ("run_job_flow", "add_instance_fleet"),
        _spot_timeouts,
        "it must be 5 to 1,440 minutes",
        f"{EMR_API_DOCS}SpotProvisioningSpecification.html",
    ),
    Rule(
        "emr",
        ("run_job_flow",),
        _mixed_collections,
        "a cluster has instance groups with one subnet, or instance fleets with Ec2SubnetIds and InstanceFleetUnits",
        f"{EMR_API_DOCS}JobFlowInstancesConfig.html, {EMR_API_DOCS}ComputeLimits.html",
    ),
    Rule(
        "emr",
        ("run_job_flow",),
        _missing_applications,
        "remove the application or set another `release`",
        f"{EMR_DOCS}ReleaseGuide/emr-spark800-release.html, {EMR_DOCS}ReleaseGuide/emr-release-app-versions-7.x.html",
    ),
    Rule(
        "emr",
        ("run_job_flow",),
        _incomplete_security_groups,
        "specify the security groups of the primary node, of the core and task nodes and, in a private subnet, for "
        "service access together",
        f"{EMR_DOCS}ManagementGuide/emr-sg-specify.html",
    ),
    Rule(
        "emr",
        ("run_job_flow", "put_managed_scaling_policy"),
        _inconsistent_limits,
        "the limits of core, On-Demand and all nodes must not decrease; correct [limits]",
        f"{EMR_API_DOCS}ComputeLimits.html",
    ),
    Rule(
        "emr",
        ("run_job_flow", "put_auto_termination_policy"),
        _idle_timeout,
        "it must be 60 to 604,800 seconds; correct limits.idle_minutes",
        f"{EMR_API_DOCS}AutoTerminationPolicy.html",
    ),
    Rule(
        "emr",
        ("run_job_flow",),
        _step_concurrency,
        "it must be 1 to 256, above 1 only with steps whose ActionOnFailure is CONTINUE",
        f"{EMR_API_DOCS}StepConfig.html",
    ),
    Rule(
        "emr",
        ("run_job_flow",),
        _jupyter_persistence,
        "remove the classification",
        f"{EMR_DOCS}ReleaseGuide/emr-jupyterhub-s3.html",
    ),
    Rule(
        "emr",
        ("create_security_configuration",),
        _metadata_service,
        "it must be 1 to 64",
        f"{EMR_DOCS}ManagementGuide/emr-create-security-configuration.html",
    ),
    Rule(
        "emr-serverless",
        ("start_job_run",),
        _job_run_mode,
        "a batch job takes maxAttempts, a streaming job maxFailedAttemptsPerHour from 1 to 10",
        "https://docs.aws.amazon.com/emr-serverless/latest/APIReference/API_RetryPolicy.html",
    ),
    Rule(
        "scheduler",
        ("create_schedule", "update_schedule"),
        _schedule_expression,
        "correct refit.schedule",
        f"{SCHEDULER_DOCS}schedule-types.html",
    ),
    Rule(
        "scheduler",
        ("create_schedule", "update_schedule"),
        _no_dead_letter_queue,
        "EventBridge Scheduler drops failed invocations; specify a dead-letter queue",
        f"{SCHEDULER_DOCS}configuring-schedule-dlq.html",
    ),
    Rule(
        "scheduler",
        ("create_schedule", "update_schedule"),
        _fifo_dead_letter_queue,
        "specify a standard queue",
        f"{SCHEDULER_DOCS}configuring-schedule-dlq.html",
    ),
    Rule(
        "scheduler",
        ("create_schedule", "update_schedule"),
        _read_only_target,
        "universal targets do not support read-only operations",
        f"{SCHEDULER_DOCS}managing-targets-universal.html",
    ),
    Rule(
        "s3",
        ("put_bucket_lifecycle_configuration",),
        _invalid_lifecycle,
        "specify at most 1,000 rules with different IDs, each with an action",
        f"{_S3_API}PutBucketLifecycleConfiguration.html",
    ),
    Rule(
        "s3",
        ("put_bucket_lifecycle_configuration",),
        _delete_marker_conditions,
        "put ExpiredObjectDeleteMarker into a separate rule, with a prefix only",
        f"{_S3_API}LifecycleExpiration.html",
    ),
    Rule(
        "s3",
        ("create_bucket",),
        _us_east_1,
        "omit the LocationConstraint in this region",
        f"{_S3_API}CreateBucket.html",
    ),
    Rule(
        "iam", ("create_role",), _role_name, "use 1 to 64 of A-Z, a-z, 0-9 and _+=,.@-", _IAM_QUOTAS
    ),
    Rule(
        "iam",
        ("create_role",),
        _policy_size("AssumeRolePolicyDocument", 2048),
        "name fewer principals in [evaluator]",
        _IAM_QUOTAS,
    ),
    Rule(
        "iam",
        ("put_role_policy",),
        _policy_size("PolicyDocument", 10_240),
        "use shorter names of buckets and prefixes in [storage]",
        _IAM_QUOTAS,
    ),
    Rule(
        "iam",
        ("put_role_policy",),
        _statement_ids,
        "use a different Sid of letters and digits in each statement",
        "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_sid.html",
    ),
    Rule(
        "iam",
        ("add_role_to_instance_profile",),
        _different_profile_name,
        "EMR requires the same name",
        f"{EMR_DOCS}ManagementGuide/emr-iam-role-for-ec2.html",
    ),
    Rule(
        "ec2",
        ("create_tags", "create_security_group"),
        _reserved_tags,
        "use up to 50 tags whose keys do not start with aws:",
        "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html",
    ),
    Rule(
        "emr",
        ("run_job_flow", "add_tags"),
        _reserved_tags,
        "use up to 50 tags whose keys do not start with aws:; correct [tags]",
        f"{EMR_DOCS}ManagementGuide/emr-plan-tags-restrictions.html",
    ),
    Rule(
        "ec2",
        ("create_security_group",),
        _group_texts,
        "use 1 to 255 of the characters that EC2 allows, and no name that starts with sg-",
        "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateSecurityGroup.html",
    ),
    Rule(
        "ec2",
        ("authorize_security_group_ingress",),
        _rules_without_source,
        "name an address range or a security group",
        "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_AuthorizeSecurityGroupIngress.html",
    ),
)
