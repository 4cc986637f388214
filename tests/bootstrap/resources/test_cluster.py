"""Tests for `bootstrap.resources.cluster` and `steps`: the requests of EMR, as data."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from bootstrap.aws.describe_cluster import request_from_cluster
from bootstrap.aws.request import LocalFile, differences, has_references
from bootstrap.aws.rules import APPLICATIONS, SentRequest, scheduled_request
from bootstrap.aws.validation import validation_errors
from bootstrap.resources.cluster import request_hash, run_job_flow
from bootstrap.resources.cluster_requests import cluster_requests
from bootstrap.resources.serverless import ingest_job, start_job_run
from bootstrap.resources.stack import read_template, template_parameters
from bootstrap.resources.steps import ingest_step, refit_arguments, refit_step
from bootstrap.resources.uploads import UploadLocations, upload_requests
from support.aws.account import ACCOUNT
from support.aws.cloudformation import Stack, parse_template
from support.aws.cluster_configs import VARIANTS, names, uploads


def cluster(more: str = "") -> dict[str, Any]:
    config_names = names(more)
    return run_job_flow(config_names, UploadLocations(config_names, "v1"))


def step(more: str = "", *, refit: bool = False) -> dict[str, Any]:
    config_names = names(more)
    build_step = refit_step if refit else ingest_step
    return build_step(config_names, UploadLocations(config_names, "v1"))


def settings(step: dict[str, Any]) -> dict[str, str]:
    """Return the Spark settings of the ``--conf`` arguments."""
    args = step["HadoopJarStep"]["Args"]
    values = [args[n + 1] for n, arg in enumerate(args) if arg == "--conf"]
    return dict(value.split("=", 1) for value in values)


def properties(request: dict[str, Any], classification: str) -> dict[str, str]:
    configurations = {one["Classification"]: one["Properties"] for one in request["Configurations"]}
    return dict(configurations[classification])


def test_default_instance_groups() -> None:
    groups = {one["InstanceRole"]: one for one in cluster()["Instances"]["InstanceGroups"]}
    assert {one["InstanceType"] for one in groups.values()} == {"m5.xlarge"}
    assert {role: one["Market"] for role, one in groups.items()} == {
        "MASTER": "ON_DEMAND",
        "CORE": "ON_DEMAND",
    }
    assert groups["CORE"]["InstanceCount"] == 2


def test_task_group_exists_only_with_task_nodes() -> None:
    groups = cluster("instances.task = 3")["Instances"]["InstanceGroups"]
    assert [(one["InstanceRole"], one["InstanceCount"], one["Market"]) for one in groups] == [
        ("MASTER", 1, "ON_DEMAND"),
        ("CORE", 2, "ON_DEMAND"),
        ("TASK", 3, "SPOT"),
    ]


def test_fleets_have_types_capacities_and_subnets() -> None:
    instances = cluster(VARIANTS["fleets"])["Instances"]
    assert "InstanceGroups" not in instances
    assert "Ec2SubnetId" not in instances
    assert instances["Ec2SubnetIds"] == ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"]
    fleets = instances["InstanceFleets"]
    assert [
        (one["InstanceFleetType"], one["TargetOnDemandCapacity"], one["TargetSpotCapacity"])
        for one in fleets
    ] == [("MASTER", 1, 0), ("CORE", 2, 0), ("TASK", 1, 2)]
    for one in fleets:
        types = one["InstanceTypeConfigs"]
        assert [config["InstanceType"] for config in types] == ["m5.xlarge", "m6i.xlarge"]
        assert {config["WeightedCapacity"] for config in types} == {1}  # capacities are nodes
        assert one["LaunchSpecifications"]["OnDemandSpecification"]
    spot = [one["LaunchSpecifications"].get("SpotSpecification") for one in fleets]
    assert spot[:2] == [None, None]
    assert spot[2]["TimeoutAction"] == "SWITCH_TO_ON_DEMAND"
    assert cluster(VARIANTS["fleets"])["ManagedScalingPolicy"]["ComputeLimits"] == {
        "UnitType": "InstanceFleetUnits",
        "MinimumCapacityUnits": 2,
        "MaximumCapacityUnits": 8,
        "MaximumOnDemandCapacityUnits": 4,
        "MaximumCoreCapacityUnits": 2,
    }


@pytest.mark.parametrize(
    "more",
    [
        'instances.types = ["m5.xlarge"]\n',
        "instances = {task = 2, task_on_demand = 1}\n",
        'network.subnets = ["subnet-0123456789abcdef0"]\n',
    ],
)
def test_each_setting_of_fleets_selects_fleets(more: str) -> None:
    instances = cluster(more)["Instances"]
    assert "InstanceGroups" not in instances
    assert instances["InstanceFleets"][1]["InstanceTypeConfigs"][0]["InstanceType"] == "m5.xlarge"
    subnets = ["subnet-0123456789abcdef0"] if "subnets" in more else ["${subnet.SubnetId}"]
    assert instances["Ec2SubnetIds"] == subnets


def test_maximum_number_of_types_is_accepted() -> None:
    types = json.dumps([f"m{number}.xlarge" for number in range(30)])
    request = cluster(f"instances = {{types = {types}, task = 2, task_on_demand = 1}}")
    assert validation_errors("emr", "run_job_flow", request) == ""


def test_limit_of_on_demand_nodes_includes_those_of_the_task_nodes() -> None:
    for more, limit in (
        ("limits.on_demand = 5", 5),
        ("instances = {task = 3, task_on_demand = 2}", 4),
        ("limits = {nodes = 3, core = 2}\ninstances = {task = 1, task_on_demand = 1}", 3),
    ):
        limits = cluster(more)["ManagedScalingPolicy"]["ComputeLimits"]
        assert limits["MaximumOnDemandCapacityUnits"] == limit


def test_managed_scaling_limits() -> None:
    limits = cluster("limits = {nodes = 9, core = 3}")["ManagedScalingPolicy"]["ComputeLimits"]
    assert limits == {
        "UnitType": "Instances",
        "MinimumCapacityUnits": 2,
        "MaximumCapacityUnits": 9,
        "MaximumOnDemandCapacityUnits": 3,
        "MaximumCoreCapacityUnits": 3,
    }


def test_streaming_cluster_has_capacity_for_refit() -> None:
    request = cluster()
    assert request["StepConcurrencyLevel"] >= 2
    assert "AutoTerminationPolicy" not in request
    for one in (step(), step(refit=True)):
        assert one["ActionOnFailure"] == "CONTINUE"
    assert (
        int(settings(step())["spark.dynamicAllocation.maxExecutors"]) == 14
    )  # 16 executors fit on the nodes


def test_cluster_with_mode_once_terminates_when_idle() -> None:
    request = cluster(VARIANTS["once"] + "limits.idle_minutes = 5")
    assert request["AutoTerminationPolicy"] == {"IdleTimeout": 300}
    assert request["StepConcurrencyLevel"] == 1  # the refit waits for the ingestion
    requests = cluster_requests(
        names(VARIANTS["once"]), UploadLocations(names(VARIANTS["once"]), "v1")
    )
    steps = [
        r.parameters["Steps"][0]["Name"] for r in requests if r.operation == "add_job_flow_steps"
    ]
    assert steps == ["fruits-ingest", "fruits-refit"]
    assert step(VARIANTS["once"])["HadoopJarStep"]["Args"][-1] == "--once"
    arguments = step("ingest.trigger_seconds = 90")["HadoopJarStep"]["Args"]
    assert arguments[arguments.index("--trigger") + 1] == "90"


def test_event_logs_do_not_fill_the_disks_of_the_core_nodes() -> None:
    """EMR writes event logs to HDFS. See Spark's monitoring page; 0.1 GB three times is little on 64 GB."""
    conf, history = settings(step()), properties(cluster(), "spark-defaults")
    assert conf["spark.eventLog.rolling.enabled"] == "true"
    assert conf["spark.eventLog.rolling.maxFileSize"] == "128m"
    assert conf["spark.eventLog.compress"] == "true"
    assert history["spark.history.fs.eventLog.rolling.maxFilesToRetain"] == "2"
    assert history["spark.history.fs.cleaner.enabled"] == "true"  # logs of refits


