"""Reconstruct the request that would create an existing cluster."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from bootstrap.aws.request import Parameters, ReadApi

#: States of a cluster that is not terminating.
LIVE = ["STARTING", "BOOTSTRAPPING", "RUNNING", "WAITING"]
_ROLES = {"MASTER": 0, "CORE": 1, "TASK": 2}


def list_clusters(read: ReadApi, *, live: bool = True) -> list[Parameters]:
    """Return the live clusters of the account; with live=False, all clusters that EMR lists."""
    response = read("emr", "list_clusters", {"ClusterStates": LIVE} if live else {}) or {}
    clusters: list[Parameters] = response.get("Clusters", [])
    return clusters


def find_cluster(read: ReadApi, name: str, *, live: bool = True) -> Parameters | None:
    """Return the description of the newest cluster with this name or ID."""
    matches = [one for one in list_clusters(read, live=live) if name in (one["Name"], one["Id"])]
    if not matches:
        return None
    newest = max(matches, key=lambda one: str(one["Status"]["Timeline"].get("CreationDateTime")))
    response: Any = read("emr", "describe_cluster", {"ClusterId": newest["Id"]})
    cluster: Parameters = response["Cluster"]
    return cluster


def cluster_tags(cluster: Parameters) -> dict[str, str]:
    """Return the tags of a described cluster by key."""
    return {tag["Key"]: tag["Value"] for tag in cluster.get("Tags") or ()}


#: Codes of a cluster that ended as intended.
_INTENDED_CODES = ("USER_REQUEST", "ALL_STEPS_COMPLETED")


def failure_reason(cluster: Parameters) -> str | None:
    """Return why a described cluster failed, in one line with EMR's reasons and the logs; None if it did not."""
    status = cluster["Status"]
    code = status.get("StateChangeReason", {}).get("Code")
    ended = status["State"] in ("TERMINATING", "TERMINATED_WITH_ERRORS")
    if not ended or (status["State"] == "TERMINATING" and code in (None, *_INTENDED_CODES)):
        return None
    reason = state_reason(status) or "EMR gives no reason"
    logs = (cluster.get("LogUri") or "").replace("s3n://", "s3://", 1)
    location = f"; logs: {logs.rstrip('/')}/{cluster['Id']}/" if logs else ""
    return f"cluster {cluster['Id']} failed: {reason}{location}"


def state_reason(status: Parameters) -> str | None:
    """Return EMR's reasons for the state of a cluster, a group or a step in one line, or None."""
    change, details = status.get("StateChangeReason", {}), status.get("ErrorDetails") or ()
    failure = status.get("FailureDetails", {}).get("Message")
    code = f"{change['Code']}: " if change.get("Code") and change.get("Message") else ""
    texts = [failure or f"{code}{change.get('Message') or change.get('Code') or ''}"]
    texts += [f"{one.get('ErrorCode', '')}: {one.get('ErrorMessage', '')}" for one in details]
    lines = [re.sub(r"\s+", " ", text).strip(" :") for text in texts]
    return "; ".join(line for line in lines if line) or None


def request_from_cluster(read: ReadApi, cluster: Parameters) -> Parameters:
    """Return the parameters of `run_job_flow` that would create this cluster.

    Parameters
    ----------
    read : callable
    cluster : dict
        Result of `describe_cluster`.

    Returns
    -------
    dict
        Parameters without steps; see `unfinished_steps`.
    """
    query = {"ClusterId": cluster["Id"]}
    actions: Any = read("emr", "list_bootstrap_actions", query)
    scaling: Any = read("emr", "get_managed_scaling_policy", query)
    termination: Any = read("emr", "get_auto_termination_policy", query)
    fields = {
        "Name": cluster["Name"],
        "ReleaseLabel": cluster.get("ReleaseLabel"),
        "Applications": [{"Name": one["Name"]} for one in cluster.get("Applications") or ()],
        # EMR returns s3:// as s3n://.
        "LogUri": (cluster.get("LogUri") or "").replace("s3n://", "s3://", 1),
        "LogEncryptionKmsKeyId": cluster.get("LogEncryptionKmsKeyId"),
        "MonitoringConfiguration": cluster.get("MonitoringConfiguration"),
        "ServiceRole": cluster.get("ServiceRole"),
        "JobFlowRole": cluster["Ec2InstanceAttributes"].get("IamInstanceProfile"),
        "SecurityConfiguration": cluster.get("SecurityConfiguration"),
        "Instances": _instances(read, cluster),
        "ManagedScalingPolicy": scaling.get("ManagedScalingPolicy"),
        "AutoTerminationPolicy": termination.get("AutoTerminationPolicy"),
        "Configurations": [_configuration(one) for one in cluster.get("Configurations") or ()],
        "BootstrapActions": [
            {
                "Name": one["Name"],
                "ScriptBootstrapAction": {"Path": one["ScriptPath"], "Args": one.get("Args") or []},
            }
            for one in actions["BootstrapActions"]
        ],
        "StepConcurrencyLevel": cluster.get("StepConcurrencyLevel"),
        "EbsRootVolumeSize": cluster.get("EbsRootVolumeSize"),
        "VisibleToAllUsers": cluster.get("VisibleToAllUsers"),
        "Tags": [{"Key": one["Key"], "Value": one["Value"]} for one in cluster.get("Tags") or ()],
    }
    return {key: value for key, value in fields.items() if value not in (None, "", {})}


