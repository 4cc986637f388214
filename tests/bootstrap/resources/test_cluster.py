"""Tests for the cluster's request: what EMR's guide asks for, as data."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bootstrap.resources.cluster import request_hash, run_job_flow
from bootstrap.resources.cluster_requests import cluster_requests
from bootstrap.resources.steps import ingest_step, refit_step
from bootstrap.resources.uploads import UploadLocations
from support.cluster_configs import VARIANTS, names, parameters


def cluster(more: str = "") -> dict[str, Any]:
    found = names(more)
    return run_job_flow(found, UploadLocations(found, "v1"))


def step(more: str = "", *, refit: bool = False) -> dict[str, Any]:
    found = names(more)
    return (refit_step if refit else ingest_step)(found, UploadLocations(found, "v1"))


def settings(step: dict[str, Any]) -> dict[str, str]:
    """What ``--conf`` sets."""
    words = step["HadoopJarStep"]["Args"]
    told = [words[n + 1] for n, word in enumerate(words) if word == "--conf"]
    return dict(one.split("=", 1) for one in told)


def properties(request: dict[str, Any], classification: str) -> dict[str, str]:
    found = {one["Classification"]: one["Properties"] for one in request["Configurations"]}
    return dict(found[classification])


def test_nodes_have_4_cpus_and_16_gb_unless_said_otherwise() -> None:
    groups = {one["InstanceRole"]: one for one in cluster()["Instances"]["InstanceGroups"]}
    assert {one["InstanceType"] for one in groups.values()} == {"m5.xlarge"}
    assert {role: one["Market"] for role, one in groups.items()} == {
        "MASTER": "ON_DEMAND",
        "CORE": "ON_DEMAND",
        "TASK": "SPOT",
    }
    assert groups["CORE"]["InstanceCount"] == 2


def test_it_scales_between_its_core_nodes_and_its_limits() -> None:
    limits = cluster("limits = {nodes = 9, core = 3}")["ManagedScalingPolicy"]["ComputeLimits"]
    assert limits == {
        "UnitType": "Instances",
        "MinimumCapacityUnits": 2,
        "MaximumCapacityUnits": 9,
        "MaximumOnDemandCapacityUnits": 3,
        "MaximumCoreCapacityUnits": 3,
    }


def test_a_refit_finds_a_place_beside_an_endless_step() -> None:
    request = cluster()
    assert request["StepConcurrencyLevel"] >= 2
    assert "AutoTerminationPolicy" not in request
    for one in (step(), step(refit=True)):
        assert one["ActionOnFailure"] == "CONTINUE"
    assert int(settings(step())["spark.dynamicAllocation.maxExecutors"]) == 14  # of 16 that fit


def test_a_cluster_that_takes_what_is_there_ends_by_itself() -> None:
    request = cluster(VARIANTS["once"] + "limits.idle_minutes = 5")
    assert request["AutoTerminationPolicy"] == {"IdleTimeout": 300}
    assert request["StepConcurrencyLevel"] == 1  # the refit waits for the ingestion
    found = cluster_requests(
        names(VARIANTS["once"]), UploadLocations(names(VARIANTS["once"]), "v1")
    )
    steps = [r.parameters["Steps"][0]["Name"] for r in found if r.operation == "add_job_flow_steps"]
    assert steps == ["fruits-ingest", "fruits-refit"]
    assert step(VARIANTS["once"])["HadoopJarStep"]["Args"][-1] == "--once"


def test_yarn_starts_the_stream_again_as_often_as_it_grants() -> None:
    more = "ingest.restarts_an_hour = 7"
    told = settings(step(more))
    assert told["spark.yarn.maxAppAttempts"] == "7"
    assert told["spark.yarn.am.attemptFailuresValidityInterval"] == "1h"
    granted = properties(cluster(more), "yarn-site")["yarn.resourcemanager.am.max-attempts"]
    assert int(granted) >= 7
    assert settings(step(refit=True))["spark.yarn.maxAppAttempts"] == "1"


def test_the_step_runs_in_cluster_mode_with_the_environment_and_the_releases_own_delta() -> None:
    words = step()["HadoopJarStep"]["Args"]
    assert step()["HadoopJarStep"]["Jar"] == "command-runner.jar"
    assert words[:3] == ["spark-submit", "--deploy-mode", "cluster"]
    bucket = "s3://fruits-data-123456789012"
    assert words[words.index(f"{bucket}/pomona/v1/submit.py") :] == [
        f"{bucket}/pomona/v1/submit.py",
        "ingest",
        f"{bucket}/images/",
        f"{bucket}/lake",
    ]
    told = settings(step())
    assert told["spark.pyspark.python"] == "/opt/pomona/bin/python"
    assert told["spark.delta.logStore.s3a.impl"] == "pomona.delta.FencedLogStore"
    *delta, fence = told["spark.jars"].split(",")
    assert fence == f"{bucket}/pomona/v1/fenced-log-store.jar"
    assert all(jar.startswith("local:///usr/share/aws/delta/lib/") for jar in delta)
    assert told["spark.submit.pyFiles"] == delta[0]
    assert properties(cluster(), "delta-defaults") == {"delta.enabled": "true"}
    for request in (cluster(), step()):
        assert "packages" not in json.dumps(request)
        assert "pyspark==" not in json.dumps(request)


def test_each_node_unpacks_the_environment_from_the_data_bucket() -> None:
    (action,) = cluster()["BootstrapActions"]
    folder = "s3://fruits-data-123456789012/pomona/v1"
    assert action["ScriptBootstrapAction"] == {
        "Path": f"{folder}/bootstrap_emr.sh",
        "Args": [f"{folder}/environment.tar.gz"],
    }


def test_jupyterhub_is_where_the_release_has_it() -> None:
    for release, has, lacks in (
        ("emr-7.13.0", "JupyterHub", "JupyterEnterpriseGateway"),
        ("emr-spark-8.0.0", "JupyterEnterpriseGateway", "JupyterHub"),
    ):
        request = cluster(f'release = "{release}"')
        assert request["ReleaseLabel"] == release
        applications = {one["Name"] for one in request["Applications"]}
        assert {"Spark", "Livy", has} <= applications
        assert lacks not in applications
    kept = properties(cluster(), "jupyter-s3-conf")
    assert kept["s3.persistence.bucket"] == "fruits-data-123456789012"


def test_nodes_answer_by_version_2_of_the_metadata_service_alone() -> None:
    found = cluster_requests(names(), UploadLocations(names(), "v1"))
    made = parameters(found, "create_security_configuration")
    told = json.loads(made["SecurityConfiguration"])["InstanceMetadataServiceConfiguration"]
    assert told["MinimumInstanceMetadataServiceVersion"] == 2
    assert cluster()["SecurityConfiguration"] == made["Name"]


def test_logs_go_to_the_log_bucket_and_drivers_stay_off_spot_nodes() -> None:
    assert cluster()["LogUri"] == "s3://fruits-log-123456789012/emr/"
    labels = properties(cluster(), "yarn-site")
    assert labels["yarn.node-labels.enabled"] == "true"
    assert labels["yarn.node-labels.am.default-node-label-expression"] == "CORE"


def test_a_private_subnet_gets_the_group_that_emr_needs_there() -> None:
    assert (
        cluster(VARIANTS["private"])["Instances"]["ServiceAccessSecurityGroup"]
        == "${service.GroupId}"
    )
    assert cluster(VARIANTS["private"])["Instances"]["Ec2KeyName"] == "mine"
    assert not {"ServiceAccessSecurityGroup", "Ec2KeyName"} & set(cluster()["Instances"])


@pytest.mark.parametrize(
    "more", ["instances.core = 1", 'release = "emr-spark-8.0.0"', "limits.nodes = 20"]
)
def test_the_hash_tells_clusters_apart_and_the_same_one_from_none(more: str) -> None:
    assert request_hash(cluster()) == request_hash(cluster())
    assert request_hash(cluster()) != request_hash(cluster(more))
    tags = {tag["Key"]: tag["Value"] for tag in cluster()["Tags"]}
    assert tags["pomona:request"] == request_hash(cluster())
    assert tags["for-use-with-amazon-emr-managed-policies"] == "true"
