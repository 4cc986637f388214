"""Checks before the deployment: references to existing resources, instance types, quotas and residency.

EMR accepts a cluster beyond its zone or quotas, and terminates it minutes later or never scales it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from bootstrap.aws.describe_cluster import find_cluster
from bootstrap.aws.describe_instance_types import supported_instance_types
from bootstrap.aws.nodes import capacity
from bootstrap.aws.request import ReadApi
from bootstrap.config.names import Names
from bootstrap.deploy.account_checks import check_disk_key, check_references, check_residency
from bootstrap.deploy.deployment import check_existing_stack
from bootstrap.errors import CloudError
from bootstrap.resources.cluster import run_job_flow
from bootstrap.resources.network import find_subnets, isolated_subnets
from bootstrap.resources.uploads import VERSION_PLACEHOLDER, UploadLocations

#: Quotas of EC2 in vCPUs for the families A, C, D, H, I, M, R, T and Z, by market; other families have other quotas.
QUOTAS = {"ON_DEMAND": ("On-Demand", "L-1216C47A"), "SPOT": ("Spot", "L-34B43A08")}
_STANDARD_FAMILIES = r"(?:[acdhimrtz]|im|is)\d"
#: Quota of EMR Serverless, "Max concurrent vCPUs per account", which all applications of the region share.
SERVERLESS_QUOTA = ("emr-serverless", "L-D05C8A75")
#: vCPUs of a driver and one executor.
_SERVERLESS_START = 2 + 4
_NO_QUOTA_CODES = ("NoSuchResourceException",)


@dataclass
class Findings:
    """Results of the checks, one line each.

    Parameters
    ----------
    problems : list of str
        Why the cluster cannot start, with the remedies.
    notes : list of str
        What limits it later, and what could not be checked.
    """

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def check_cluster(names: Names, read: ReadApi) -> Findings:
    """Check the cluster that `up` would start; sends only read-only requests.

    Existing roles, the buckets, the residency and the quota of EMR Serverless are always checked; the cluster is not if
    it runs already. A check that fails, for example because a permission is missing, is a note.

    Raises
    ------
    CloudError
        If the clusters or the subnet cannot be read, or the bucket of data or logs belongs to another account.
    """
    problems, notes = check_references(names, read)
    problems += check_existing_stack(names, read)
    findings = Findings([*problems, *check_residency(names, read)], notes)
    if names.config.mode == "serverless":
        _check_serverless_quota(names, read, findings)
    if names.config.mode != "cluster" or find_cluster(read, names.config.name):
        return findings
    try:
        note = check_disk_key(names, read)
        findings.notes += [note] if note else []
    except CloudError as error:
        findings.notes.append(f"the default key of EBS is not checked: {error}")
    subnets = find_subnets(names, read)
    if names.config.network.private:
        findings.notes += [
            f"{subnet} has only local routes: without an interface endpoint for S3, no node starts; "
            "add a gateway endpoint for S3, or a NAT gateway"
            for subnet in isolated_subnets(subnets, read)
        ]
    types = names.config.instance_types
    zones = [str(one["AvailabilityZone"]) for one in subnets]
    try:
        if _check_emr_support(names, read, findings):
            _check_offerings(names, zones, read, findings)
        standard = [one for one in types if re.match(_STANDARD_FAMILIES, one)]
        for one in types:
            if one not in standard:
                findings.notes.append(f"{one}: the vCPU quotas of its family are not checked")
        if standard and not findings.problems:
            _check_quotas(names, standard, read, findings)
    except CloudError as error:
        findings.notes.append(
            f"{', '.join(types)}: Availability Zones and vCPU quotas are not checked: {error}"
        )
    return findings


def _check_serverless_quota(names: Names, read: ReadApi, findings: Findings) -> None:
    """Compare the vCPUs of the first workers, and at the limit of scaling, with the quota of EMR Serverless."""
    service, code = SERVERLESS_QUOTA
    try:
        quota = _read_quota(read, service, code)
    except CloudError as error:
        findings.notes.append(f"the quota {code} of EMR Serverless is not checked: {error}")
        return
    if quota is None:
        findings.notes.append(
            f"the quota {code} of EMR Serverless is not checked: AWS returns none"
        )
        return
    limit = 4 * names.config.limits.nodes
    quota_text = f"the quota {code} of EMR Serverless allows {quota} vCPUs at a time"
    if quota < _SERVERLESS_START:
        findings.problems.append(
            f"{quota_text}, and a driver with one executor has {_SERVERLESS_START}: "
            "request an increase in Service Quotas"
        )
    elif limit > quota:
        findings.notes.append(
            f"[limits] allow {limit} vCPUs, and {quota_text}: jobs that need more fail or wait; "
            "request an increase in Service Quotas, or reduce limits.nodes"
        )


def _instance_types_setting(names: Names) -> str:
    """Return the line and the key of the instance types, as the start of a message."""
    config = names.config
    key, verb = ("types", "has") if config.instances.types else ("type", "is")
    return f"{config.lines(f'instances.{key}')}: instances.{key} {verb}"


def _check_emr_support(names: Names, read: ReadApi, findings: Findings) -> bool:
    """Compare the instance types with those that EMR supports in the region; return False if one is not supported."""
    config = names.config
    try:
        supported = supported_instance_types(read, config.release)
    except CloudError as error:
        findings.notes.append(
            f"{', '.join(config.instance_types)}: not checked with EMR, which supports only some types of EC2: {error}"
        )
        return True
    unsupported = [one for one in config.instance_types if one not in supported]
    findings.problems += [
        f"{_instance_types_setting(names)} {one}, which EMR does not support in {config.region} with {config.release}: "
        "set a type that `aws emr list-supported-instance-types` lists"
        for one in unsupported
    ]
    return not unsupported


def _check_offerings(names: Names, zones: list[str], read: ReadApi, findings: Findings) -> None:
    """Compare the zones of the subnets with those that offer each instance type.

    EMR starts all nodes in one zone, and there the types that it offers.
    """
    types = names.config.instance_types
    setting = _instance_types_setting(names)
    filters = [{"Name": "instance-type", "Values": list(types)}]
    query = {"LocationType": "availability-zone", "Filters": filters}
    response = read("ec2", "describe_instance_type_offerings", query) or {}
    offered = {(one["InstanceType"], one["Location"]) for one in response["InstanceTypeOfferings"]}
    for one in types:
        offering = sorted(zone for name, zone in offered if name == one)
        missing = [zone for zone in zones if zone not in offering]
        if not offering:
            findings.problems.append(
                f"{setting} {one}, which is not offered in {names.config.region}: set another type"
            )
        elif missing == zones:
            listed = f"these Availability Zones: {', '.join(zones)}"
            where = (
                f"{zones[0]}, the Availability Zone of the subnet" if len(zones) == 1 else listed
            )
            findings.problems.append(
                f"{setting} {one}, which is not offered in {where}: "
                f"set another type, or a [network] subnet in {' or '.join(offering)}"
            )
        elif missing:
            findings.notes.append(
                f"{one} is not offered in {' and '.join(missing)}: EMR starts only the other types there"
            )
    for zone in zones:
        if not any((one, zone) in offered for one in types) and not findings.problems:
            findings.problems.append(
                f"{names.config.lines('network.subnets')}: network.subnets has a subnet in {zone}, which offers none "
                f"of {', '.join(types)}: remove it"
            )


def _check_quotas(names: Names, types: list[str], read: ReadApi, findings: Findings) -> None:
    """Compare the vCPUs of the nodes at the start, and at the limits of scaling, with the quotas.

    Among several types, the largest counts. Other instances of the account also count towards the quotas; they are not
    known here.
    """
    request = run_job_flow(names, UploadLocations(names, VERSION_PLACEHOLDER))
    described = read("ec2", "describe_instance_types", {"InstanceTypes": types}) or {}
    vcpus, instance_type = max(
        (one["VCpuInfo"]["DefaultVCpus"], one["InstanceType"]) for one in described["InstanceTypes"]
    )
    initial = dict(zip(("ON_DEMAND", "SPOT"), capacity(request), strict=True))
    limits = request["ManagedScalingPolicy"]["ComputeLimits"]
    on_demand = limits["MaximumOnDemandCapacityUnits"]
    maximum = {
        "ON_DEMAND": 1 + on_demand,  # the limits do not count the primary node
        "SPOT": max(initial["SPOT"], limits["MaximumCapacityUnits"] - on_demand),
    }
    for market, (label, code) in QUOTAS.items():
        if not maximum[market]:
            continue
        quota = _read_quota(read, "ec2", code)
        if quota is None:
            findings.notes.append(f"the {label} quota {code} is not checked: AWS returns none")
            continue
        needed, limit = vcpus * initial[market], vcpus * maximum[market]
        quota_text = f"the {label} quota {code} allows {quota}"
        if needed > quota:
            findings.problems.append(
                f"{initial[market]} {label} nodes of {instance_type} have {needed} vCPUs, and {quota_text}: "
                "request an increase in Service Quotas, or reduce the counts in [instances], or set a smaller type"
            )
        elif limit > quota:
            findings.notes.append(
                f"[limits] allow {maximum[market]} {label} nodes of {instance_type} with {limit} vCPUs, and "
                f"{quota_text}: the cluster scales only to the quota"
            )


def _read_quota(read: ReadApi, service: str, code: str) -> int | None:
    """Return the value of a quota; None if AWS returns none."""
    query = {"ServiceCode": service, "QuotaCode": code}
    response = read("service-quotas", "get_service_quota", query, _NO_QUOTA_CODES)
    return int(response["Quota"]["Value"]) if response else None
