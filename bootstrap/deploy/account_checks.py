"""Checks of what the configuration refers to: existing roles, buckets, keys and topics; and of the data residency."""

from __future__ import annotations

from typing import Any

from bootstrap.aws.describe_bucket import bucket_region
from bootstrap.aws.request import ReadApi
from bootstrap.config.loader import boundary_problem
from bootstrap.config.names import ROLES, Names
from bootstrap.config.schema import EU_REGIONS
from bootstrap.errors import AccessDeniedError, CloudError


def check_references(names: Names, read: ReadApi) -> tuple[list[str], list[str]]:
    """Check existing roles, the buckets and their regions, and the topic of alarms; sends only read-only requests.

    Returns
    -------
    (list of str, list of str)
        Problems with their remedies, and notes on what could not be checked.

    Raises
    ------
    CloudError
        If the bucket of data or logs belongs to another account, or cannot be read.
    """
    problems: list[str] = []
    notes: list[str] = []
    lines = names.config.lines
    for suffix in ROLES:
        if role := names.existing_role(suffix):
            setting = f"{lines(f'roles.{suffix}')}: roles.{suffix} is {role!r}"
            try:
                problem = _role_problem(names, suffix, role, read)
            except AccessDeniedError as error:
                notes.append(f"{setting}, which is not checked: {error}")
                continue
            problems += [f"{setting}: {problem}"] if problem else []
    if problem := boundary_problem(names.config.roles.boundary, names.account):
        problems.append(f"{lines('roles.boundary')}: {problem}")
    _check_bucket(names, "data", names.data_bucket, read, problems, notes)
    _check_bucket(names, "log", names.log_bucket, read, problems, notes)
    if names.config.storage.images.startswith("s3://"):
        _check_bucket(names, "images", names.images[0], read, problems, notes)
    if topic := names.config.alarms.topic:
        setting = f"{lines('alarms.topic')}: alarms.topic is {topic!r}"
        try:
            problem = _topic_problem(topic, read)
            problems += [f"{setting}, {problem}"] if problem else []
        except CloudError as error:
            notes.append(f"{setting}, which is not checked: {error}")
    return problems, notes


def _check_bucket(
    names: Names, role: str, bucket: str, read: ReadApi, problems: list[str], notes: list[str]
) -> None:
    """Check existence, owner and region of the bucket of data, logs or images."""
    config = names.config
    storage = config.storage
    if role == "images":
        # It may belong to another account.
        key, setting, must_exist = "storage.images", f"storage.images is {storage.images!r}", True
    else:
        key, setting = f"storage.{role}_bucket", names.bucket_setting(role)
        must_exist = getattr(storage, f"{role}_bucket_exists")
    setting = f"{config.lines(key, f'{key}_exists')}: {setting}"
    try:
        region = bucket_region(read, bucket)
    except AccessDeniedError as error:
        if role != "images":  # no request for its objects would succeed
            raise CloudError(
                f"{setting}: the bucket exists, but it does not belong to account {names.account}, or you lack the "
                "permission s3:ListBucket: name another bucket, or request this permission"
            ) from error
        notes.append(f"{setting}: the region of the bucket is not checked: {error}")
        return
    if region is None and must_exist:
        remedy = "create the bucket" if role == "images" else f"remove {key}_exists to create it"
        problems.append(f"{setting}, and there is no such bucket: correct the name, or {remedy}")
    if region in (None, config.region):
        return
    if reason := _region_requirement(names, role, must_exist=must_exist):
        problems.append(
            f"{setting}: the bucket is in {region}; it must be in {config.region}, because {reason}: name a bucket in "
            f'{config.region}, or set region = "{region}"'
        )
    else:
        notes.append(
            f"{setting}: the bucket is in {region}, not in {config.region}: AWS charges for the data transfer between "
            "regions"
        )


def _region_requirement(names: Names, role: str, *, must_exist: bool) -> str | None:
    """Return why a bucket must be in the region of the deployment; None if it need not be.

    EMR Serverless: User Guide, "Other considerations": jobs without a VPC reach endpoints of the same region. Images
    and logs of a cluster may be in any region: EMR and S3A follow the redirect of S3. delta-rs and bootstrap actions do
    not.
    """
    if names.config.mode == "serverless":
        return "jobs of EMR Serverless without a VPC reach S3 only in their region"
    if role == "data":
        return "bootstrap actions and delta-rs do not follow the redirect of S3 to another region"
    if getattr(names.config.encryption, f"{role}_key"):
        return f"S3 requires encryption.{role}_key in the region of the bucket"
    return None if must_exist else "the stack imports the bucket"


