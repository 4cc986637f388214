"""Tests for `bootstrap.resources.serverless`: application, ingestion job and limits."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bootstrap.errors import ConfigError
from bootstrap.resources.schedule import create_schedule
from bootstrap.resources.serverless import create_application, ingest_job
from bootstrap.resources.uploads import UploadLocations
from support.aws.cluster_configs import VARIANTS, names


def job(variant: str, more: str = "") -> dict[str, Any]:
    config_names = names(VARIANTS[variant] + more)
    return ingest_job(config_names, UploadLocations(config_names, "v1"))


def settings(job: dict[str, Any]) -> dict[str, str]:
    args = job["jobDriver"]["sparkSubmit"]["sparkSubmitParameters"].split()
    assert args[::2] == ["--conf"] * (len(args) // 2)
    return dict(arg.split("=", 1) for arg in args[1::2])


def test_streaming_job_restarts_and_has_no_timeout() -> None:
    stream = job("serverless", "ingest.restarts_an_hour = 3")
    assert stream["mode"] == "STREAMING"
    assert stream["retryPolicy"] == {"maxFailedAttemptsPerHour": 3}
    assert stream["executionTimeoutMinutes"] == 0  # no timeout; the default is 12 hours
    once = job("serverless once")
    assert once["mode"] == "BATCH"
    assert once["jobDriver"]["sparkSubmit"]["entryPointArguments"][-1] == "--once"


def test_environment_is_spark_archive() -> None:
    conf = settings(job("serverless"))
    folder = "s3://fruits-data-123456789012/pomona/v1"
    assert conf["spark.archives"] == f"{folder}/environment.tar.gz#environment"
    assert {value for key, value in conf.items() if key.lower().endswith("python")} == {
        "./environment/bin/python"
    }
    assert conf["spark.jars"].endswith(f"{folder}/fenced-log-store.jar")
    assert conf["spark.submit.pyFiles"] == conf["spark.jars"].split(",")[0]
    assert job("serverless")["jobDriver"]["sparkSubmit"]["entryPoint"] == f"{folder}/submit.py"


def test_region_reaches_driver_executors_and_s3a() -> None:
    conf = settings(job("serverless"))
    assert conf["spark.hadoop.fs.s3a.endpoint.region"] == "eu-west-1"
    for prefix in ("spark.emr-serverless.driverEnv", "spark.executorEnv"):
        for variable in ("AWS_REGION", "AWS_DEFAULT_REGION"):
            assert conf[f"{prefix}.{variable}"] == "eu-west-1"


def test_capacity_equals_node_limit() -> None:
    application = create_application(
        names(VARIANTS["serverless"] + "limits = {nodes = 5, idle_minutes = 20}")
    )
    assert application["maximumCapacity"] == {"cpu": "20 vCPU", "memory": "80 GB"}
    assert application["autoStopConfiguration"] == {"enabled": True, "idleTimeoutMinutes": 20}


@pytest.mark.parametrize(
    ("schedule", "minimum", "jobs"), [('"rate(1 hour)"', 3, 2), ('"never"', 2, 1)]
)
@pytest.mark.parametrize("more", [0, 3])
def test_jobs_at_their_maximum_leave_each_other_an_executor(
    schedule: str, minimum: int, jobs: int, more: int
) -> None:
    config = f"refit.schedule = {schedule}\ninstances.core = 1\nlimits.core = 1\n"
    config += f"limits.nodes = {minimum + more}\n"
    capacity = 4 * (minimum + more)
    conf = settings(job("serverless", config))
    driver, executor = int(conf["spark.driver.cores"]), int(conf["spark.executor.cores"])
    maximum = int(conf["spark.dynamicAllocation.maxExecutors"])
    used = driver + maximum * executor + (jobs - 1) * (driver + executor)
    assert capacity - executor < used <= capacity
    # Spark ends a job that would start with more executors than its maximum; EMR Serverless starts with 3.
    for key in ("spark.dynamicAllocation.initialExecutors", "spark.executor.instances"):
        assert int(conf[key]) <= maximum
    with pytest.raises(ConfigError, match=rf"it must be {minimum} or more: driver and executor"):
        job("serverless", config.replace(f"nodes = {minimum + more}", f"nodes = {minimum - 1}"))


@pytest.mark.parametrize(("more", "minutes"), [("", 720), ("limits.hours = 30", 1800)])
def test_refit_has_timeout(more: str, minutes: int) -> None:
    config_names = names(VARIANTS["serverless"] + more)
    schedule = create_schedule(config_names, UploadLocations(config_names, "v1"), "rate(1 hour)")
    assert json.loads(schedule["Target"]["Input"])["ExecutionTimeoutMinutes"] == minutes


def test_log_uri_is_in_log_bucket() -> None:
    monitoring = job("serverless")["configurationOverrides"]["monitoringConfiguration"]
    assert monitoring["s3MonitoringConfiguration"]["logUri"] == "s3://fruits-log-123456789012/emr/"
