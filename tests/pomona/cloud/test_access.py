"""Tests for the roles, with IAM enforced: each call that a role needs works, and each similar call is denied."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from bootstrap.aws.client import Account
from bootstrap.aws.request import resolve_references
from bootstrap.deploy.plan import all_requests, up
from bootstrap.resources.iam_policies import policy_document, scheduler_policy
from support.aws_account import ACCOUNT, ADMIN, REGION, MotoAccount, serve
from support.cluster_configs import VARIANTS, names, uploads

pytestmark = pytest.mark.slow

DATA, LOG = f"fruits-data-{ACCOUNT}", f"fruits-log-{ACCOUNT}"
KEYS = {
    DATA: ("images/Fig/a.jpg", "lake/features/a.parquet", "pomona/v1/submit.py", "jupyter/jovyan/a.ipynb", "else/a"),
    LOG: ("emr/j-1/stderr.gz", "else/a"),
}  # fmt: skip
Call = Callable[[Any], Any]


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MotoAccount]:
    folder = tmp_path_factory.mktemp("tls")
    with serve(folder) as served, pytest.MonkeyPatch.context() as patch:
        served.reset()
        for name, value in (served.variables | served.create_caller("alice", "*")).items():
            patch.setenv(name, value)
        more = f'evaluator.principals = ["arn:aws:iam::{ACCOUNT}:user/alice"]\n'
        patch_resource_arns(patch)
        for kind in ("serverless", "stream"):
            for _ in up(
                all_requests(names(VARIANTS[kind] + more), uploads(folder)), Account(REGION)
            ):
                pass
        s3 = served.client("s3", ADMIN)
        for bucket, keys in KEYS.items():
            for key in keys:
                s3.put_object(Bucket=bucket, Key=key, Body=b"x")
        served.enforce_iam()
        yield served


def patch_resource_arns(patch: pytest.MonkeyPatch) -> None:
    """Have moto say which cluster or application a request is about: it knows actions alone."""
    from moto.emr.responses import ElasticMapReduceResponse
    from moto.emrserverless.responses import EMRServerlessResponse

    where = f"{REGION}:{ACCOUNT}"

    def cluster(response: Any) -> str:
        named = response._get_param("JobFlowId") or response._get_param("ClusterId")
        return f"arn:aws:elasticmapreduce:{where}:cluster/{named}" if named else "*"

    def application(response: Any) -> str:
        parts = response.path.split("/")
        return f"arn:aws:emr-serverless:{where}:/applications/{parts[2]}" if parts[2:] else "*"

    patch.setattr(ElasticMapReduceResponse, "_determine_resource", cluster, raising=False)
    patch.setattr(EMRServerlessResponse, "_determine_resource", application, raising=False)


def client(account: MotoAccount, role: str, service: str, policy: Any = None) -> Any:
    """A client of one who may do what the policy of a role says."""
    if (role, service) not in CLIENTS:
        account.disable_iam()
        iam, user = account.client("iam", ADMIN), f"as-{role}-{service}"
        if policy is None:
            asked = {"RoleName": f"fruits-{role}", "PolicyName": "pomona"}
            policy = iam.get_role_policy(**asked)["PolicyDocument"]
        text = policy if isinstance(policy, str) else json.dumps(policy)
        caller = account.create_caller(user, "sts:GetCallerIdentity")
        iam.put_user_policy(UserName=user, PolicyName="test", PolicyDocument=text)
        CLIENTS[role, service] = account.client(service, caller)
        account.enforce_iam()
    return CLIENTS[role, service]


CLIENTS: dict[tuple[str, str], Any] = {}


def read(bucket: str, key: str) -> Call:
    return lambda s3: s3.get_object(Bucket=bucket, Key=key)


def write(bucket: str, key: str) -> Call:
    return lambda s3: s3.put_object(Bucket=bucket, Key=key, Body=b"y")


def delete(bucket: str, key: str) -> Call:
    return lambda s3: s3.delete_object(Bucket=bucket, Key=key)


def listing(bucket: str) -> Call:
    return lambda s3: s3.list_objects_v2(Bucket=bucket, Prefix="lake/")


BUCKET_CALLS: dict[str, Call] = {
    "delete the bucket": lambda s3: s3.delete_bucket(Bucket=DATA),
    "read its policy": lambda s3: s3.get_bucket_policy(Bucket=DATA),
    "remove its policy": lambda s3: s3.delete_bucket_policy(Bucket=DATA),
    "stop its versioning": lambda s3: s3.put_bucket_versioning(
        Bucket=DATA, VersioningConfiguration={"Status": "Suspended"}
    ),
    "list all buckets": lambda s3: s3.list_buckets(),
    "make a bucket": lambda s3: s3.create_bucket(
        Bucket="another", CreateBucketConfiguration={"LocationConstraint": REGION}
    ),
}
IMAGE, ROW, CODE, NOTEBOOK, OTHER = KEYS[DATA]
#: What each role may do with the objects: read, write, delete.
MAY: dict[str, dict[tuple[str, str], str]] = {
    "nodes": {(DATA, IMAGE): "r", (DATA, ROW): "rwd", (DATA, CODE): "r", (DATA, NOTEBOOK): "rwd",
              (LOG, KEYS[LOG][0]): "w"},
    "job": {(DATA, IMAGE): "r", (DATA, ROW): "rwd", (DATA, CODE): "r", (LOG, KEYS[LOG][0]): "w"},
    "evaluator": {(DATA, IMAGE): "r", (DATA, ROW): "r"},
    "service": {},
    "scheduler": {},
}  # fmt: skip
LISTS = {"nodes": {DATA}, "job": {DATA}, "evaluator": {DATA}}


def object_calls() -> Iterator[Any]:
    """Each role, each object, each way to use it; and whether it may."""
    for role, may in MAY.items():
        for bucket, keys in KEYS.items():
            yield pytest.param(
                role, listing(bucket), bucket in LISTS.get(role, ()), id=f"{role} lists {bucket}"
            )
            for key in keys:
                for letter, call in (("r", read), ("w", write), ("d", delete)):
                    allowed = letter in may.get((bucket, key), "")
                    yield pytest.param(
                        role,
                        call(bucket, key),
                        allowed,
                        id=f"{role} {call.__name__} {bucket}/{key}",
                    )
        for told, other in BUCKET_CALLS.items():
            yield pytest.param(role, other, False, id=f"{role} {told}")


def validate(call: Call, client: Any, allowed: bool) -> None:
    if allowed:
        call(client)
        return
    with pytest.raises(ClientError) as caught:
        call(client)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


@pytest.mark.parametrize(("role", "call", "allowed"), [*object_calls()])
def test_objects(account: MotoAccount, role: str, call: Call, allowed: bool) -> None:
    validate(call, client(account, role, "s3"), allowed)
    if allowed:
        restore(account)


def restore(account: MotoAccount) -> None:
    account.disable_iam()
    s3 = account.client("s3", ADMIN)
    for bucket, keys in KEYS.items():
        for key in keys:
            s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    account.enforce_iam()


def cluster_calls(cluster: str) -> dict[str, Call]:
    step = {"Name": "s", "HadoopJarStep": {"Jar": "command-runner.jar"}}
    return {
        "add a step": lambda emr: emr.add_job_flow_steps(JobFlowId=cluster, Steps=[step]),
        "tell of it": lambda emr: emr.describe_cluster(ClusterId=cluster),
        "list its steps": lambda emr: emr.list_steps(ClusterId=cluster),
        "change it": lambda emr: emr.modify_cluster(ClusterId=cluster, StepConcurrencyLevel=3),
        "end it": lambda emr: emr.terminate_job_flows(JobFlowIds=[cluster]),
        "list clusters": lambda emr: emr.list_clusters(),
        "make one": lambda emr: emr.run_job_flow(
            Name="another", Instances={"MasterInstanceType": "m5.xlarge", "InstanceCount": 1}
        ),
    }


@pytest.mark.parametrize("role", MAY)
def test_clusters(account: MotoAccount, role: str) -> None:
    account.disable_iam()
    (cluster,) = account.client("emr", ADMIN).list_clusters()["Clusters"]
    account.enforce_iam()
    for told, call in cluster_calls(cluster["Id"]).items():
        validate(call, client(account, role, "emr"), (role, told) == ("scheduler", "add a step"))


def test_the_scheduler_starts_clusters_where_each_run_is_one(account: MotoAccount) -> None:
    policy = policy_document(scheduler_policy(names(VARIANTS["once"])))
    emr = client(account, "scheduler of once", "emr", policy)
    for told, call in cluster_calls("j-NONE").items():
        validate(call, emr, told == "make one")


def test_the_scheduler_starts_jobs_of_one_application(account: MotoAccount) -> None:
    account.disable_iam()
    maker = account.client("emr-serverless", ADMIN)
    (ours,) = [one["id"] for one in maker.list_applications()["applications"]]
    made = maker.create_application(name="another", releaseLabel="emr-7.13.0", type="SPARK")
    account.enforce_iam()
    statements = policy_document(scheduler_policy(names(VARIANTS["serverless"])))
    policy = resolve_references(statements, {"application.applicationId": ours})
    serverless = client(account, "scheduler of serverless", "emr-serverless", policy)
    job = {"executionRoleArn": f"arn:aws:iam::{ACCOUNT}:role/fruits-job"}
    validate(lambda it: it.start_job_run(applicationId=ours, **job), serverless, True)
    validate(
        lambda it: it.start_job_run(applicationId=made["applicationId"], **job), serverless, False
    )
    validate(lambda it: it.list_applications(), serverless, False)
    validate(lambda it: it.stop_application(applicationId=ours), serverless, False)


@pytest.mark.parametrize("role", MAY)
def test_nobody_may_change_who_may_what(account: MotoAccount, role: str) -> None:
    iam, name = client(account, role, "iam"), f"fruits-{role}"
    for call in (
        lambda iam: iam.list_roles(),
        lambda iam: iam.create_user(UserName="mallory"),
        lambda iam: iam.put_role_policy(RoleName=name, PolicyName="more", PolicyDocument="{}"),
        lambda iam: iam.delete_role_policy(RoleName=name, PolicyName="pomona"),
    ):
        validate(call, iam, False)
    validate(lambda ec2: ec2.describe_instances(), client(account, role, "ec2"), False)


def test_those_named_may_take_the_evaluators_role_and_nobody_else(account: MotoAccount) -> None:
    arn = f"arn:aws:iam::{ACCOUNT}:role/fruits-evaluator"
    asked = {"RoleArn": arn, "RoleSessionName": "evaluation"}
    alice = account.client("sts", {name: os.environ[name] for name in ADMIN})
    bob = account.client("sts", account.create_caller("bob", "*"))
    account.enforce_iam()
    with pytest.raises(ClientError, match="AccessDenied"):
        bob.assume_role(**asked)
    taken = alice.assume_role(**asked)["Credentials"]
    session = {
        "AWS_ACCESS_KEY_ID": taken["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": taken["SecretAccessKey"],
        "AWS_SESSION_TOKEN": taken["SessionToken"],
    }
    s3 = account.client("s3", session)
    validate(read(DATA, IMAGE), s3, True)
    validate(write(DATA, IMAGE), s3, False)
    validate(read(LOG, KEYS[LOG][0]), s3, False)
