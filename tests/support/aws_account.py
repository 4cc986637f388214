"""An AWS account of moto's, served over TLS with IAM enforced, and what the tests of `pomona cloud` put in it."""

from __future__ import annotations

import datetime
import ipaddress
import json
import re
import ssl
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest

ACCOUNT = "123456789012"
REGION = "eu-west-1"
MAKER = {"AWS_ACCESS_KEY_ID": "maker", "AWS_SECRET_ACCESS_KEY": "maker"}
#: What reads and changes nothing.
READING = ("*:Get*", "*:List*", "*:Describe*", "*:Head*")


def certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate for 127.0.0.1 that signs itself, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    paths = (folder / "certificate.pem", folder / "key.pem")
    paths[0].write_bytes(made.public_bytes(pem))
    form = serialization.PrivateFormat.PKCS8
    paths[1].write_bytes(key.private_bytes(pem, form, serialization.NoEncryption()))
    return paths


def judge_by_transport(patch: pytest.MonkeyPatch) -> None:
    """Teach moto the one condition of a bucket's policy that it ignores: whether a request came by TLS."""
    from flask import has_request_context, request
    from moto.s3.models import FakeBucket

    ask = FakeBucket.get_permission

    def judged(bucket: Any, action: str, resource: str) -> Any:
        kept, document = bucket.policy, json.loads(bucket.policy or b"null")
        secure = has_request_context() and request.is_secure
        if document and secure:
            told = {"Bool": {"aws:SecureTransport": "false"}}
            left = [one for one in document["Statement"] if one.get("Condition") != told]
            bucket.policy = json.dumps({**document, "Statement": left}).encode()
        try:
            return ask(bucket, action, resource)
        finally:
            bucket.policy = kept

    patch.setattr(FakeBucket, "get_permission", judged)


def take_signatures(patch: pytest.MonkeyPatch) -> None:
    """Have moto not compute signatures of APIs with addresses of their own a resource: it computes other ones.

    Who a caller is, and what it may do, is still looked up.
    """
    from moto.iam.access_control import IAMRequest

    check = IAMRequest.check_signature

    def checked(request: Any) -> None:
        if request._service not in ("scheduler", "emr-serverless"):
            check(request)

    patch.setattr(IAMRequest, "check_signature", checked)


def keep_scaling(patch: pytest.MonkeyPatch) -> None:
    """Have moto keep two policies of a cluster, which it drops, and tell of them."""
    from moto.core.responses import ActionResult, EmptyResult
    from moto.emr.responses import ElasticMapReduceResponse as Emr

    kept: dict[str, dict[str, Any]] = {}
    names = ("ManagedScalingPolicy", "AutoTerminationPolicy")
    run = Emr.run_job_flow

    def run_job_flow(response: Any) -> Any:
        answer = run(response)
        told = json.loads(response.body)
        kept[answer.result["JobFlowId"]] = {key: told[key] for key in names if key in told}
        return answer

    def get(key: str) -> Any:
        def told(response: Any) -> Any:
            policies = kept[response._get_param("ClusterId")]
            return ActionResult({key: policies[key]} if key in policies else {})

        return told

    def put_managed_scaling_policy(response: Any) -> Any:
        told = json.loads(response.body)
        kept[told["ClusterId"]]["ManagedScalingPolicy"] = told["ManagedScalingPolicy"]
        return EmptyResult()

    patch.setattr(Emr, "run_job_flow", run_job_flow)
    patch.setattr(Emr, "put_managed_scaling_policy", put_managed_scaling_policy, raising=False)
    patch.setattr(Emr, "get_managed_scaling_policy", get(names[0]), raising=False)
    patch.setattr(Emr, "get_auto_termination_policy", get(names[1]), raising=False)


def share_models(patch: pytest.MonkeyPatch) -> None:
    """Have all sessions read botocore's models once: they are most of what a short command takes."""
    import botocore.session

    made, loader = boto3.Session, botocore.session.Session().get_component("data_loader")

    def session(**options: Any) -> boto3.Session:
        core = botocore.session.Session()
        core.register_component("data_loader", loader)
        return made(botocore_session=core, **options)

    patch.setattr("bootstrap.aws.client.boto3.Session", session)


def keep_running(patch: pytest.MonkeyPatch) -> None:
    """Have jobs of EMR Serverless run: moto calls them over as soon as they are there."""
    import moto.emrserverless.models

    patch.setattr(moto.emrserverless.models, "JOB_STATUS", "RUNNING")


class CloudAccount:
    """The account, its endpoints, and callers in it."""

    def __init__(self, port: int, plain: int, trusted: Path) -> None:
        self.endpoint = f"https://127.0.0.1:{port}"
        self.plain = f"http://127.0.0.1:{plain}"
        self.trusted = trusted
        self._session = boto3.Session()
        self.variables = {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_CA_BUNDLE": str(trusted),
            "AWS_DEFAULT_REGION": REGION,
            "AWS_REGION": REGION,
        }

    def reset(self) -> None:
        """Empty the account; until `enforce` everybody may do everything."""
        self._post("reset")
        self.relax()

    def relax(self) -> None:
        """Let everybody do everything."""
        self._post("reset-auth", b"1000000")

    def enforce(self) -> None:
        """Have every request from now on be signed by a known caller who may do it."""
        self._post("reset-auth", b"0")

    def caller(self, name: str, *actions: str) -> dict[str, str]:
        """Make a user who may do these actions, and tell what its environment is."""
        self.relax()
        iam = self.client("iam", MAKER)
        iam.create_user(UserName=name)
        allow = {"Effect": "Allow", "Action": list(actions), "Resource": "*"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
        iam.put_user_policy(UserName=name, PolicyName="test", PolicyDocument=document)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return {
            "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
        }

    def client(self, service: str, variables: dict[str, str], *, tls: bool = True) -> Any:
        """Make a client of a caller; `MAKER` is known only while nothing is enforced."""
        from botocore.config import Config

        made: Any = self._session.client(
            service,
            region_name=REGION,
            endpoint_url=self.endpoint if tls else self.plain,
            verify=str(self.trusted),
            aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
            aws_session_token=variables.get("AWS_SESSION_TOKEN"),
            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}),
        )
        return made

    def contents(self) -> dict[str, Any]:
        """What is in the account, by its own words; ids and times left out, which no two accounts share."""
        self.relax()
        found = dict(_contents(self))
        ids = [found[what]["id"] for what in ("application", "job") if what in found]
        return _without_ids(found, ids)

    def _post(self, what: str, body: bytes = b"") -> None:
        told = {"Content-Type": "text/plain"}
        request = urllib.request.Request(f"{self.plain}/moto-api/{what}", body, told)
        urllib.request.urlopen(request, timeout=120).close()


