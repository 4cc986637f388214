"""A fake AWS account, served by moto over TLS with IAM enforced."""

from __future__ import annotations

import datetime
import ipaddress
import json
import os
import pickle
import re
import ssl
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, partial
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from bootstrap.aws.rules import SentRequest
from bootstrap.resources.iam_policies import EMR_SERVICE_POLICY
from support.aws.moto_server import Quiet, moto_application
from support.aws.rules import reject_violations

ACCOUNT = "123456789012"
REGION = "eu-west-1"
ADMIN = {"AWS_ACCESS_KEY_ID": "admin", "AWS_SECRET_ACCESS_KEY": "admin"}
#: vCPU quotas of On-Demand and Spot instances, and of EMR Serverless.
VCPU_QUOTAS = {"L-1216C47A": 64.0, "L-34B43A08": 64.0, "L-D05C8A75": 64.0}
#: Actions that only read.
READ_ACTIONS = ("*:Get*", "*:List*", "*:Describe*", "*:Head*")
#: Header with the service that sends a request with the credentials of a caller, for the condition `aws:CalledVia`.
CALLED_VIA_HEADER = "X-Test-Called-Via"


def certificate(folder: Path) -> tuple[Path, Path]:
    """Create a self-signed certificate for 127.0.0.1 and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
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
    paths[0].write_bytes(certificate.public_bytes(pem))
    key_format = serialization.PrivateFormat.PKCS8
    paths[1].write_bytes(key.private_bytes(pem, key_format, serialization.NoEncryption()))
    return paths


def check_secure_transport(patch: pytest.MonkeyPatch) -> None:
    """Make moto evaluate the condition `aws:SecureTransport` in bucket policies, which it ignores."""
    from flask import has_request_context, request
    from moto.s3.models import FakeBucket

    original = FakeBucket.get_permission

    def get_permission(bucket: Any, action: str, resource: str) -> Any:
        policy, document = bucket.policy, json.loads(bucket.policy or b"null")
        secure = has_request_context() and request.is_secure
        if document and secure:
            insecure = {"Bool": {"aws:SecureTransport": "false"}}
            statements = [one for one in document["Statement"] if one.get("Condition") != insecure]
            bucket.policy = json.dumps({**document, "Statement": statements}).encode()
        try:
            return original(bucket, action, resource)
        finally:
            bucket.policy = policy

    patch.setattr(FakeBucket, "get_permission", get_permission)


def skip_signature_check(patch: pytest.MonkeyPatch) -> None:
    """Disable signature checks for APIs with resource paths, whose signatures moto computes incorrectly.

    Credentials and permissions are still checked.
    """
    from moto.iam.access_control import IAMRequest

    original = IAMRequest.check_signature

    def check_signature(request: Any) -> None:
        if request._service not in ("scheduler", "emr-serverless"):
            original(request)

    patch.setattr(IAMRequest, "check_signature", check_signature)


def check_bucket_owner(patch: pytest.MonkeyPatch) -> None:
    """Make moto deny requests whose expected bucket owner is not the owner, as S3 does; it ignores the header."""
    from moto.s3.models import s3_backends
    from moto.s3.responses import S3Response

    def checked(original: Callable[..., Any]) -> Callable[..., Any]:
        def respond(response: Any, request: Any, full_url: str) -> Any:
            expected = request.headers.get("x-amz-expected-bucket-owner")
            bucket = response.parse_bucket_name_from_url(request, full_url)
            _, owner = s3_backends.bucket_accounts.get(bucket, ("", None))
            if expected and owner and expected != owner:
                error = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
                return 403, {}, "" if request.method == "HEAD" else error
            return original(response, request, full_url)

        return respond

    for name in ("_bucket_response", "_key_response"):
        patch.setattr(S3Response, name, checked(getattr(S3Response, name)))


def require_expected_owner(params: dict[str, Any], model: Any, **_: Any) -> None:
    """Check that a request of the code under test to S3 names the account as the owner of the bucket."""
    if model.name not in ("CreateBucket", "ListBuckets"):
        assert params["headers"].get("x-amz-expected-bucket-owner") == ACCOUNT, model.name


def authorize_each_deleted_key(patch: pytest.MonkeyPatch) -> None:
    """Make moto evaluate permissions of DeleteObjects with the ARN of each key; it uses that of the bucket."""
    from moto.iam.access_control import PermissionResult
    from moto.s3.exceptions import BucketAccessDeniedError
    from moto.s3.models import FakeBucket
    from moto.s3.responses import S3Response

    delete, get_permission = S3Response._bucket_response_delete_keys, FakeBucket.get_permission
    deleting: ContextVar[Any] = ContextVar("deleting", default=None)

    def delete_keys(response: Any, bucket: str, authenticated: bool = True) -> Any:
        token = deleting.set(response)
        try:
            return delete(response, bucket, authenticated=True)
        finally:
            deleting.reset(token)

    def permission(bucket: Any, action: str, resource: str) -> Any:
        if deleting.get():
            try:
                name, _, key = resource.rpartition(":::")[2].partition("/")
                deleting.get()._authenticate_and_authorize_s3_action(name, key)
            except BucketAccessDeniedError:
                return PermissionResult.DENIED
        return get_permission(bucket, action, resource)

    patch.setattr(S3Response, "_bucket_response_delete_keys", delete_keys)
    patch.setattr(FakeBucket, "get_permission", permission)


def support_scaling_policies(patch: pytest.MonkeyPatch) -> None:
    """Make moto store and return two policies of a cluster, which it ignores."""
    from moto.core.responses import ActionResult, EmptyResult
    from moto.emr.responses import ElasticMapReduceResponse as Emr

    stored: dict[str, dict[str, Any]] = {}
    names = ("ManagedScalingPolicy", "AutoTerminationPolicy")
    run = Emr.run_job_flow

    def run_job_flow(response: Any) -> Any:
        result = run(response)
        body = json.loads(response.body)
        stored[result.result["JobFlowId"]] = {key: body[key] for key in names if key in body}
        return result

    def getter(key: str) -> Any:
        def get_policy(response: Any) -> Any:
            policies = stored[response._get_param("ClusterId")]
            return ActionResult({key: policies[key]} if key in policies else {})

        return get_policy

    def put_managed_scaling_policy(response: Any) -> Any:
        body = json.loads(response.body)
        stored[body["ClusterId"]]["ManagedScalingPolicy"] = body["ManagedScalingPolicy"]
        return EmptyResult()

    patch.setattr(Emr, "run_job_flow", run_job_flow)
    patch.setattr(Emr, "put_managed_scaling_policy", put_managed_scaling_policy, raising=False)
    patch.setattr(Emr, "get_managed_scaling_policy", getter(names[0]), raising=False)
    patch.setattr(Emr, "get_auto_termination_policy", getter(names[1]), raising=False)


def support_instance_fleets(patch: pytest.MonkeyPatch) -> None:
    """Make moto store and return instance fleets and their subnets, which it lacks."""
    from moto.core.responses import ActionResult, EmptyResult
    from moto.emr.models import Ec2InstanceAttributes
    from moto.emr.responses import ElasticMapReduceResponse as Emr

    stored: dict[str, list[dict[str, Any]]] = {}
    run = Emr.run_job_flow

    def described(fleet: dict[str, Any], number: int) -> dict[str, Any]:
        """Return a fleet as EMR describes it, with types in another order."""
        result = {key: value for key, value in fleet.items() if key != "InstanceTypeConfigs"}
        types = []
        for one in reversed(fleet["InstanceTypeConfigs"]):
            devices = one.get("EbsConfiguration", {}).get("EbsBlockDeviceConfigs", ())
            volumes = [
                {"VolumeSpecification": device["VolumeSpecification"], "Device": f"/dev/sd{n}"}
                for device in devices
                for n in range(device["VolumesPerInstance"])
            ]
            kept = {key: value for key, value in one.items() if key != "EbsConfiguration"}
            types.append(
                kept | {"EbsBlockDevices": volumes, "BidPriceAsPercentageOfOnDemandPrice": 100.0}
            )
        provisioned = {
            f"Provisioned{key}Capacity": fleet.get(f"Target{key}Capacity", 0)
            for key in ("OnDemand", "Spot")
        }
        return {
            **result,
            **provisioned,
            "Id": f"if-{number}",
            "InstanceTypeSpecifications": types,
        }

    def run_job_flow(response: Any) -> Any:
        instances = json.loads(response.body)["Instances"]
        result = run(response)
        cluster = result.result["JobFlowId"]
        if fleets := instances.get("InstanceFleets"):
            stored[cluster] = [described(one, number) for number, one in enumerate(fleets)]
            model = response.backend.clusters[cluster]
            model.instance_collection_type = "INSTANCE_FLEET"
            model.requested_ec2_subnet_ids = instances["Ec2SubnetIds"]
            model.ec2_subnet_id = instances["Ec2SubnetIds"][0]
        return result

    def requested_subnets(attributes: Any) -> list[str]:
        return list(getattr(attributes.cluster, "requested_ec2_subnet_ids", ()))

    def list_instance_fleets(response: Any) -> Any:
        return ActionResult({"InstanceFleets": stored[response._get_param("ClusterId")]})

    def modify_instance_fleet(response: Any) -> Any:
        body = json.loads(response.body)
        change = body["InstanceFleet"]
        for fleet in stored[body["ClusterId"]]:
            if fleet["Id"] == change["InstanceFleetId"]:
                fleet |= {key: value for key, value in change.items() if key != "InstanceFleetId"}
        return EmptyResult()

    def add_instance_fleet(response: Any) -> Any:
        body = json.loads(response.body)
        fleets = stored[body["ClusterId"]]
        fleets.append(described(body["InstanceFleet"], len(fleets)))
        return ActionResult({"ClusterId": body["ClusterId"], "InstanceFleetId": fleets[-1]["Id"]})

    name = "requested_ec2_subnet_ids"
    patch.setattr(Ec2InstanceAttributes, name, property(requested_subnets), raising=False)
    for function in (
        run_job_flow,
        list_instance_fleets,
        modify_instance_fleet,
        add_instance_fleet,
    ):
        patch.setattr(Emr, function.__name__, function, raising=False)


def cache_clients(patch: pytest.MonkeyPatch) -> None:
    """Reuse the clients of a caller, and botocore's models for all callers; check their requests to S3.

    A command takes 1 s of processor time without this; 0.7 s of it load models and create client classes.
    """
    import botocore.session

    create, loader = boto3.Session, botocore.session.Session().get_component("data_loader")
    sessions: dict[Any, boto3.Session] = {}

    def session(**options: Any) -> boto3.Session:
        variables = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
        key = json.dumps([options, variables], sort_keys=True)
        if key not in sessions:
            core = botocore.session.Session()
            core.register_component("data_loader", loader)
            sessions[key] = created = create(botocore_session=core, **options)
            clients, create_client = dict[str, Any](), created.client

            def client(service: str, **options: Any) -> Any:
                if service not in clients:
                    clients[service] = create_client(service, **options)
                    if service == "s3":
                        clients[service].meta.events.register(
                            "before-call.s3", require_expected_owner
                        )
                return clients[service]

            patch.setattr(created, "client", client)
        return sessions[key]

    patch.setattr("bootstrap.aws.client.boto3.Session", session)


def speed_up_moto(patch: pytest.MonkeyPatch) -> None:
    """Skip work of moto that no test needs.

    It took 2 s of processor time for each reset, and most of the time of each change set.
    """
    import moto.cloudformation.models
    import moto.cloudformation.responses
    import moto.iam.models
    from moto.core.base_backend import BaseBackend

    # `BackendDict.reset` resets each backend, which creates its contents again, before it drops the backend.
    patch.setattr(BaseBackend, "reset", lambda _: None)
    patch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
    patch.setenv("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")
    policies = json.loads(moto.iam.models.aws_managed_policies_data)
    used = {name: policies[name] for name in (EMR_SERVICE_POLICY.rpartition("/")[2],)}
    patch.setattr(moto.iam.models, "aws_managed_policies_data", json.dumps(used))
    # A template is parsed three times for each change set, in Python.
    for module in (moto.cloudformation.models, moto.cloudformation.responses):
        patch.setattr(module, "yaml", _CachedYaml)


class _CachedYaml:
    """What moto uses of the module `yaml`; parses each text once."""

    add_multi_constructor = staticmethod(yaml.add_multi_constructor)
    Loader = yaml.Loader

    @staticmethod
    def load(text: str, Loader: type[yaml.Loader]) -> Any:
        return pickle.loads(_pickled_template(text, Loader))


@cache
def _pickled_template(text: str, loader: type[yaml.Loader]) -> bytes:
    return pickle.dumps(yaml.load(text, Loader=loader))


def add_internet_gateway() -> None:
    """Give the default VPC a route to the internet, which AWS creates with it, and moto does not."""
    from moto.ec2.models import ec2_backends

    backend = ec2_backends[ACCOUNT][REGION]
    vpc = backend.get_default_vpc()
    (table,) = backend.describe_route_tables(
        filters={"vpc-id": [vpc.id], "association.main": ["true"]}
    )
    gateway = backend.create_internet_gateway()
    backend.attach_internet_gateway(gateway.id, vpc.id)
    backend.create_route(table.id, "0.0.0.0/0", gateway_id=gateway.id)


def support_application_tags(patch: pytest.MonkeyPatch) -> None:
    """Make moto set and remove tags of applications and job runs of EMR Serverless, which it lacks."""
    from moto.core.responses import EmptyResult
    from moto.emrserverless import urls
    from moto.emrserverless.responses import EMRServerlessResponse as Response

    def tags(response: Any) -> dict[str, str]:
        _, _, identifier, *job_run = response._get_param("resourceArn").split("/")
        backend = response.emrserverless_backend
        resource = (
            backend.get_job_run(identifier, job_run[1])
            if job_run
            else backend.applications[identifier]
        )
        if resource.tags is None:
            resource.tags = {}
        found: dict[str, str] = resource.tags
        return found

    def tag_resource(response: Any) -> Any:
        tags(response).update(response._get_param("tags"))
        return EmptyResult()

    def untag_resource(response: Any) -> Any:
        for key in response._get_param("tagKeys"):
            tags(response).pop(key, None)
        return EmptyResult()

    patch.setitem(urls.url_paths, "{0}/tags/(?P<resourceArn>.+)$", Response.dispatch)
    patch.setattr(Response, "tag_resource", tag_resource, raising=False)
    patch.setattr(Response, "untag_resource", untag_resource, raising=False)


def keep_jobs_running(patch: pytest.MonkeyPatch) -> None:
    """Keep jobs of EMR Serverless in state RUNNING; in moto they finish at once, and no application is without jobs."""
    import moto.emrserverless.models

    patch.setattr(moto.emrserverless.models, "JOB_STATUS", "RUNNING")
    backend: Any = moto.emrserverless.models.EMRServerlessBackend
    list_job_runs = backend.list_job_runs

    def list_no_jobs(self: Any, application_id: str, *filters: Any, **more: Any) -> Any:
        if application_id in self.applications:
            self.job_runs.setdefault(application_id, [])
        return list_job_runs(self, application_id, *filters, **more)

    patch.setattr(backend, "list_job_runs", list_no_jobs)


def serve_vcpu_quotas(patch: pytest.MonkeyPatch) -> None:
    """Make moto return the vCPU quotas, which it lacks, from `VCPU_QUOTAS`."""
    from moto.servicequotas.exceptions import NoSuchResource
    from moto.servicequotas.models import ServiceQuotasBackend

    def get_service_quota(_: Any, service_code: str, quota_code: str) -> dict[str, Any]:
        if quota_code not in VCPU_QUOTAS:
            raise NoSuchResource
        return {"QuotaCode": quota_code, "Value": VCPU_QUOTAS[quota_code]}

    patch.setattr(ServiceQuotasBackend, "get_service_quota", get_service_quota)


class MotoAccount:
    """An account, its endpoints and its users."""

    def __init__(self, port: int, plain: int, trusted: Path) -> None:
        self.endpoint = f"https://127.0.0.1:{port}"
        self.plain = f"http://127.0.0.1:{plain}"
        self.trusted = trusted
        #: Requests that changed something since the last reset.
        self.sent: list[SentRequest] = []
        self._session = boto3.Session()
        self._clients: dict[tuple[str | bool | None, ...], Any] = {}
        self.variables = {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_CA_BUNDLE": str(trusted),
            "AWS_DEFAULT_REGION": REGION,
            "AWS_REGION": REGION,
        }

    def reset(self) -> None:
        """Empty the account, and allow all requests until `enforce_iam`."""
        self._post("reset")
        self.sent.clear()
        add_internet_gateway()
        self.disable_iam()

    def disable_iam(self) -> None:
        """Allow all requests."""
        self._post("reset-auth", b"1000000")

    def enforce_iam(self) -> None:
        """Require valid credentials and permissions for each request from now on."""
        self._post("reset-auth", b"0")

    def create_caller(self, name: str, *actions: str) -> dict[str, str]:
        """Create a user with permission for these actions; return its credentials as environment variables."""
        self.disable_iam()
        iam = self.client("iam", ADMIN)
        iam.create_user(UserName=name)
        allow = {"Effect": "Allow", "Action": list(actions), "Resource": "*"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
        iam.put_user_policy(UserName=name, PolicyName="test", PolicyDocument=document)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return {
            "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
        }

    def client(
        self, service: str, variables: dict[str, str], *, tls: bool = True, called_via: str = ""
    ) -> Any:
        """Return a client with the credentials of a caller; `ADMIN` is valid only until `enforce_iam`.

        `called_via` is the service principal of the service that sends the requests on behalf of the caller.
        """
        from botocore.config import Config

        token = variables.get("AWS_SESSION_TOKEN")
        key = (service, variables["AWS_ACCESS_KEY_ID"], token, tls, called_via)
        if key not in self._clients:
            self._clients[key] = self._session.client(
                service,
                region_name=REGION,
                endpoint_url=self.endpoint if tls else self.plain,
                verify=str(self.trusted),
                aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
                aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
                aws_session_token=token,
                config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}),
            )
            if called_via:
                self._clients[key].meta.events.register("before-call", partial(_mark, called_via))
        return self._clients[key]

    def create_foreign_bucket(self, name: str) -> None:
        """Create a bucket in another account; everyone may use it, unless a request names the expected owner."""
        from moto.s3.models import s3_backends

        s3_backends["999999999999"]["aws"].create_bucket(name, REGION)

    def contents(self) -> dict[str, Any]:
        """Return the resources of the account as AWS describes them, without ids and times."""
        self.disable_iam()
        found = dict(_contents(self))
        ids = [found[what]["id"] for what in ("application", "job") if what in found]
        return _without_ids(found, ids)

    def _post(self, what: str, body: bytes = b"") -> None:
        headers = {"Content-Type": "text/plain"}
        request = urllib.request.Request(f"{self.plain}/moto-api/{what}", body, headers)
        urllib.request.urlopen(request, timeout=120).close()


def _mark(called_via: str, params: dict[str, Any], **_: Any) -> None:
    """Add the header with the service that sends a request."""
    params["headers"][CALLED_VIA_HEADER] = called_via


def _contents(account: MotoAccount) -> Iterator[tuple[str, Any]]:
    s3, iam, ec2 = (account.client(service, ADMIN) for service in ("s3", "iam", "ec2"))
    emr, scheduler = account.client("emr", ADMIN), account.client("scheduler", ADMIN)
    serverless = account.client("emr-serverless", ADMIN)
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
    assert len(clusters) < 2  # the key below is not unique
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
    """Return the contents with ids replaced by ``ID``, without times and other generated values."""
    text = json.dumps(contents, default=lambda one: type(one).__name__, sort_keys=True)
    text = re.sub(_IDS, "ID", text)
    for one in ids:
        text = text.replace(one, "ID")
    plain: dict[str, Any] = json.loads(text)
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
def serve(folder: Path) -> Iterator[MotoAccount]:
    """Serve moto on free ports of the loopback interface: one with TLS, one without."""
    from werkzeug.serving import WSGIRequestHandler, make_server

    from support.aws.stacks import support_stacks

    class QuietHandler(Quiet, WSGIRequestHandler):
        pass

    trusted, key = certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(trusted, key)
    application = moto_application()
    servers = [
        make_server(
            "127.0.0.1",
            0,
            application,
            threaded=True,
            request_handler=QuietHandler,
            ssl_context=tls,
        )
        for tls in (context, None)
    ]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    account = MotoAccount(servers[0].server_port, servers[1].server_port, trusted)
    with pytest.MonkeyPatch.context() as patch:
        speed_up_moto(patch)
        check_secure_transport(patch)
        check_bucket_owner(patch)
        authorize_each_deleted_key(patch)
        skip_signature_check(patch)
        keep_jobs_running(patch)
        support_application_tags(patch)
        support_scaling_policies(patch)
        support_instance_fleets(patch)
        serve_vcpu_quotas(patch)
        cache_clients(patch)
        account.sent = reject_violations(patch)
        support_stacks(patch, account)
        yield account
    account.reset()  # moto shares its state within the process
    for server in servers:
        server.shutdown()
        server.server_close()