def unfinished_steps(read: ReadApi, cluster: Parameters) -> list[Parameters]:
    """Return the pending and running steps of a cluster, in the order in which they were added."""
    query = {"ClusterId": cluster["Id"], "StepStates": ["PENDING", "RUNNING"]}
    response: Any = read("emr", "list_steps", query)
    steps = []
    for one in reversed(response["Steps"]):  # EMR lists the newest first
        config = one["Config"]
        jar: Parameters = {"Jar": config["Jar"], "Args": list(config.get("Args") or ())}
        if config.get("MainClass"):
            jar["MainClass"] = config["MainClass"]
        if config.get("Properties"):
            jar["Properties"] = [
                {"Key": key, "Value": value} for key, value in config["Properties"].items()
            ]
        step = {"Name": one["Name"], "ActionOnFailure": one["ActionOnFailure"]}
        steps.append({**step, "HadoopJarStep": jar})
    return steps


def normalize_request(request: Parameters) -> Parameters:
    """Return a request in comparable form: without tags and paths of roles; groups, fleets and types by name."""
    result = {key: value for key, value in request.items() if key != "Tags"}
    for key in ("ServiceRole", "JobFlowRole"):
        if key in result:
            result[key] = str(result[key]).rpartition("/")[2]
    instances = dict(request.get("Instances") or {})
    groups: dict[str, Parameters] = {}
    for group in instances.pop("InstanceGroups", ()):
        role = group["InstanceRole"]
        others = sum(name.partition(" ")[0] == role for name in groups)
        groups[f"{role} {others + 1}" if others else role] = group
    fleets: dict[str, Parameters] = {}
    for fleet in instances.pop("InstanceFleets", ()):
        types = {one["InstanceType"]: one for one in fleet.get("InstanceTypeConfigs", ())}
        fleets[fleet["InstanceFleetType"]] = fleet | {"InstanceTypeConfigs": types}
    if "Ec2SubnetIds" in instances:
        instances["Ec2SubnetIds"] = sorted(instances["Ec2SubnetIds"])
    result["Instances"] = instances | {"InstanceGroups": groups, "InstanceFleets": fleets}
    result["AutoTerminationPolicy"] = request.get("AutoTerminationPolicy")
    return result


def _instances(read: ReadApi, cluster: Parameters) -> Parameters:
    """Return the parameter `Instances` of a cluster."""
    attributes = cluster["Ec2InstanceAttributes"]
    fleets, groups = list_fleets(read, cluster), list_groups(read, cluster)
    fields = {
        # Managed scaling leaves groups and fleets without instances, which RunJobFlow rejects.
        "InstanceGroups": [_group(one) for one in groups if one["RequestedInstanceCount"]],
        "InstanceFleets": [
            _fleet(one)
            for one in fleets
            if one.get("TargetOnDemandCapacity") or one.get("TargetSpotCapacity")
        ],
        **_subnets(attributes, fleets=bool(fleets)),
        "KeepJobFlowAliveWhenNoSteps": not cluster.get("AutoTerminate"),
        "TerminationProtected": cluster.get("TerminationProtected"),
        **{
            key: attributes.get(key)
            for key in (
                "Ec2KeyName",
                "EmrManagedMasterSecurityGroup",
                "EmrManagedSlaveSecurityGroup",
                "ServiceAccessSecurityGroup",
                "AdditionalMasterSecurityGroups",
                "AdditionalSlaveSecurityGroups",
            )
        },
    }
    return _without_empty(fields)