def _topic_problem(topic: str, read: ReadApi) -> str | None:
    """Return why alarms do not reach an existing topic; None if they can."""
    found: Any = read("sns", "get_topic_attributes", {"TopicArn": topic}, ("NotFound",))
    if found is None:
        return "and there is no such topic: correct the ARN"
    if str(found["Attributes"].get("KmsMasterKeyId", "")).endswith("alias/aws/sns"):
        return (
            "which is encrypted with alias/aws/sns: CloudWatch and EventBridge cannot use this key, and its policy "
            "cannot be changed; encrypt the topic with a customer managed key"
        )
    return None


def _role_problem(names: Names, suffix: str, role: str, read: ReadApi) -> str | None:
    """Return why an existing role cannot be used; None if it can."""
    name = role.rpartition("/")[2]
    found: Any = read("iam", "get_role", {"RoleName": name}, ("NoSuchEntity",))
    if found is None:
        return "there is no such role; correct the name, or remove the key to create a role"
    if found["Role"]["Arn"] != names.role_arn(suffix):
        return f"its ARN is {found['Role']['Arn']}; write the path of the role"
    if suffix != "nodes":
        return None
    query = {"InstanceProfileName": name}
    profile: Any = read("iam", "get_instance_profile", query, ("NoSuchEntity",))
    roles = [one["RoleName"] for one in profile["InstanceProfile"]["Roles"]] if profile else []
    if roles != [name]:
        return f"EMR needs an instance profile {name} that contains this role"
    return None


def check_disk_key(names: Names, read: ReadApi) -> str | None:
    """Return why EMR's role may be unable to encrypt the volumes of the nodes; sends only read-only requests.

    Raises
    ------
    CloudError
        If the default of EBS cannot be read.
    """
    default: Any = read("ec2", "get_ebs_encryption_by_default", {})
    if not default["EbsEncryptionByDefault"] or names.existing_role("service"):
        return None
    found: Any = read("ec2", "get_ebs_default_kms_key_id", {})
    key, configured = found["KmsKeyId"], names.config.encryption.disk_key
    # The AWS managed key requires no permission of the role. The key of another alias is unknown.
    if key.endswith("alias/aws/ebs") or key == configured or (configured and "alias/" in key):
        return None
    return (
        f"EBS encrypts new volumes with {key} by default: if it is not an AWS managed key, no node starts unless "
        "encryption.disk_key names it"
    )


def check_residency(names: Names, read: ReadApi) -> list[str]:
    """Return why data would leave the residency of the configuration; sends only read-only requests.

    A bucket that cannot be read is a problem too, because its residency is unknown.
    """
    if names.config.residency is None:
        return []
    problems = []
    for bucket in names.buckets:
        try:
            region = bucket_region(read, bucket)
            if region is None:  # does not exist yet
                continue
            if region not in EU_REGIONS:
                problems.append(f"the bucket {bucket} is in {region}")
            problems += _replication_problems(bucket, read)
        except CloudError as error:
            problems.append(f"the bucket {bucket} cannot be checked: {error}")
    remedy = 'residency is "eu": keep buckets and their replicas in a region of the EU'
    return [f"{problem}; {remedy}" for problem in problems]


def _replication_problems(bucket: str, read: ReadApi) -> list[str]:
    """Return the destinations outside of the EU to which S3 replicates a bucket."""
    absent_codes = ("ReplicationConfigurationNotFoundError",)
    response: Any = read("s3", "get_bucket_replication", {"Bucket": bucket}, absent_codes)
    rules = response["ReplicationConfiguration"]["Rules"] if response else []
    problems = []
    for rule in rules:
        destination = rule["Destination"]["Bucket"].rpartition(":")[2]
        if rule["Status"] != "Enabled":
            continue
        try:
            region = bucket_region(read, destination)
        except CloudError:
            region = "an unknown region"
        if region not in EU_REGIONS:
            problems.append(f"the bucket {bucket} is replicated to {destination} in {region}")
    return problems