def test_yarn_attempts_equal_configured_restarts() -> None:
    more = "ingest.restarts_an_hour = 7"
    conf = settings(step(more))
    assert conf["spark.yarn.maxAppAttempts"] == "7"
    assert conf["spark.yarn.am.attemptFailuresValidityInterval"] == "1h"
    max_attempts = properties(cluster(more), "yarn-site")["yarn.resourcemanager.am.max-attempts"]
    assert int(max_attempts) >= 7
    assert settings(step(refit=True))["spark.yarn.maxAppAttempts"] == "1"


@pytest.mark.parametrize("refit", [False, True])
def test_region_reaches_driver_executors_and_s3a(refit: bool) -> None:
    conf = settings(step("", refit=refit))
    assert conf["spark.hadoop.fs.s3a.endpoint.region"] == "eu-west-1"
    for prefix in ("spark.yarn.appMasterEnv", "spark.executorEnv"):
        for variable in ("AWS_REGION", "AWS_DEFAULT_REGION"):
            assert conf[f"{prefix}.{variable}"] == "eu-west-1"
    defaults = properties(cluster(), "spark-defaults")  # notebooks
    assert defaults["spark.hadoop.fs.s3a.endpoint.region"] == "eu-west-1"


def test_step_uses_cluster_mode_environment_and_delta_of_release() -> None:
    args = step()["HadoopJarStep"]["Args"]
    assert step()["HadoopJarStep"]["Jar"] == "command-runner.jar"
    assert args[:3] == ["spark-submit", "--deploy-mode", "cluster"]
    bucket = "s3://fruits-data-123456789012"
    submit = "file:///opt/pomona/spark/submit.py"
    assert args[args.index(submit) :] == [
        submit,
        "ingest",
        f"{bucket}/images/",
        f"{bucket}/lake",
        "--trigger",
        "60",
    ]
    conf = settings(step())
    assert conf["spark.pyspark.python"] == "/opt/pomona/bin/python"
    assert conf["spark.delta.logStore.s3a.impl"] == "pomona.delta.FencedLogStore"
    *delta, log_store = conf["spark.jars"].split(",")
    assert log_store == "local:///opt/pomona/spark/fenced-log-store.jar"
    assert all(jar.startswith("local:///usr/share/aws/delta/lib/") for jar in delta)
    assert conf["spark.submit.pyFiles"] == delta[0]
    assert properties(cluster(), "delta-defaults") == {"delta.enabled": "true"}
    for request in (cluster(), step()):
        assert "packages" not in json.dumps(request)
        assert "pyspark==" not in json.dumps(request)


