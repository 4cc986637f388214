"""Tests for `pomona cloud logs` with logs at the keys that the EMR documentation describes."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

import pomona.cloud.logs as pomona_logs
from bootstrap.monitor.logs import decompress
from support.aws.account import ACCOUNT, ADMIN, READ_ACTIONS, REGION, MotoAccount
from support.aws.workspace import write_config
from support.processes.cli import Command

pytestmark = pytest.mark.slow
pytest_plugins = ["support.aws.fixtures"]

LOG = f"fruits-log-{ACCOUNT}"
APPLICATION = "application_1764000000000_0001"


class Logs:
    """Clusters and jobs in a moto account, and the bucket to which EMR writes logs."""

    def __init__(self, account: MotoAccount) -> None:
        self.s3, self.emr = account.client("s3", ADMIN), account.client("emr", ADMIN)
        self.serverless = account.client("emr-serverless", ADMIN)
        self.s3.create_bucket(Bucket=LOG, CreateBucketConfiguration={"LocationConstraint": REGION})

    def cluster(self, *names: str) -> tuple[str, list[str]]:
        """Create a cluster with these steps, in this order; return its id and those of the steps."""
        instances = {"KeepJobFlowAliveWhenNoSteps": True, "InstanceCount": 1}
        cluster = self.emr.run_job_flow(Name="fruits", Instances=instances)["JobFlowId"]
        ids = []
        for name in names:
            step = {"Name": name, "HadoopJarStep": {"Jar": "command-runner.jar"}}
            ids += self.emr.add_job_flow_steps(JobFlowId=cluster, Steps=[step])["StepIds"]
        return cluster, ids

    def job(self, name: str) -> str:
        """Start a job of EMR Serverless; return the prefix of its logs."""
        found = self.serverless.list_applications()["applications"]
        application = (
            found[0]["id"]
            if found
            else self.serverless.create_application(
                name="fruits", releaseLabel="emr-7.13.0", type="SPARK"
            )["applicationId"]
        )
        role = f"arn:aws:iam::{ACCOUNT}:role/fruits-job"
        job = self.serverless.start_job_run(
            applicationId=application, name=name, executionRoleArn=role
        )
        self.job_ids = {"applicationId": application, "jobRunId": job["jobRunId"]}
        return f"emr/applications/{application}/jobs/{job['jobRunId']}/"

    def put(self, key: str, text: str | bytes) -> None:
        content = text if isinstance(text, bytes) else gzip.compress(text.encode())
        self.s3.put_object(Bucket=LOG, Key=key, Body=content)


@pytest.fixture
def logged(account: MotoAccount, workspace: Path) -> Logs:
    return Logs(account)


def test_logs_of_step_and_driver(pomona: Command, logged: Logs) -> None:
    cluster, (ingest, refit) = logged.cluster("fruits-ingest", "fruits-refit")
    steps, containers = f"emr/{cluster}/steps/", f"emr/{cluster}/containers/"
    logged.put(f"{steps}{ingest}/controller.gz", "started\n")
    logged.put(f"{steps}{ingest}/stderr.gz", f"INFO Submitted application {APPLICATION}\n")
    logged.put(f"{steps}{refit}/stderr.gz", "of the refit\n")
    for container, text in (
        ("container_1764000000000_0001_01_000001", "first attempt\n"),
        ("container_e07_1764000000000_0001_02_000001", "first attempt\nsecond attempt\n"),
        ("container_1764000000000_0001_01_000002", "an executor\n"),
    ):
        logged.put(f"{containers}{APPLICATION}/{container}/stdout.gz", text)
    other = f"{containers}application_1764000000000_0002/container_1764000000000_0002_01_000001/"
    logged.put(f"{other}stdout.gz", "other application\n")
    logged.put(f"emr/{cluster}/node/i-1/daemons/instance-state/log.gz", "a node\n")
    answer = pomona("cloud", "logs", "--json").json
    logs = [(Path(one["uri"]).parent.name, one["lines"]) for one in answer["logs"]]
    assert logs == [
        (ingest, ["started"]),
        (ingest, [f"INFO Submitted application {APPLICATION}"]),
        ("container_1764000000000_0001_01_000001", ["first attempt"]),
        ("container_e07_1764000000000_0001_02_000001", ["first attempt", "second attempt"]),
    ]
    assert answer["logs"][0]["uri"] == f"s3://{LOG}/{steps}{ingest}/controller.gz"
    driver = pomona("cloud", "logs", "--part", "driver").out
    assert "second attempt" in driver
    assert "started" not in driver
    assert "attempt" not in pomona("cloud", "logs", "--part", "step").out
    for name in ("refit", "fruits-refit", refit):
        assert "of the refit" in pomona("cloud", "logs", name).out
    error = pomona("cloud", "logs", "train").error_line
    assert error.endswith("no step or job train; there are: fruits-ingest, fruits-refit")


def test_logs_of_terminated_cluster(pomona: Command, logged: Logs) -> None:
    cluster, (ingest,) = logged.cluster("fruits-ingest")
    logged.put(f"emr/{cluster}/steps/{ingest}/stderr.gz", "last line, without a newline")
    logged.emr.terminate_job_flows(JobFlowIds=[cluster])
    assert "last line, without a newline" in pomona("cloud", "logs").out
    newer, (ingest,) = logged.cluster("fruits-ingest")
    logged.put(f"emr/{newer}/steps/{ingest}/stderr.gz", "of the newer cluster\n")
    assert "of the newer cluster" in pomona("cloud", "logs").out
    assert "last line" in pomona("cloud", "logs", "--cluster", cluster).out
    assert "no cluster j-NONE" in pomona("cloud", "logs", "--cluster", "j-NONE").error_line


def test_logs_of_serverless_job(pomona: Command, logged: Logs, workspace: Path) -> None:
    write_config(workspace, 'mode = "serverless"\n')
    logs = logged.job("fruits-ingest")
    for key, text in (
        ("SPARK_DRIVER/stderr.gz", "newest\n"),
        ("attempts/1/SPARK_DRIVER/stdout.gz", "of an attempt\n"),
        ("SPARK_EXECUTOR/1/stderr.gz", "an executor\n"),
    ):
        logged.put(logs + key, text)
    answer = pomona("cloud", "logs", "--json").json
    assert sorted(one["lines"][0] for one in answer["logs"]) == ["newest", "of an attempt"]
    assert answer["state"] == "RUNNING"


def test_lines_option_limits_the_output(pomona: Command, logged: Logs) -> None:
    cluster, (ingest,) = logged.cluster("fruits-ingest")
    lines = [f"line {n}" for n in range(250)]
    logged.put(f"emr/{cluster}/steps/{ingest}/stderr.gz", "\n".join(lines) + "\n")

    def log_lines(*options: object) -> list[str]:
        (one,) = pomona("cloud", "logs", "--json", *options).json["logs"]
        return list(one["lines"])

    assert log_lines() == lines[-100:]
    assert log_lines("--lines", 3) == lines[-3:]
    assert log_lines("--lines", 0) == lines


def follow(pomona: Command, patch: pytest.MonkeyPatch, *events: Any) -> list[str]:
    """Return the lines that `--follow` prints while these functions run, one in each polling interval."""
    pending = [*events]
    patch.setattr(pomona_logs, "sleep", lambda _seconds: pending.pop(0)())
    done = pomona("cloud", "logs", "--follow")
    assert (done.status, done.err, pending) == (0, "", [])
    return [line for line in done.out.splitlines()[1:] if not line.startswith("== ")]


def test_follow_prints_each_line_once(
    pomona: Command, logged: Logs, monkeypatch: pytest.MonkeyPatch, workspace: Path
) -> None:
    write_config(workspace, 'mode = "serverless"\n')
    logs = logged.job("fruits-ingest")
    current, archived = f"{logs}SPARK_DRIVER/stderr.gz", f"{logs}SPARK_DRIVER/archived/stderr_0.gz"

    def rotate() -> None:
        logged.put(archived, "one\ntwo\nthree\nfour\nfive\n")
        logged.put(current, "six\n")

    def end() -> None:
        logged.serverless.cancel_job_run(**logged.job_ids)

    lines = follow(
        pomona,
        monkeypatch,
        lambda: logged.put(current, "one\ntwo\nthr"),
        lambda: logged.put(current, "one\ntwo\nthree\n"),
        lambda: None,
        rotate,
        end,
        lambda: logged.put(current, "six\nseven\nlast line"),
    )
    assert lines[:-1] == ["one", "two", "three", "four", "five", "six", "seven", "last line"]
    assert lines[-1].endswith("has finished")


def test_follow_ends_with_ctrl_c(
    pomona: Command, logged: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster, (ingest,) = logged.cluster("fruits-ingest")
    logged.put(f"emr/{cluster}/steps/{ingest}/stderr.gz", "so far\n")

    def interrupt() -> None:
        raise KeyboardInterrupt

    assert follow(pomona, monkeypatch, interrupt) == ["so far"]


def test_follow_starts_before_logs_exist(
    pomona: Command, logged: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    from moto.emr.models import emr_backends

    cluster, (ingest,) = logged.cluster("fruits-ingest")
    logged.s3.delete_bucket(Bucket=LOG)

    def begin() -> None:
        logged.s3.create_bucket(
            Bucket=LOG, CreateBucketConfiguration={"LocationConstraint": REGION}
        )
        logged.put(f"emr/{cluster}/steps/{ingest}/stderr.gz", f"Submitted {APPLICATION}\n")

    def start_driver() -> None:
        container = (
            f"emr/{cluster}/containers/{APPLICATION}/container_1764000000000_0001_01_000001/"
        )
        logged.put(f"{container}stderr.gz", "a micro-batch\n")

    def end() -> None:
        (found,) = [one for one in emr_backends[ACCOUNT].values() if cluster in one.clusters]
        found.clusters[cluster].steps[0].state = "FAILED"

    lines = follow(pomona, monkeypatch, begin, start_driver, end, lambda: None)
    assert lines[:-1] == [f"Submitted {APPLICATION}", "a micro-batch"]


def test_missing_logs_are_reported(
    pomona: Command,
    logged: Logs,
    account: MotoAccount,
    monkeypatch: pytest.MonkeyPatch,
    workspace: Path,
) -> None:
    assert "no cluster fruits: `pomona cloud up` creates one" in pomona("cloud", "logs").error_line
    logged.cluster("fruits-ingest")
    done = pomona("cloud", "logs")
    assert done.status == 1
    assert f"no logs of fruits-ingest below s3://{LOG}/emr/" in done.err
    assert "--follow waits for them" in done.err
    write_config(workspace, 'mode = "serverless"\n')
    assert "no application fruits" in pomona("cloud", "logs").error_line
    for options in (("--part", "all of it"), ("--lines", "-1"), ("--follow", "--json")):
        assert pomona("cloud", "logs", *options).status == 2


def test_logs_need_only_read_permissions(
    pomona: Command, logged: Logs, account: MotoAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster, (ingest,) = logged.cluster("fruits-ingest")
    logged.put(f"emr/{cluster}/steps/{ingest}/stderr.gz", "read\n")
    for name, value in account.create_caller("reader", *READ_ACTIONS).items():
        monkeypatch.setenv(name, value)
    account.enforce_iam()
    assert "read" in pomona("cloud", "logs").out


def test_decompress_reads_multiple_and_truncated_members() -> None:
    whole = gzip.compress(b"one\n") + gzip.compress(b"two\n")
    assert decompress(whole) == b"one\ntwo\n"
    long = gzip.compress(bytes(range(256)) * 4000, compresslevel=0)
    half = decompress(gzip.compress(b"one\n") + long[: len(long) // 2])
    assert half.startswith(b"one\n\x00\x01\x02")
    assert decompress(b"plain\n") == b"plain\n"
    assert decompress(b"") == b""
