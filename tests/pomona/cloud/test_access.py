"""Tests for the IAM roles: each call that a role needs is allowed, and each similar call is denied.

Moto decides wrongly in these cases, which `support.aws.account` or `support.aws.authorization` correct:

- EMR and EMR Serverless: it evaluates the resource ``*`` instead of the ARN of the cluster or application.
- DeleteObjects: it evaluates the ARN of the bucket instead of that of each key, and denies all keys.
- EMR Serverless, Scheduler: it computes wrong signatures for paths, and rejects valid ones.

It ignores conditions. Those on the tag `pomona` of a resource are evaluated here; the others are compared as data in
`tests/bootstrap/resources/test_iam_policies.py`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from bootstrap.aws.client import Account
from bootstrap.aws.request import resolve_references
from bootstrap.resources.iam_node_policies import node_policy
from bootstrap.resources.iam_policies import policy_document, scheduler_policy
from support.aws.account import ACCOUNT, ADMIN, REGION, MotoAccount, serve
from support.aws.authorization import authorize_resources
from support.aws.cluster_configs import VARIANTS, names, uploads
from support.aws.deploy import deploy

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
        authorize_resources(patch)
        for kind in ("serverless", "stream"):
            deploy(names(VARIANTS[kind] + more), uploads(folder), Account(REGION))
            if kind == "serverless":  # another mode replaces the role
                JOB_POLICY.append(
                    served.client("iam", ADMIN).get_role_policy(
                        RoleName="fruits-job", PolicyName="pomona"
                    )["PolicyDocument"]
                )
        s3 = served.client("s3", ADMIN)
        for bucket, keys in KEYS.items():
            for key in keys:
                s3.put_object(Bucket=bucket, Key=key, Body=b"x")
        served.enforce_iam()
        yield served


def client(account: MotoAccount, role: str, service: str, policy: Any = None) -> Any:
    """Return a client of a user with the policy of a role."""
    if (role, service) not in CLIENTS:
        account.disable_iam()
        iam, user = account.client("iam", ADMIN), f"as-{role}-{service}"
        if role == "job":
            policy = JOB_POLICY[-1]
        elif policy is None:
            parameters = {"RoleName": f"fruits-{role}", "PolicyName": "pomona"}
            policy = iam.get_role_policy(**parameters)["PolicyDocument"]
        text = policy if isinstance(policy, str) else json.dumps(policy)
        caller = account.create_caller(user, "sts:GetCallerIdentity")
        iam.put_user_policy(UserName=user, PolicyName="test", PolicyDocument=text)
        CLIENTS[role, service] = account.client(service, caller)
        account.enforce_iam()
    return CLIENTS[role, service]


CLIENTS: dict[tuple[str, str], Any] = {}
JOB_POLICY: list[Any] = []


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
    "suspend its versioning": lambda s3: s3.put_bucket_versioning(
        Bucket=DATA, VersioningConfiguration={"Status": "Suspended"}
    ),
    "list all buckets": lambda s3: s3.list_buckets(),
    "create a bucket": lambda s3: s3.create_bucket(
        Bucket="another", CreateBucketConfiguration={"LocationConstraint": REGION}
    ),
}
IMAGE, ROW, CODE, NOTEBOOK, OTHER = KEYS[DATA]
#: Permissions of each role for objects: r (read), w (write), d (delete).
PERMISSIONS: dict[str, dict[tuple[str, str], str]] = {
    "nodes": {(DATA, IMAGE): "r", (DATA, ROW): "rwd", (DATA, CODE): "r", (DATA, NOTEBOOK): "rwd",
              (LOG, KEYS[LOG][0]): "w"},
    "job": {(DATA, IMAGE): "r", (DATA, ROW): "rwd", (DATA, CODE): "r", (LOG, KEYS[LOG][0]): "w"},
    "evaluator": {(DATA, IMAGE): "r", (DATA, ROW): "r"},
    "service": {},
    "scheduler": {},
}  # fmt: skip
LISTS = {"nodes": {DATA}, "job": {DATA}, "evaluator": {DATA}}


def object_calls() -> Iterator[Any]:
    """Yield each role and object with each call, and whether it is allowed."""
    for role, permissions in PERMISSIONS.items():
        for bucket, keys in KEYS.items():
            yield pytest.param(
                role, listing(bucket), bucket in LISTS.get(role, ()), id=f"{role} lists {bucket}"
            )
            for key in keys:
                for letter, call in (("r", read), ("w", write), ("d", delete)):
                    allowed = letter in permissions.get((bucket, key), "")
                    yield pytest.param(
                        role,
                        call(bucket, key),
                        allowed,
                        id=f"{role} {call.__name__} {bucket}/{key}",
                    )
        for name, call in BUCKET_CALLS.items():
            yield pytest.param(role, call, False, id=f"{role} {name}")


def check(call: Call, client: Any, allowed: bool) -> None:
    if allowed:
        call(client)
        return
    with pytest.raises(ClientError) as caught:
        call(client)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


@pytest.mark.parametrize(("role", "call", "allowed"), [*object_calls()])
def test_object_permissions(account: MotoAccount, role: str, call: Call, allowed: bool) -> None:
    check(call, client(account, role, "s3"), allowed)
    if allowed:
        restore(account)


def restore(account: MotoAccount) -> None:
    account.disable_iam()
    s3 = account.client("s3", ADMIN)
    for bucket, keys in KEYS.items():
        for key in keys:
            s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    account.enforce_iam()


#: Keys that S3A requests to look up folders, and that delta-rs requests if a table has no checkpoint.
LOOK_UPS = {
    "nodes": ("images", "images/", "images/Fig", "lake", "lake/", "lake/features/_delta_log/_last_checkpoint",
              "jupyter"),
    "job": ("images", "images/", "lake", "lake/"),
    "evaluator": ("images", "images/", "lake", "lake/", "lake/features/_delta_log/_last_checkpoint"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("role", "key"), [(role, key) for role, keys in LOOK_UPS.items() for key in keys]
)
def test_look_up_of_absent_key_is_404(account: MotoAccount, role: str, key: str) -> None:
    s3 = client(account, role, "s3")
    for call in (s3.head_object, s3.get_object):
        with pytest.raises(ClientError) as caught:
            call(Bucket=DATA, Key=key)
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404


@pytest.mark.parametrize("role", LOOK_UPS)
@pytest.mark.parametrize("key", ["imagesx", "image", "lake2", "else", "secret"])
def test_look_up_of_neighboring_key_is_denied(account: MotoAccount, role: str, key: str) -> None:
    check(read(DATA, key), client(account, role, "s3"), False)


@pytest.mark.parametrize(
    ("lake", "parents"), [("lake/", ()), ("a/lake/", ("a",)), ("a/b/c/", ("a", "a/b"))]
)
def test_nodes_may_look_up_the_folders_above_the_lake(lake: str, parents: tuple[str, ...]) -> None:
    policy = policy_document(node_policy(names(f'storage.lake = "{lake}"')))
    found = [one["Resource"] for one in policy["Statement"] if one["Sid"] == "LookUpParents"]
    assert found == ([[f"arn:aws:s3:::{DATA}/{key}" for key in parents]] if parents else [])


def test_whole_bucket_of_images_has_no_folder_key() -> None:
    policy = policy_document(node_policy(names('storage.images = "s3://pictures/"')))
    (images,) = [one for one in policy["Statement"] if one["Sid"] == "ReadImages"]
    assert images["Resource"] == ["arn:aws:s3:::pictures/*"]


def delta_options(account: MotoAccount, role: str) -> dict[str, str]:
    """Return the storage options of delta-rs with the credentials of a role."""
    credentials = client(account, role, "s3")._request_signer._credentials
    return {
        "AWS_ENDPOINT_URL": account.endpoint,
        "AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": credentials.access_key,
        "AWS_SECRET_ACCESS_KEY": credentials.secret_key,
        "allow_invalid_certificates": "true",
    }


def test_delta_rs_reads_and_writes_only_what_the_role_may(account: MotoAccount) -> None:
    import deltalake
    import pyarrow as pa
    from deltalake.exceptions import DeltaError

    table, uri = pa.table({"path": ["a", "b"]}), f"s3://{DATA}/lake/quarantine"
    deltalake.write_deltalake(uri, table, storage_options=delta_options(account, "nodes"))
    for role in ("nodes", "job", "evaluator"):
        found = deltalake.DeltaTable(uri, storage_options=delta_options(account, role))
        assert found.to_pyarrow_table().num_rows == 2
    for role, location in (
        ("evaluator", uri),
        ("evaluator", f"s3://{DATA}/images/table"),
        ("nodes", f"s3://{DATA}/images/table"),
        ("nodes", f"s3://{DATA}/else/table"),
        ("nodes", f"s3://{LOG}/emr/table"),
    ):
        options = delta_options(account, role)
        with pytest.raises((OSError, DeltaError), match=r"403|denied"):
            deltalake.write_deltalake(location, table, mode="append", storage_options=options)


def test_nodes_delete_several_objects_of_the_lake_with_one_request(account: MotoAccount) -> None:
    """S3A deletes folders this way."""
    s3 = client(account, "nodes", "s3")
    keys = [f"lake/tmp/{number}" for number in range(2)]
    for key in keys:
        write(DATA, key)(s3)
    objects = [{"Key": key} for key in (*keys, IMAGE, OTHER)]
    result = s3.delete_objects(Bucket=DATA, Delete={"Objects": objects})
    assert sorted(one["Key"] for one in result["Deleted"]) == keys
    assert {one["Key"]: one["Code"] for one in result["Errors"]} == {
        IMAGE: "AccessDenied", OTHER: "AccessDenied",
    }  # fmt: skip


def cluster_calls(cluster: str) -> dict[str, Call]:
    step = {"Name": "s", "HadoopJarStep": {"Jar": "command-runner.jar"}}
    nodes = {"MasterInstanceType": "m5.xlarge", "InstanceCount": 1}
    return {
        "add a step": lambda emr: emr.add_job_flow_steps(JobFlowId=cluster, Steps=[step]),
        "describe it": lambda emr: emr.describe_cluster(ClusterId=cluster),
        "list its steps": lambda emr: emr.list_steps(ClusterId=cluster),
        "change it": lambda emr: emr.modify_cluster(ClusterId=cluster, StepConcurrencyLevel=3),
        "terminate it": lambda emr: emr.terminate_job_flows(JobFlowIds=[cluster]),
        "list clusters": lambda emr: emr.list_clusters(),
        "create a cluster": lambda emr: emr.run_job_flow(
            Name="another", Instances=nodes, Tags=[{"Key": "pomona", "Value": "fruits"}]
        ),
        "create a cluster without tag": lambda emr: emr.run_job_flow(
            Name="another", Instances=nodes
        ),
    }


@pytest.mark.parametrize("role", PERMISSIONS)
def test_cluster_permissions(account: MotoAccount, role: str) -> None:
    account.disable_iam()
    (cluster,) = account.client("emr", ADMIN).list_clusters()["Clusters"]
    account.enforce_iam()
    for name, call in cluster_calls(cluster["Id"]).items():
        check(call, client(account, role, "emr"), (role, name) == ("scheduler", "add a step"))


def test_scheduler_may_create_clusters_in_mode_once(account: MotoAccount) -> None:
    policy = policy_document(scheduler_policy(names(VARIANTS["once"])))
    emr = client(account, "scheduler of once", "emr", policy)
    for name, call in cluster_calls("j-NONE").items():
        check(call, emr, name == "create a cluster")


def test_scheduler_may_start_jobs_of_its_application_only(account: MotoAccount) -> None:
    account.disable_iam()
    admin = account.client("emr-serverless", ADMIN)
    (application,) = [one["id"] for one in admin.list_applications()["applications"]]
    other = admin.create_application(name="another", releaseLabel="emr-7.13.0", type="SPARK")
    account.enforce_iam()
    statements = policy_document(scheduler_policy(names(VARIANTS["serverless"])))
    policy = resolve_references(statements, {"application.applicationId": application})
    serverless = client(account, "scheduler of serverless", "emr-serverless", policy)
    job = {"executionRoleArn": f"arn:aws:iam::{ACCOUNT}:role/fruits-job"}
    check(lambda it: it.start_job_run(applicationId=application, **job), serverless, True)
    check(
        lambda it: it.start_job_run(applicationId=other["applicationId"], **job), serverless, False
    )
    check(lambda it: it.list_applications(), serverless, False)
    check(lambda it: it.stop_application(applicationId=application), serverless, False)


@pytest.mark.parametrize("role", PERMISSIONS)
def test_no_role_may_change_permissions(account: MotoAccount, role: str) -> None:
    iam, name = client(account, role, "iam"), f"fruits-{role}"
    for call in (
        lambda iam: iam.list_roles(),
        lambda iam: iam.create_user(UserName="mallory"),
        lambda iam: iam.put_role_policy(RoleName=name, PolicyName="more", PolicyDocument="{}"),
        lambda iam: iam.delete_role_policy(RoleName=name, PolicyName="pomona"),
    ):
        check(call, iam, False)
    check(lambda ec2: ec2.describe_instances(), client(account, role, "ec2"), False)


def test_only_named_principals_may_assume_the_evaluator_role(account: MotoAccount) -> None:
    arn = f"arn:aws:iam::{ACCOUNT}:role/fruits-evaluator"
    parameters = {"RoleArn": arn, "RoleSessionName": "evaluation"}
    alice = account.client("sts", {name: os.environ[name] for name in ADMIN})
    bob = account.client("sts", account.create_caller("bob", "*"))
    account.enforce_iam()
    with pytest.raises(ClientError, match="AccessDenied"):
        bob.assume_role(**parameters)
    credentials = alice.assume_role(**parameters)["Credentials"]
    session = {
        "AWS_ACCESS_KEY_ID": credentials["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": credentials["SecretAccessKey"],
        "AWS_SESSION_TOKEN": credentials["SessionToken"],
    }
    s3 = account.client("s3", session)
    check(read(DATA, IMAGE), s3, True)
    check(write(DATA, IMAGE), s3, False)
    check(read(LOG, KEYS[LOG][0]), s3, False)