def test_bootstrap_action_has_location_and_hash_of_environment(tmp_path: Path) -> None:
    files = uploads(tmp_path)
    (action,) = run_job_flow(names(), files.locations(names()))["BootstrapActions"]
    folder = f"s3://fruits-data-123456789012/pomona/{files.version}"
    content = (tmp_path / "environment.tar.gz").read_bytes()
    assert action["ScriptBootstrapAction"] == {
        "Path": f"{folder}/bootstrap_emr.sh",
        "Args": [f"{folder}/environment.tar.gz", hashlib.sha256(content).hexdigest()],
    }


@pytest.mark.parametrize("more", ["", VARIANTS["once"]])
def test_nodes_download_nothing_else_to_execute(more: str) -> None:
    """The script is part of the definition of the cluster by its version; it checks the archive."""
    for request in (cluster(more), step(more), step(more, refit=True)):
        uris = re.findall(r'"(s3a?://[^"]*/pomona/[^"]*)"', json.dumps(request))
        assert {uri.rpartition("/")[2] for uri in uris} <= {
            "bootstrap_emr.sh",
            "environment.tar.gz",
        }
        assert "s3://" not in json.dumps(request).partition("spark.jars=")[2].partition('"')[0]


def test_cluster_without_hash_of_environment_is_not_sent(tmp_path: Path) -> None:
    missing = LocalFile.from_path(tmp_path / "absent.tar.gz")
    files = dataclasses.replace(uploads(tmp_path), environment=missing)
    request = run_job_flow(names(), files.locations(names()))
    (action,) = request["BootstrapActions"]
    assert has_references(action)


def test_notebook_application_depends_on_release() -> None:
    for release, included, excluded in (
        ("emr-7.13.0", "JupyterHub", "JupyterEnterpriseGateway"),
        ("emr-spark-8.0.0", "JupyterEnterpriseGateway", "JupyterHub"),
    ):
        request = cluster(f'release = "{release}"')
        assert request["ReleaseLabel"] == release
        applications = {one["Name"] for one in request["Applications"]}
        assert {"Spark", "Livy", included} <= applications
        assert excluded not in applications
        assert applications <= APPLICATIONS[release]
    persistence = properties(cluster(), "jupyter-s3-conf")
    assert persistence["s3.persistence.bucket"] == "fruits-data-123456789012"


