"""Names and ARNs of all resources of a configuration."""

from __future__ import annotations

from dataclasses import dataclass

from bootstrap.config.schema import ClusterConfig

#: Account number used without credentials.
PLACEHOLDER_ACCOUNT = "000000000000"


@dataclass(frozen=True)
class Names:
    """Names and ARNs derived from a configuration.

    Parameters
    ----------
    config : ClusterConfig
    account : str
        Account number, 12 digits.
    partition : str
        AWS partition: ``aws``, ``aws-cn``, …
    """

    config: ClusterConfig
    account: str = PLACEHOLDER_ACCOUNT
    partition: str = "aws"

    @property
    def data_bucket(self) -> str:
        """Name of the data bucket."""
        config = self.config
        return config.storage.data_bucket or f"{config.name}-data-{self.account}"

    @property
    def log_bucket(self) -> str:
        """Name of the log bucket."""
        config = self.config
        return config.storage.log_bucket or f"{config.name}-log-{self.account}"

    @property
    def images(self) -> tuple[str, str]:
        """Bucket and prefix of the images."""
        images = self.config.storage.images
        if images.startswith("s3://"):
            bucket, _, prefix = images.removeprefix("s3://").partition("/")
            return bucket, prefix
        return self.data_bucket, images

    @property
    def images_uri(self) -> str:
        """URI of the images."""
        bucket, prefix = self.images
        return f"s3://{bucket}/{prefix}"

    @property
    def lake_uri(self) -> str:
        """URI of the lake."""
        return f"s3://{self.data_bucket}/{self.config.storage.lake}".rstrip("/")

    @property
    def log_uri(self) -> str:
        """URI of the EMR logs."""
        return f"s3://{self.log_bucket}/emr/"

    def prefixed(self, suffix: str) -> str:
        """Return the name of a role, security group or schedule: the configuration's name and a suffix."""
        return f"{self.config.name}-{suffix}"

    def role_arn(self, suffix: str) -> str:
        """Return the ARN of a role of this configuration."""
        return f"arn:{self.partition}:iam::{self.account}:role/{self.prefixed(suffix)}"

    def bucket_arn(self, bucket: str, key: str = "") -> str:
        """Return the ARN of a bucket, or of its objects whose keys match `key`."""
        return f"arn:{self.partition}:s3:::{bucket}" + (f"/{key}" if key else "")

    def object_arns(self, bucket: str, prefix: str) -> tuple[str, ...]:
        """Return the ARNs of the objects below a prefix, and of the key that S3A requests to look up the folder.

        S3A sends HEAD for the key without the slash. Without permission for it, S3 answers 403 instead of 404.
        """
        keys = (prefix.rstrip("/"), f"{prefix}*") if prefix else ("*",)
        return tuple(self.bucket_arn(bucket, key) for key in keys)

    def arn(self, service: str, resource: str) -> str:
        """Return the ARN of a resource in the account and the region."""
        return f"arn:{self.partition}:{service}:{self.config.region}:{self.account}:{resource}"