def _contents(account: CloudAccount) -> Iterator[tuple[str, Any]]:
    s3, iam, ec2 = (account.client(service, MAKER) for service in ("s3", "iam", "ec2"))
    emr, scheduler = account.client("emr", MAKER), account.client("scheduler", MAKER)
    serverless = account.client("emr-serverless", MAKER)
    for bucket in s3.list_buckets()["Buckets"]:
        name = bucket["Name"]
        yield name, s3.list_object_versions(Bucket=name).get("Versions", [])
        for what in ("versioning", "encryption", "policy", "lifecycle_configuration"):
            yield f"{name} {what}", getattr(s3, f"get_bucket_{what}")(Bucket=name)
        yield f"{name} closed", s3.get_public_access_block(Bucket=name)
    for profile in iam.list_instance_profiles()["InstanceProfiles"]:
        yield f"profile {profile['InstanceProfileName']}", profile
    for role in iam.list_roles()["Roles"]:
        name = role["RoleName"]
        yield f"role {name}", role
        for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
            yield f"{name} {policy}", iam.get_role_policy(RoleName=name, PolicyName=policy)
        yield f"{name} attached", iam.list_attached_role_policies(RoleName=name)
    groups = ec2.describe_security_groups()["SecurityGroups"]
    yield "groups", sorted(groups, key=lambda one: str(one["GroupName"]))
    yield "tags", ec2.describe_tags()["Tags"]
    clusters = emr.list_clusters()["Clusters"]
    assert len(clusters) < 2  # they would be told as one
    for cluster in clusters:
        yield "cluster", emr.describe_cluster(ClusterId=cluster["Id"])
        yield "scaling", emr.get_managed_scaling_policy(ClusterId=cluster["Id"])
        nodes = emr.list_instance_groups(ClusterId=cluster["Id"])["InstanceGroups"]
        yield "nodes", sorted(nodes, key=lambda one: str(one["InstanceGroupType"]))
        yield "steps", emr.list_steps(ClusterId=cluster["Id"])
    yield "schedules", scheduler.list_schedules()["Schedules"]
    for schedule in scheduler.list_schedules()["Schedules"]:
        yield schedule["Name"], scheduler.get_schedule(Name=schedule["Name"])
    applications = serverless.list_applications()["applications"]
    assert len(applications) < 2
    for application in applications:
        yield "application", application
        (job,) = serverless.list_job_runs(applicationId=application["id"])["jobRuns"]
        yield "job", job


_IDS = (
    r"\b(?:(?:sg|subnet|vpc|eni|ip|igw|acl|rtb|i|vol|sgr)-[0-9a-f]+|ip-[\d-]+|[jsi]-[A-Z0-9]{13})\b"
)


def _without_ids(contents: dict[str, Any], ids: list[str]) -> dict[str, Any]:
    """The same, each id, time and digest that AWS gives replaced by one word."""
    told = json.dumps(contents, default=lambda one: type(one).__name__, sort_keys=True)
    told = re.sub(_IDS, "ID", told)
    for one in ids:
        told = told.replace(one, "ID")
    plain: dict[str, Any] = json.loads(told)
    drop = {
        "ResponseMetadata",
        "VersionId",
        "CreationDate",
        "LastModificationDate",
        "PublicDnsName",
    }
    return _pruned(plain, drop | {"MasterPublicDnsName", "RoleId", "InstanceProfileId"})


def _pruned(value: Any, drop: set[str]) -> Any:
    if isinstance(value, dict):
        return {key: _pruned(inner, drop) for key, inner in value.items() if key not in drop}
    return [_pruned(inner, drop) for inner in value] if isinstance(value, list) else value


@contextmanager
def serve(folder: Path) -> Iterator[CloudAccount]:
    """Serve moto over TLS, and without on a second port, both on free ports of the loopback."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log_request(self, *_: Any) -> None:
            pass

    trusted, key = certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(trusted, key)
    application = DomainDispatcherApplication(create_backend_app)
    servers = [
        make_server(
            "127.0.0.1", 0, application, threaded=True, request_handler=Quiet, ssl_context=how
        )
        for how in (context, None)
    ]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    account = CloudAccount(servers[0].server_port, servers[1].server_port, trusted)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")
        judge_by_transport(patch)
        take_signatures(patch)
        keep_running(patch)
        keep_scaling(patch)
        share_models(patch)
        yield account
    account.reset()  # others in this process have what moto keeps in common
    for server in servers:
        server.shutdown()
        server.server_close()