def created_security_configuration(more: str) -> Any:
    """Return the security configuration that the template creates."""
    values = template_parameters("long-lived", names(more))
    given = {key: value for key, value in values.items() if value is not None}
    stack = Stack(parse_template(read_template("long-lived")), given)
    (created,) = [
        parameters
        for _, operation, parameters in stack.requests()
        if operation == "create_security_configuration"
    ]
    return created


def test_security_configuration_requires_imdsv2() -> None:
    created = created_security_configuration("")
    imds = json.loads(created["SecurityConfiguration"])["InstanceMetadataServiceConfiguration"]
    assert imds["MinimumInstanceMetadataServiceVersion"] == 2
    assert cluster()["SecurityConfiguration"] == created["Name"]


@pytest.mark.parametrize(("release", "hops"), [("emr-7.13.0", 2), ("emr-spark-8.0.0", 1)])
def test_metadata_hop_limit_admits_container_of_jupyterhub(release: str, hops: int) -> None:
    more = f'release = "{release}"'
    created = created_security_configuration(more)
    imds = json.loads(created["SecurityConfiguration"])["InstanceMetadataServiceConfiguration"]
    assert imds["HttpPutResponseHopLimit"] == hops
    # EMR cannot change a security configuration: another content needs another name.
    assert created["Name"].endswith("hops-2") == (hops == 2)
    assert cluster(more)["SecurityConfiguration"] == created["Name"]


def test_log_uri_and_driver_placement_on_core_nodes() -> None:
    assert cluster()["LogUri"] == "s3://fruits-log-123456789012/emr/"
    labels = properties(cluster(), "yarn-site")
    assert labels["yarn.node-labels.enabled"] == "true"
    assert labels["yarn.node-labels.am.default-node-label-expression"] == "CORE"


def test_private_subnet_has_service_access_group() -> None:
    assert (
        cluster(VARIANTS["private"])["Instances"]["ServiceAccessSecurityGroup"]
        == "${service.GroupId}"
    )
    assert cluster(VARIANTS["private"])["Instances"]["Ec2KeyName"] == "mine"
    assert not {"ServiceAccessSecurityGroup", "Ec2KeyName"} & set(cluster()["Instances"])


@pytest.mark.parametrize(
    "more", ["instances.core = 1", 'release = "emr-spark-8.0.0"', "limits.nodes = 20"]
)
def test_request_hash_depends_on_configuration(more: str) -> None:
    assert request_hash(cluster()) == request_hash(cluster())
    assert request_hash(cluster()) != request_hash(cluster(more))
    tags = {tag["Key"]: tag["Value"] for tag in cluster()["Tags"]}
    assert tags["pomona:request"] == request_hash(cluster())
    assert tags["for-use-with-amazon-emr-managed-policies"] == "true"


def test_keys_reach_logs_uploads_and_the_three_clients(tmp_path: Path) -> None:
    key = "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890a"
    more = f'encryption = {{data_key = "{key}1", log_key = "{key}2"}}\n'
    config_names = names(more)
    locations = UploadLocations(config_names, "v1")
    cluster = run_job_flow(config_names, locations)
    assert cluster["LogEncryptionKmsKeyId"] == f"{key}2"
    (defaults,) = [
        one["Properties"]
        for one in cluster["Configurations"]
        if one["Classification"] == "spark-defaults"
    ]
    bucket = f"spark.hadoop.fs.s3a.bucket.fruits-data-{ACCOUNT}.encryption"
    assert (defaults[f"{bucket}.algorithm"], defaults[f"{bucket}.key"]) == ("SSE-KMS", f"{key}1")
    step = ingest_step(config_names, locations)
    job = ingest_job(config_names, locations)
    arguments = (
        step["HadoopJarStep"]["Args"],
        job["jobDriver"]["sparkSubmit"]["sparkSubmitParameters"].split(),
    )
    for found, driver in zip(
        arguments, ("spark.yarn.appMasterEnv", "spark.emr-serverless.driverEnv"), strict=True
    ):
        assert f"{bucket}.key={key}1" in found
        for environment in (driver, "spark.executorEnv"):
            assert f"{environment}.AWS_SSE_KMS_KEY_ID={key}1" in found
    monitoring = job["configurationOverrides"]["monitoringConfiguration"]
    assert monitoring["s3MonitoringConfiguration"]["encryptionKeyArn"] == f"{key}2"
    requests = upload_requests(config_names, uploads(tmp_path))
    sent = [one.parameters for one in requests if one.operation == "put_object"]
    assert {one.get("SSEKMSKeyId") for one in sent} == {f"{key}1"}


