"""Rules for a request that depend on the requests sent before it; see also `bootstrap.aws.rules`."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterator, Sequence

from bootstrap.aws.request import Parameters
from bootstrap.aws.rules import (
    EMR_API_DOCS,
    EMR_DOCS,
    SCHEDULER_DOCS,
    Rule,
    SentRequest,
    actions_on_failure,
    applications,
    hop_limit,
    lifecycle_rules,
    request_violations,
    scheduled_request,
)

#: Tag of resources that the managed policy of EMR's service role may use.
FOR_EMR = {"Key": "for-use-with-amazon-emr-managed-policies", "Value": "true"}


def combination_violations(request: SentRequest, earlier: Sequence[SentRequest]) -> list[str]:
    """Return the violations of `COMBINATIONS` by a request after these requests."""
    requests = [request, *scheduled_request(request)]
    return [
        line for one in requests for rule in COMBINATIONS for line in rule.violations(one, earlier)
    ]


def violations(request: SentRequest, earlier: Sequence[SentRequest]) -> list[str]:
    """Return the violations of `RULES` and `COMBINATIONS` by a request after these requests."""
    return [*request_violations(request), *combination_violations(request, earlier)]


def _parameters(earlier: Sequence[SentRequest], operation: str, **equal: str) -> list[Parameters]:
    """Return the parameters of the earlier requests of an operation with these values, the newest first."""
    return [
        one.parameters
        for one in reversed(earlier)
        if one.operation == operation
        and all(one.parameters.get(key) == value for key, value in equal.items())
    ]


def _low_hop_limit(parameters: Parameters, earlier: Sequence[SentRequest]) -> Iterator[str]:
    if "JupyterHub" not in applications(parameters):
        return
    name = parameters.get("SecurityConfiguration", "")
    for created in _parameters(earlier, "create_security_configuration", Name=name)[:1]:
        if hop_limit(created) < 2:
            yield f"JupyterHub with the security configuration {name}, whose HttpPutResponseHopLimit is 1"


def service_access_ports(release: str) -> tuple[int, ...]:
    """Return the ports on which the nodes of a private subnet call EMR."""
    return (443, 9443) if release.startswith("emr-spark-") else (9443,)


def _closed_service_ports(parameters: Parameters, earlier: Sequence[SentRequest]) -> Iterator[str]:
    group = parameters.get("Instances", {}).get("ServiceAccessSecurityGroup")
    if not group:
        return
    allowed = _parameters(earlier, "authorize_security_group_ingress", GroupId=group)
    created = _parameters(earlier, "create_security_group")
    if group.startswith("${") and not created:
        return  # in a plan, the stack creates it; the tests of the template apply this rule to both
    primary = parameters["Instances"].get("EmrManagedMasterSecurityGroup")
    ports = {
        rule["FromPort"]
        for one in allowed
        for rule in one["IpPermissions"]
        if any(pair.get("GroupId") == primary for pair in rule.get("UserIdGroupPairs", ()))
    }
    for port in service_access_ports(parameters.get("ReleaseLabel", "")):
        if port not in ports:
            yield f"the security group {group} has no inbound rule for the primary node on port {port}"


def _public_ports(parameters: Parameters, earlier: Sequence[SentRequest]) -> Iterator[str]:
    instances = parameters.get("Instances", {})
    used = [value for key, value in instances.items() if key.endswith("SecurityGroup")]
    for key in ("AdditionalMasterSecurityGroups", "AdditionalSlaveSecurityGroups"):
        used += instances.get(key, ())
    for allowed in _parameters(earlier, "authorize_security_group_ingress"):
        for rule in allowed["IpPermissions"] if allowed.get("GroupId") in used else ():
            sources = [one.get("CidrIp") for one in rule.get("IpRanges", ())]
            sources += [one.get("CidrIpv6") for one in rule.get("Ipv6Ranges", ())]
            ports = (rule.get("FromPort"), rule.get("ToPort"))
            if ports != (22, 22) and {"0.0.0.0/0", "::/0"} & set(sources):
                yield f"{allowed['GroupId']}: ports {ports[0]} to {ports[1]} are open to all addresses"


def _untagged_network(parameters: Parameters, earlier: Sequence[SentRequest]) -> Iterator[str]:
    role, instances = parameters.get("ServiceRole", ""), parameters.get("Instances", {})
    attached = _parameters(earlier, "attach_role_policy", RoleName=role)
    if not any("AmazonEMRServicePolicy_v2" in one["PolicyArn"] for one in attached):
        return
    tagged = [
        str(resource)
        for one in _parameters(earlier, "create_tags")
        if FOR_EMR in one["Tags"]
        for resource in one["Resources"]
    ]
    if FOR_EMR not in parameters.get("Tags", ()):
        yield f"the cluster lacks the tag {FOR_EMR['Key']}"
    for subnet in instances.get("Ec2SubnetIds") or [instances.get("Ec2SubnetId")]:
        if subnet not in tagged:
            yield f"the subnet {subnet} lacks the tag {FOR_EMR['Key']}"
    # A reference in a plan, an ID in a request.
    vpcs = [one for one in tagged if one.startswith("vpc-") or one.endswith(".VpcId}")]
    if "ServiceAccessSecurityGroup" in instances and not vpcs:
        yield f"the VPC of the private subnet lacks the tag {FOR_EMR['Key']}"


def _actions_in_concurrent_cluster(
    parameters: Parameters, earlier: Sequence[SentRequest]
) -> Iterator[str]:
    for cluster in _parameters(earlier, "run_job_flow")[:1]:
        if cluster.get("StepConcurrencyLevel", 1) > 1:
            yield from actions_on_failure(parameters)


def _schedule_permissions(parameters: Parameters, earlier: Sequence[SentRequest]) -> Iterator[str]:
    target = parameters["Target"]
    role = str(target["RoleArn"]).rpartition("/")[2]
    policies = _parameters(earlier, "put_role_policy", RoleName=role)[:1]
    needed = ["sqs:SendMessage"] if target.get("DeadLetterConfig") else []
    for service, operation, content in scheduled_request(
        SentRequest("scheduler", "create_schedule", parameters)
    ):
        prefix = {"emr": "elasticmapreduce"}.get(service, service)
        needed.append(f"{prefix}:{''.join(part.title() for part in operation.split('_'))}")
        if content.get("tags"):
            needed.append(f"{prefix}:TagResource")
        if content.get("Tags"):
            needed.append(f"{prefix}:AddTags")
        needed += ["iam:PassRole"] * bool(
            content.get("executionRoleArn") or content.get("JobFlowRole")
        )
    for policy in policies:
        statements = json.loads(policy["PolicyDocument"])["Statement"]
        allowed = [
            action
            for one in statements
            if one["Effect"] == "Allow"
            for action in ([one["Action"]] if isinstance(one["Action"], str) else one["Action"])
        ]
        for action in needed:
            if not any(fnmatch.fnmatch(action, pattern) for pattern in allowed):
                yield f"the role {role} of the schedule lacks {action}"


def _lasting_versions(parameters: Parameters, earlier: Sequence[SentRequest]) -> Iterator[str]:
    bucket = parameters["Bucket"]
    for versioning in _parameters(earlier, "put_bucket_versioning", Bucket=bucket)[:1]:
        if versioning["VersioningConfiguration"]["Status"] != "Enabled":
            return
        rules = [
            rule
            for rule in lifecycle_rules(parameters)
            if rule["Status"] == "Enabled" and rule.get("Filter") in ({}, {"Prefix": ""})
        ]
        if not any(rule.get("Expiration", {}).get("ExpiredObjectDeleteMarker") for rule in rules):
            yield f"{bucket} is versioned, and no rule removes expired delete markers"
        if not any("NoncurrentVersionExpiration" in rule for rule in rules):
            yield f"{bucket} is versioned, and no rule removes noncurrent versions"


#: Rules for a request and those sent before it.
COMBINATIONS = (
    Rule(
        "emr",
        ("run_job_flow",),
        _low_hop_limit,
        "JupyterHub runs in a container and gets no credentials with 1 hop; 2 hops are needed",
        "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-options.html",
    ),
    Rule(
        "emr",
        ("run_job_flow",),
        _closed_service_ports,
        "add an inbound rule for the security group of the primary node",
        f"{EMR_DOCS}ManagementGuide/emr-man-sec-groups.html, {EMR_DOCS}ReleaseGuide/emr-spark800-release.html",
    ),
    Rule(
        "emr",
        ("run_job_flow",),
        _public_ports,
        "EMR block public access prevents such clusters; set the sources in network.ssh_from",
        f"{EMR_DOCS}ManagementGuide/emr-block-public-access.html",
    ),
    Rule(
        "emr",
        ("run_job_flow",),
        _untagged_network,
        "the policy AmazonEMRServicePolicy_v2 of EMR's service role applies only to resources with this tag",
        "https://docs.aws.amazon.com/aws-managed-policy/latest/reference/AmazonEMRServicePolicy_v2.html",
    ),
    Rule(
        "emr",
        ("add_job_flow_steps",),
        _actions_in_concurrent_cluster,
        "use CONTINUE in a cluster that runs several steps at a time",
        f"{EMR_API_DOCS}StepConfig.html",
    ),
    Rule(
        "scheduler",
        ("create_schedule", "update_schedule"),
        _schedule_permissions,
        "add the action to its policy",
        "https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonemrserverless.html, "
        f"{SCHEDULER_DOCS}configuring-schedule-dlq.html",
    ),
    Rule(
        "s3",
        ("put_bucket_lifecycle_configuration",),
        _lasting_versions,
        "add a rule for the whole bucket",
        "https://docs.aws.amazon.com/AmazonS3/latest/userguide/lifecycle-configuration-examples.html",
    ),
)
