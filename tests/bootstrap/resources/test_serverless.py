"""Tests for the way without nodes: application, endless job, limits."""

from __future__ import annotations

from typing import Any

from bootstrap.resources.serverless import create_application, ingest_job, normalize_application
from bootstrap.resources.uploads import UploadLocations
from support.cluster_configs import VARIANTS, names


def job(kind: str, more: str = "") -> dict[str, Any]:
    found = names(VARIANTS[kind] + more)
    return ingest_job(found, UploadLocations(found, "v1"))


def settings(job: dict[str, Any]) -> dict[str, str]:
    words = job["jobDriver"]["sparkSubmit"]["sparkSubmitParameters"].split()
    assert words[::2] == ["--conf"] * (len(words) // 2)
    return dict(word.split("=", 1) for word in words[1::2])


def test_a_stream_is_started_again_and_has_no_end() -> None:
    made = job("serverless", "ingest.restarts_an_hour = 3")
    assert made["mode"] == "STREAMING"
    assert made["retryPolicy"] == {"maxFailedAttemptsPerHour": 3}
    assert made["executionTimeoutMinutes"] == 0  # none: the default ends a job after 12 hours
    once = job("serverless once")
    assert once["mode"] == "BATCH"
    assert once["jobDriver"]["sparkSubmit"]["entryPointArguments"][-1] == "--once"


def test_the_environment_comes_along_as_an_archive() -> None:
    told = settings(job("serverless"))
    folder = "s3://fruits-data-123456789012/pomona/v1"
    assert told["spark.archives"] == f"{folder}/environment.tar.gz#environment"
    assert {value for key, value in told.items() if key.lower().endswith("python")} == {
        "./environment/bin/python"
    }
    assert told["spark.jars"].endswith(f"{folder}/fenced-log-store.jar")
    assert told["spark.submit.pyFiles"] == told["spark.jars"].split(",")[0]
    assert job("serverless")["jobDriver"]["sparkSubmit"]["entryPoint"] == f"{folder}/submit.py"


def test_its_limits_are_those_of_as_many_nodes() -> None:
    made = create_application(
        names(VARIANTS["serverless"] + "limits = {nodes = 5, idle_minutes = 20}")
    )
    assert made["maximumCapacity"] == {"cpu": "20 vCPU", "memory": "80 GB"}
    assert made["autoStopConfiguration"] == {"enabled": True, "idleTimeoutMinutes": 20}
    told = settings(job("serverless", "limits.nodes = 5"))
    assert told["spark.dynamicAllocation.maxExecutors"] == "4"  # the fifth is for a refit


def test_logs_go_to_the_log_bucket() -> None:
    monitoring = job("serverless")["configurationOverrides"]["monitoringConfiguration"]
    assert monitoring["s3MonitoringConfiguration"]["logUri"] == "s3://fruits-log-123456789012/emr/"


def test_limits_are_compared_as_numbers_however_they_are_written() -> None:
    asked = create_application(names(VARIANTS["serverless"]))
    limits = asked["maximumCapacity"]
    for written in (
        {unit: limit.replace(" ", "") for unit, limit in limits.items()},
        {unit: limit.replace(" ", ".0 ").lower() for unit, limit in limits.items()},
    ):
        assert normalize_application(
            asked | {"maximumCapacity": written, "id": "x"}
        ) == normalize_application(asked)
    more = limits | {"cpu": "1000 vCPU"}
    assert normalize_application(asked | {"maximumCapacity": more}) != normalize_application(asked)
