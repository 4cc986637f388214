"""S3A settings with which Spark reaches the same S3 endpoint as boto3, with the same credentials."""

from __future__ import annotations

from urllib.parse import urlparse

from streaming.errors import SourceError
from streaming.storage.s3_client import kms_key, s3_client


def s3a_settings() -> dict[str, str]:
    """Return settings of S3A; they contain no secrets.

    Returns
    -------
    dict of str to str
        A credentials provider that supports profiles and SSO as boto3 does; the endpoint, region and KMS key of
        boto3, if set.

    Raises
    ------
    SourceError
        If the endpoint contains a user or a password.
    """
    meta = s3_client().meta
    provider = "software.amazon.awssdk.auth.credentials.DefaultCredentialsProvider"
    conf = {"fs.s3a.aws.credentials.provider": provider}
    if meta.region_name and meta.region_name != "aws-global":
        conf["fs.s3a.endpoint.region"] = meta.region_name
    if key := kms_key():
        conf |= {"fs.s3a.encryption.algorithm": "SSE-KMS", "fs.s3a.encryption.key": key}
    endpoint = urlparse(meta.endpoint_url)
    if endpoint.username or endpoint.password:
        raise SourceError(
            "the S3 endpoint contains a user name or password, which Spark would write into its logs: "
            "remove them from AWS_ENDPOINT_URL, or from the profile's endpoint_url"
        )
    host = endpoint.hostname or ""
    # S3A determines the public endpoints of AWS by itself, but not those of a VPC.
    if ".vpce." in host or not host.endswith((".amazonaws.com", ".amazonaws.com.cn")):
        conf |= {
            "fs.s3a.endpoint": meta.endpoint_url,
            "fs.s3a.endpoint.region": meta.region_name or "us-east-1",
            "fs.s3a.path.style.access": "true",
            "fs.s3a.connection.ssl.enabled": str(endpoint.scheme == "https").lower(),
        }
    return conf
