"""Tests for `bootstrap.deploy.wait`: the states of EMR until a cluster or a job is usable, and reasons of failures."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from bootstrap.deploy import wait
from bootstrap.deploy.wait import previous_failure, wait_until_usable
from bootstrap.errors import CloudError
from support.aws.cluster_configs import names
from support.fake_clock import FakeClock

SERVERLESS = names('mode = "serverless"\n')
BOOTSTRAP_FAILURE = {
    "State": "TERMINATED_WITH_ERRORS",
    "StateChangeReason": {
        "Code": "BOOTSTRAP_FAILURE",
        "Message": "On the primary instance (i-1), bootstrap action 1 returned a non-zero\n return code",
    },
    "ErrorDetails": [{"ErrorCode": "BOOTSTRAP_FAILURE_BA", "ErrorMessage": "See stderr."}],
}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    fake = FakeClock()
    monkeypatch.setattr(wait, "time", fake)
    return fake


def cluster(status: Any) -> dict[str, Any]:
    timeline = {"Timeline": {"CreationDateTime": "2026-11-01"}}
    status = (status if isinstance(status, dict) else {"State": status}) | timeline
    return {"Id": "j-1", "Name": "fruits", "LogUri": "s3n://logs/emr/", "Status": status}


def emr(*statuses: Any) -> Any:
    """Return an account whose cluster has these states, one after the other."""
    remaining = list(statuses)

    def read(_service: str, operation: str, parameters: Any, *_: Any) -> Any:
        if operation == "list_clusters":
            listed = cluster(remaining[0])
            states = parameters.get("ClusterStates", [listed["Status"]["State"]])
            return {"Clusters": [listed] if listed["Status"]["State"] in states else []}
        return {"Cluster": cluster(remaining.pop(0) if len(remaining) > 1 else remaining[0])}

    return SimpleNamespace(read=read, values={"cluster.JobFlowId": "j-1"})


def emr_serverless(*states: str, details: str = "") -> Any:
    """Return an account whose ingestion job has these states, one after the other."""
    remaining = list(states)

    def read(_service: str, operation: str, _parameters: Any, *_: Any) -> Any:
        if operation == "list_applications":
            return {"applications": [{"id": "a1", "name": "fruits"}]}
        state = remaining.pop(0) if len(remaining) > 1 else remaining[0]
        job = {"id": "r1", "name": "fruits-ingest", "state": state, "stateDetails": details}
        if operation == "get_job_run":
            return {"jobRun": {"jobRunId": "r1", **job}}
        refit = job | {"id": "r2", "name": "fruits-refit", "state": "RUNNING"}
        return {"jobRuns": [refit, job] if state else []}

    return SimpleNamespace(
        read=read, values={"application.applicationId": "a1", "job.jobRunId": "r1"}
    )


@pytest.mark.parametrize(
    ("config", "account", "state", "reported"),
    [
        (names(), emr("WAITING"), "WAITING", []),
        (
            names(),
            emr("STARTING", "BOOTSTRAPPING", "RUNNING"),
            "RUNNING",
            ["cluster j-1: STARTING", "cluster j-1: BOOTSTRAPPING"],
        ),
        (
            SERVERLESS,
            emr_serverless("SUBMITTED", "SCHEDULED", "RUNNING"),
            "RUNNING",
            ["job r1: SUBMITTED", "job r1: SCHEDULED"],
        ),
        (SERVERLESS, emr_serverless("SUCCESS"), "SUCCESS", []),
    ],
)
def test_wait_reports_states_until_usable(
    config: Any, account: Any, state: str, reported: list[str], clock: FakeClock
) -> None:
    reports: list[str] = []
    assert wait_until_usable(config, account, reports.append) == state
    assert reports == reported
    assert clock.waits == [wait.POLL_INTERVAL] * len(reported)


@pytest.mark.parametrize(
    ("config", "account", "message"),
    [
        (
            names(),
            emr("STARTING", BOOTSTRAP_FAILURE),
            "cluster j-1 failed: BOOTSTRAP_FAILURE: On the primary instance (i-1), bootstrap action 1 returned a "
            "non-zero return code; BOOTSTRAP_FAILURE_BA: See stderr.; logs: s3://logs/emr/j-1/; correct the cause",
        ),
        (
            names(),
            emr({**BOOTSTRAP_FAILURE, "State": "TERMINATING"}),
            "cluster j-1 failed: BOOTSTRAP_FAILURE: ",
        ),
        (names(), emr("TERMINATED_WITH_ERRORS"), "cluster j-1 failed: EMR gives no reason; logs"),
        (names(), emr("STARTING", "TERMINATED"), "cluster j-1 was terminated while it started"),
        (
            SERVERLESS,
            emr_serverless("PENDING", "FAILED", details="Job failed:\n no such image"),
            "job r1 is FAILED: Job failed: no such image; correct the cause",
        ),
        (SERVERLESS, emr_serverless("CANCELLED"), "job r1 is CANCELLED: AWS gives no reason"),
        (names(), emr("STARTING"), "cluster j-1 is still STARTING after 45 minutes"),
    ],
)
def test_failure_is_reported_in_one_line_with_aws_reason(
    config: Any, account: Any, message: str, clock: FakeClock
) -> None:
    with pytest.raises(CloudError) as caught:
        wait_until_usable(config, account, lambda _: None)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "account", "failure"),
    [
        (names(), emr("STARTING"), None),
        (names(), emr("TERMINATED"), None),
        (
            names(),
            emr({"State": "TERMINATING", "StateChangeReason": {"Code": "USER_REQUEST"}}),
            None,
        ),
        (names(), emr(BOOTSTRAP_FAILURE), "cluster j-1 failed: BOOTSTRAP_FAILURE"),
        (names(), emr({**BOOTSTRAP_FAILURE, "State": "TERMINATING"}), "cluster j-1 failed: "),
        (SERVERLESS, emr_serverless("RUNNING"), None),
        (SERVERLESS, emr_serverless(""), None),
        (SERVERLESS, emr_serverless("FAILED", details="no space"), "job r1 is FAILED: no space"),
    ],
)
def test_previous_failure_is_that_of_the_last_cluster_or_job(
    config: Any, account: Any, failure: str | None
) -> None:
    found = previous_failure(config, account.read)
    assert (found or "").startswith(failure or "")
    assert bool(found) == bool(failure)
