"""Names and ARNs of all resources of a configuration."""

from __future__ import annotations

from dataclasses import dataclass

from bootstrap.config.schema import ClusterConfig

#: Stands for the account where no credentials say which.
NO_ACCOUNT = "000000000000"


@dataclass(frozen=True)
class Names:
    """What things are called.

    Parameters
    ----------
    description : Description
    account : str
        12 digits.
    partition : str
        ``aws``, ``aws-cn``, …: the first part of every ARN after ``arn``.
    """

    description: ClusterConfig
    account: str = NO_ACCOUNT
    partition: str = "aws"

    @property
    def data(self) -> str:
        """The data bucket."""
        d = self.description
        return d.storage.data_bucket or f"{d.name}-data-{self.account}"

    @property
    def log(self) -> str:
        """The log bucket."""
        d = self.description
        return d.storage.log_bucket or f"{d.name}-log-{self.account}"

    @property
    def images(self) -> tuple[str, str]:
        """Bucket and prefix of the images."""
        images = self.description.storage.images
        if images.startswith("s3://"):
            bucket, _, prefix = images.removeprefix("s3://").partition("/")
            return bucket, prefix
        return self.data, images

    @property
    def images_uri(self) -> str:
        """Where the images are."""
        bucket, prefix = self.images
        return f"s3://{bucket}/{prefix}"

    @property
    def lake_uri(self) -> str:
        """Where the lake is."""
        return f"s3://{self.data}/{self.description.storage.lake}".rstrip("/")

    @property
    def log_uri(self) -> str:
        """Where EMR puts its logs."""
        return f"s3://{self.log}/emr/"

    def of(self, what: str) -> str:
        """Name of a role, a group or a schedule."""
        return f"{self.description.name}-{what}"

    def role(self, what: str) -> str:
        """ARN of one of our roles."""
        return f"arn:{self.partition}:iam::{self.account}:role/{self.of(what)}"

    def bucket(self, bucket: str, below: str = "") -> str:
        """ARN of a bucket, or of objects in it."""
        return f"arn:{self.partition}:s3:::{bucket}" + (f"/{below}" if below else "")

    def arn(self, service: str, rest: str) -> str:
        """ARN of something in the account's region."""
        return f"arn:{self.partition}:{service}:{self.description.region}:{self.account}:{rest}"
