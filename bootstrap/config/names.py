"""Names and ARNs of all resources of a configuration."""

from __future__ import annotations

from dataclasses import dataclass

from bootstrap.config.schema import ClusterConfig
from bootstrap.errors import ConfigError

#: Account number used without credentials.
PLACEHOLDER_ACCOUNT = "000000000000"
#: Suffixes of the roles, which are also the keys of the table `[roles]`.
ROLES = ("service", "nodes", "job", "scheduler", "evaluator")


def metrics_namespace(name: str) -> str:
    """Return the CloudWatch namespace of the metrics of a stream; each pipeline has its own."""
    return f"Pomona/{name}"


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

    Raises
    ------
    ConfigError
        If the locations of images, lake, uploads and logs overlap, with the defaults of omitted settings. The policies
        grant access by location: with overlapping ones, the evaluator could read logs and uploads, and the nodes write
        images.
    """

    config: ClusterConfig
    account: str = PLACEHOLDER_ACCOUNT
    partition: str = "aws"

    def __post_init__(self) -> None:
        storage, data, logs = self.config.storage, self.data_bucket, self.log_bucket
        if data == logs:
            self._reject_equal_buckets()
        bucket, prefix = self.images
        written = f"storage.images is {storage.images!r}"
        if storage.images.startswith("s3://") and bucket == data:
            raise self._error(
                ("storage.images", "storage.data_bucket"),
                f"{written}, in the data bucket ({self.bucket_setting('data')}): "
                "name a folder of that bucket without s3://, such as 'images/', or another bucket",
            )
        if bucket == logs:
            raise self._error(
                ("storage.images", "storage.log_bucket"),
                f"{written}, in the log bucket ({self.bucket_setting('log')}), "
                f"where all objects expire after {storage.log_days} days: name another bucket",
            )
        # Prefixes end with a slash: a prefix of the text is a folder above.
        if bucket == data and (prefix.startswith(storage.lake) or storage.lake.startswith(prefix)):
            raise self._error(
                ("storage.images", "storage.lake"),
                f"{written}; it must not contain the lake, storage.lake {storage.lake!r}, or be inside it: "
                "name two separate folders",
            )

    def _reject_equal_buckets(self) -> None:
        """Raise the error for one bucket of data and logs, first naming a setting that is written."""
        written, other = ("log", "data") if self.config.storage.log_bucket else ("data", "log")
        raise self._error(
            (f"storage.{written}_bucket", f"storage.{other}_bucket"),
            f"{self.bucket_setting(written)}; it must differ from the {other} bucket "
            f"({self.bucket_setting(other)}): name another bucket",
        )

    def _error(self, keys: tuple[str, str], message: str) -> ConfigError:
        """Return the error for two settings, with the line of the first one that is present."""
        return ConfigError(f"{self.config.lines(*keys)}: {message}")

    def bucket_setting(self, role: str) -> str:
        """Return the setting of the bucket of data or logs with its value, for messages."""
        key = f"{role}_bucket"
        default = "" if getattr(self.config.storage, key) else " by default"
        return f"storage.{key} is {getattr(self, key)!r}{default}"

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

    @property
    def buckets(self) -> list[str]:
        """Names of the buckets of data, logs and images, each once."""
        return list(dict.fromkeys((self.data_bucket, self.log_bucket, self.images[0])))

    @property
    def metrics_namespace(self) -> str:
        """CloudWatch namespace of the metrics of the stream."""
        return metrics_namespace(self.config.name)

    @property
    def tags(self) -> dict[str, str]:
        """Tags of all resources that accept tags: ``pomona`` with the name of the configuration, and its own."""
        return {"pomona": self.config.name, **(self.config.tags or {})}

    @property
    def tag_list(self) -> list[dict[str, str]]:
        """`tags` in the form of EMR, EC2 and CloudFormation."""
        return [{"Key": key, "Value": value} for key, value in self.tags.items()]

    @property
    def failed_refits(self) -> str:
        """Name of the queue that receives the starts of refits that failed."""
        return self.prefixed("refit-failures")

    @property
    def failed_refits_arn(self) -> str:
        """ARN of the queue `failed_refits`."""
        return self.arn("sqs", self.failed_refits)

    def prefixed(self, suffix: str) -> str:
        """Return the name of a role, security group or schedule: the configuration's name and a suffix."""
        return f"{self.config.name}-{suffix}"

    def existing_role(self, suffix: str) -> str | None:
        """Return the existing role that the configuration names, with its path, or None."""
        name: str | None = getattr(self.config.roles, suffix)
        return name

    def role_arn(self, suffix: str) -> str:
        """Return the ARN of a role, existing or of this configuration."""
        return f"arn:{self.partition}:iam::{self.account}:role/{self._with_path(suffix)}"

    def emr_role(self, suffix: str) -> str:
        """Return a role or an instance profile as EMR identifies it: its name, or its ARN if it has a path."""
        name = self._with_path(suffix)
        if "/" not in name:
            return name
        kind = "instance-profile" if suffix == "nodes" else "role"
        return f"arn:{self.partition}:iam::{self.account}:{kind}/{name}"

    def _with_path(self, suffix: str) -> str:
        path = self.config.roles.path.lstrip("/")
        return self.existing_role(suffix) or f"{path}{self.prefixed(suffix)}"

    def bucket_arn(self, bucket: str, key: str = "") -> str:
        """Return the ARN of a bucket, or of its objects whose keys match `key`."""
        return f"arn:{self.partition}:s3:::{bucket}" + (f"/{key}" if key else "")

    def object_arns(self, bucket: str, prefix: str) -> tuple[str, ...]:
        """Return the ARNs of the objects below a prefix, and of the key that S3A requests to look up the folder.

        S3A sends HEAD for the key without the slash. Without permission for it, S3 returns 403 instead of 404.
        """
        keys = (prefix.rstrip("/"), f"{prefix}*") if prefix else ("*",)
        return tuple(self.bucket_arn(bucket, key) for key in keys)

    def arn(self, service: str, resource: str) -> str:
        """Return the ARN of a resource in the account and the region."""
        return f"arn:{self.partition}:{service}:{self.config.region}:{self.account}:{resource}"
