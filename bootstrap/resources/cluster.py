"""The RunJobFlow request of the cluster: plain dictionaries from pure functions."""

from __future__ import annotations

import hashlib
import json

from bootstrap.aws.combination_rules import FOR_EMR
from bootstrap.aws.request import Parameters
from bootstrap.config.names import Names
from bootstrap.config.schema import ClusterConfig
from bootstrap.resources.network import SUBNET_REFERENCE
from bootstrap.resources.steps import PYTHON, s3a_settings
from bootstrap.resources.uploads import UploadLocations

#: Tag with the hash of the request that created the cluster.
REQUEST_HASH_TAG = "pomona:request"
_APPLICATIONS = {
    "emr-7.13.0": ("Hadoop", "Spark", "Livy", "JupyterHub"),
    # YARN and HDFS are part of Spark there, and JupyterHub does not exist.
    "emr-spark-8.0.0": ("Spark", "Livy", "JupyterEnterpriseGateway"),
}
#: No logs in the storage of EMR, where the key of the configuration does not encrypt them. EMR can keep the logs of
#: persistent application UIs only there.
_LOGS_IN_BUCKET = {
    "system-logs": "on-customer-s3only",
    "application-logs": "on-customer-s3only",
    "persistent-ui-logs": "disabled",
}


def run_job_flow(names: Names, locations: UploadLocations) -> Parameters:
    """Return the request that creates the cluster, without steps.

    Parameters
    ----------
    names : Names
    locations : UploadLocations

    Returns
    -------
    dict
        For `run_job_flow`; a subnet and security groups are ``${…}`` references.
    """
    config = names.config
    request: Parameters = {
        "Name": config.name,
        "ReleaseLabel": config.release,
        "Applications": [{"Name": name} for name in _APPLICATIONS[config.release]],
        "LogUri": names.log_uri,
        "ServiceRole": names.emr_role("service"),
        "JobFlowRole": names.emr_role("nodes"),
        "SecurityConfiguration": security_configuration(names),
        "Instances": _instances(names),
        "ManagedScalingPolicy": _scaling(names),
        "Configurations": _configurations(names),
        "BootstrapActions": [
            {
                "Name": "environment",
                "ScriptBootstrapAction": {
                    "Path": locations.uri("bootstrap_emr.sh"),
                    "Args": [locations.uri("environment.tar.gz"), locations.environment_sha256],
                },
            }
        ],
        # A streaming step never ends: a refit step needs a second slot.
        "StepConcurrencyLevel": 2 if config.is_streaming else 1,
        "EbsRootVolumeSize": 32,
        "VisibleToAllUsers": True,
    }
    if not config.is_streaming:  # a cluster with a streaming step is never idle
        request["AutoTerminationPolicy"] = {"IdleTimeout": 60 * config.limits.idle_minutes}
    if config.encryption.log_key:
        request["LogEncryptionKmsKeyId"] = config.encryption.log_key
        logging = {"LogTypeUploadPolicy": _LOGS_IN_BUCKET}
        request["MonitoringConfiguration"] = {"S3LoggingConfiguration": logging}
    request["Tags"] = [
        FOR_EMR,
        *names.tag_list,
        {"Key": REQUEST_HASH_TAG, "Value": request_hash(request)},
    ]
    return request


def request_hash(request: Parameters) -> str:
    """Return the hash of a request without tags: a cluster tagged with the same hash is not compared in detail."""
    document = json.dumps(
        {key: value for key, value in request.items() if key != "Tags"}, sort_keys=True
    )
    return hashlib.sha256(document.encode()).hexdigest()[:16]


def metadata_hop_limit(config: ClusterConfig) -> int:
    """Return the hop limit of the instance metadata service: a container needs one more hop."""
    return 2 if "JupyterHub" in _APPLICATIONS[config.release] else 1


def security_configuration(names: Names) -> str:
    """Return the name of the security configuration: one for each content, because EMR cannot change one."""
    hops = metadata_hop_limit(names.config)
    return names.prefixed("imdsv2" if hops == 1 else f"imdsv2-hops-{hops}")


def _instances(names: Names) -> Parameters:
    config = names.config
    result: Parameters = {
        **(_fleets(names) if config.has_fleets else _groups(names)),
        "KeepJobFlowAliveWhenNoSteps": True,
        "TerminationProtected": False,
        "EmrManagedMasterSecurityGroup": "${primary.GroupId}",
        "EmrManagedSlaveSecurityGroup": "${workers.GroupId}",
        "AdditionalMasterSecurityGroups": ["${tunnel.GroupId}"],
    }
    if config.network.private:
        result["ServiceAccessSecurityGroup"] = "${service.GroupId}"
    if config.network.ssh_key:
        result["Ec2KeyName"] = config.network.ssh_key
    return result