def _subnets(attributes: Parameters, *, fleets: bool) -> Parameters:
    """Return the requested subnets of a cluster with fleets, of which EMR has chosen one, or else its subnet."""
    chosen = attributes.get("Ec2SubnetId")
    if not fleets:
        return {"Ec2SubnetId": chosen}
    return {"Ec2SubnetIds": attributes.get("RequestedEc2SubnetIds") or ([chosen] if chosen else [])}


def has_fleets(cluster: Parameters) -> bool:
    """Return whether the nodes of a described cluster are in instance fleets."""
    return bool(cluster.get("InstanceCollectionType") == "INSTANCE_FLEET")


def list_groups(read: ReadApi, cluster: Parameters) -> list[Parameters]:
    """Return the instance groups of a cluster, the primary node first; empty if it has fleets."""
    if has_fleets(cluster):
        return []
    found: Any = read("emr", "list_instance_groups", {"ClusterId": cluster["Id"]})
    return sorted(found["InstanceGroups"], key=lambda one: _ROLES[one["InstanceGroupType"]])


def list_fleets(read: ReadApi, cluster: Parameters) -> list[Parameters]:
    """Return the instance fleets of a cluster, the primary node first; empty if it has groups."""
    if not has_fleets(cluster):
        return []
    found: Any = read("emr", "list_instance_fleets", {"ClusterId": cluster["Id"]})
    return sorted(found["InstanceFleets"], key=lambda one: _ROLES[one["InstanceFleetType"]])


def _fleet(fleet: Parameters) -> Parameters:
    """Return an instance fleet in the form of a request."""
    same = ("BidPrice", "BidPriceAsPercentageOfOnDemandPrice", "CustomAmiId", "Priority")
    types = []
    for one in fleet.get("InstanceTypeSpecifications") or ():
        fields = {
            "InstanceType": one["InstanceType"],
            "WeightedCapacity": one.get("WeightedCapacity"),
            "EbsConfiguration": _ebs_configuration(one),
            "Configurations": [_configuration(c) for c in one.get("Configurations") or ()],
            **{key: one.get(key) for key in same},
        }
        types.append(_without_empty(fields))
    fields = {
        "Name": fleet.get("Name"),
        "InstanceFleetType": fleet["InstanceFleetType"],
        "TargetOnDemandCapacity": fleet.get("TargetOnDemandCapacity"),
        "TargetSpotCapacity": fleet.get("TargetSpotCapacity"),
        "InstanceTypeConfigs": types,
        "LaunchSpecifications": fleet.get("LaunchSpecifications"),
        "ResizeSpecifications": fleet.get("ResizeSpecifications"),
    }
    return _without_empty(fields)


def _ebs_configuration(described: Parameters) -> Parameters | None:
    """Return the volumes of a described group or type in the form of a request, with equal volumes counted."""
    volumes = Counter(
        tuple(sorted((k, v) for k, v in one["VolumeSpecification"].items() if v is not None))
        for one in described.get("EbsBlockDevices") or ()
    )
    devices = [
        {"VolumeSpecification": dict(volume), "VolumesPerInstance": count}
        for volume, count in volumes.items()
    ]
    return {"EbsBlockDeviceConfigs": devices} if devices else None


def _group(group: Parameters) -> Parameters:
    """Return an instance group in the form of a request."""
    fields = {
        "Name": group.get("Name"),
        "InstanceRole": group["InstanceGroupType"],
        "InstanceType": group["InstanceType"],
        "InstanceCount": group["RequestedInstanceCount"],
        "Market": group["Market"],
        "BidPrice": group.get("BidPrice"),
        "Configurations": [_configuration(one) for one in group.get("Configurations") or ()],
        "EbsConfiguration": _ebs_configuration(group),
    }
    return _without_empty(fields)


def _without_empty(fields: Parameters) -> Parameters:
    return {key: value for key, value in fields.items() if value not in (None, "", [], {})}


def _configuration(configuration: Parameters) -> Parameters:
    """Return a configuration with its nested configurations, without empty keys."""
    result = {
        "Classification": configuration["Classification"],
        "Properties": configuration.get("Properties") or {},
    }
    nested = [_configuration(one) for one in configuration.get("Configurations") or ()]
    return result | ({"Configurations": nested} if nested else {})