KEY_OF_LOGS = f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"


def test_logs_with_a_key_are_only_in_the_log_bucket() -> None:
    """EMR otherwise keeps copies in its own storage, under its own key."""
    config_names = names(f'encryption.log_key = "{KEY_OF_LOGS}"\n')
    locations = UploadLocations(config_names, "v1")
    request = run_job_flow(config_names, locations)
    assert validation_errors("emr", "run_job_flow", request) == ""
    policies = request["MonitoringConfiguration"]["S3LoggingConfiguration"]["LogTypeUploadPolicy"]
    assert policies == {
        "system-logs": "on-customer-s3only",
        "application-logs": "on-customer-s3only",
        "persistent-ui-logs": "disabled",
    }
    job = ingest_job(config_names, locations)
    assert validation_errors("emr-serverless", "start_job_run", job) == ""
    monitoring = job["configurationOverrides"]["monitoringConfiguration"]
    assert monitoring["managedPersistenceMonitoringConfiguration"] == {"enabled": False}
    assert "MonitoringConfiguration" not in cluster()
    job = ingest_job(names(), locations)
    assert {*job["configurationOverrides"]["monitoringConfiguration"]} == {
        "s3MonitoringConfiguration"
    }


def test_clone_keeps_where_logs_are() -> None:
    monitoring = {"S3LoggingConfiguration": {"LogTypeUploadPolicy": {"system-logs": "disabled"}}}
    described = {
        "Id": "j-1",
        "Name": "fruits",
        "Ec2InstanceAttributes": {},
        "MonitoringConfiguration": monitoring,
    }
    lists = ("BootstrapActions", "InstanceGroups")

    def read(*_: Any) -> dict[str, Any]:
        return {name: [] for name in lists}

    assert request_from_cluster(read, described)["MonitoringConfiguration"] == monitoring


def test_tags_of_the_configuration_are_those_of_cluster_jobs_and_stack() -> None:
    more = '[tags]\nteam = "a"\n"cost:center" = ""\n'
    config_names = names(more)
    own = {"pomona": "fruits", "team": "a", "cost:center": ""}
    locations = UploadLocations(config_names, "v1")
    tags = {one["Key"]: one["Value"] for one in run_job_flow(config_names, locations)["Tags"]}
    assert own.items() <= tags.items()
    assert ingest_job(config_names, locations)["tags"] == own
    assert {one["Key"]: one["Value"] for one in config_names.tag_list} == own
    # The tags of an existing cluster do not decide whether it is the same.
    assert (
        request_hash(run_job_flow(names(), UploadLocations(names(), "v1")))
        == tags["pomona:request"]
    )


def test_hour_limit_terminates_the_cluster_of_this_up() -> None:
    config_names = names("limits.hours = 12\n")
    requests = cluster_requests(config_names, UploadLocations(config_names, "v1"))
    limit = requests[-1]
    start = datetime.datetime.strptime(
        limit.parameters["ScheduleExpression"], "at(%Y-%m-%dT%H:%M:%S)"
    )
    hours = start.replace(tzinfo=datetime.UTC) - datetime.datetime.now(datetime.UTC)
    assert 11.9 < hours.total_seconds() / 3600 <= 12
    assert limit.parameters["ActionAfterCompletion"] == "DELETE"
    sent = SentRequest("scheduler", "create_schedule", limit.parameters)
    assert scheduled_request(sent) == [
        SentRequest("emr", "terminate_job_flows", {"JobFlowIds": ["${cluster.JobFlowId}"]})
    ]
    assert validation_errors("scheduler", "create_schedule", limit.parameters) == ""
    # The schedule of an earlier cluster is replaced.
    earlier = {
        **limit.parameters,
        "Target": {**limit.parameters["Target"], "Input": '{"JobFlowIds": ["j-0"]}'},
    }
    found = limit.find_current(lambda *_: earlier)
    assert found is not None
    assert differences(found.current, limit.desired)
    assert differences(limit.parameters, limit.desired) == []
    assert not [
        one
        for one in cluster_requests(names(), UploadLocations(names(), "v1"))
        if one.service == "scheduler"
    ]
    serverless = names('limits.hours = 12\nmode = "serverless"\n')
    locations = UploadLocations(serverless, "v1")
    refit = start_job_run(serverless, locations, "refit", refit_arguments(serverless))
    for job in (ingest_job(serverless, locations), refit):
        assert job["executionTimeoutMinutes"] == 720