def _groups(names: Names) -> Parameters:
    """Return the instance groups and their subnet."""
    instances = names.config.instances
    groups = [
        _group(names, "primary", "MASTER", 1, "ON_DEMAND"),
        _group(names, "core", "CORE", instances.core, "ON_DEMAND"),
    ]
    if instances.task:  # EMR rejects a group without instances
        groups.append(_group(names, "task", "TASK", instances.task, "SPOT"))
    return {"InstanceGroups": groups, "Ec2SubnetId": SUBNET_REFERENCE}


def _group(names: Names, name: str, role: str, count: int, market: str) -> Parameters:
    instances = names.config.instances
    return {
        "Name": name,
        "InstanceRole": role,
        "InstanceType": instances.type,
        "InstanceCount": count,
        "Market": market,
        "EbsConfiguration": volumes(instances.disk_gb),
    }


def _fleets(names: Names) -> Parameters:
    """Return the instance fleets, and the subnets from which EMR chooses one for all nodes."""
    config = names.config
    instances = config.instances
    spot = instances.task - instances.task_on_demand
    fleets = [
        _fleet(names, "primary", "MASTER", 1, 0),
        _fleet(names, "core", "CORE", instances.core, 0),
    ]
    if instances.task:  # EMR rejects a fleet without capacity
        fleets.append(_fleet(names, "task", "TASK", instances.task_on_demand, spot))
    subnets = list(config.network.subnets) or [SUBNET_REFERENCE]
    return {"InstanceFleets": fleets, "Ec2SubnetIds": subnets}


def _fleet(names: Names, name: str, role: str, on_demand: int, spot: int) -> Parameters:
    """Return a fleet in which each instance counts as one unit, so that capacities are numbers of nodes."""
    config = names.config
    result: Parameters = {
        "Name": name,
        "InstanceFleetType": role,
        "TargetOnDemandCapacity": on_demand,
        "TargetSpotCapacity": spot,
        "InstanceTypeConfigs": [
            {
                "InstanceType": instance_type,
                "WeightedCapacity": 1,
                "EbsConfiguration": volumes(config.instances.disk_gb),
            }
            for instance_type in config.instance_types
        ],
    }
    return result | {"LaunchSpecifications": launch_specifications(spot=role == "TASK")}


def launch_specifications(*, spot: bool) -> Parameters:
    """Return how a fleet starts its instances.

    If there are no Spot instances when the cluster starts, it gets On-Demand instances instead of being terminated.
    """
    result: Parameters = {"OnDemandSpecification": {"AllocationStrategy": "lowest-price"}}
    if spot:
        result["SpotSpecification"] = {
            "AllocationStrategy": "price-capacity-optimized",
            "TimeoutDurationMinutes": 20,
            "TimeoutAction": "SWITCH_TO_ON_DEMAND",
        }
    return result


def volumes(size: int) -> Parameters:
    """Return the EBS configuration of a node with one volume of this size in GB."""
    disk = {"VolumeType": "gp3", "SizeInGB": size}
    return {"EbsBlockDeviceConfigs": [{"VolumeSpecification": disk, "VolumesPerInstance": 1}]}


def _scaling(names: Names) -> Parameters:
    """Return the managed scaling policy: core and On-Demand nodes up to their limits, Spot nodes beyond."""
    config = names.config
    return {
        "ComputeLimits": {
            "UnitType": "InstanceFleetUnits" if config.has_fleets else "Instances",
            "MinimumCapacityUnits": config.instances.core,
            "MaximumCapacityUnits": config.limits.nodes,
            "MaximumOnDemandCapacityUnits": config.on_demand_limit,
            "MaximumCoreCapacityUnits": config.limits.core,
        }
    }


def _configurations(names: Names) -> list[Parameters]:
    config = names.config

    result = [
        {"Classification": "delta-defaults", "Properties": {"delta.enabled": "true"}},
        {
            "Classification": "spark-defaults",
            "Properties": {
                "spark.pyspark.python": PYTHON,
                **s3a_settings(names),
                # The history server compacts all but two files of the event log of a stream, and deletes those of
                # applications that ended a week ago.
                "spark.history.fs.eventLog.rolling.maxFilesToRetain": "2",
                "spark.history.fs.cleaner.enabled": "true",
            },
        },
        {
            "Classification": "yarn-site",
            "Properties": {
                # Upper limit of the attempts that an application may request.
                "yarn.resourcemanager.am.max-attempts": str(config.ingest.restarts_an_hour),
                # Keep the driver off Spot nodes, which can be reclaimed at any time.
                "yarn.node-labels.enabled": "true",
                "yarn.node-labels.am.default-node-label-expression": "CORE",
            },
        },
    ]
    if "JupyterHub" in _APPLICATIONS[config.release]:
        persistence = {"s3.persistence.enabled": "true", "s3.persistence.bucket": names.data_bucket}
        result.append({"Classification": "jupyter-s3-conf", "Properties": persistence})
    return result
