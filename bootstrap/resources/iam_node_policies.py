"""IAM policies of the cluster's nodes and of EMR Serverless jobs."""

from __future__ import annotations

from bootstrap.config.names import Names
from bootstrap.resources.iam_policies import Statement, locate_statement, prefix_condition


def node_policy(names: Names) -> list[Statement]:
    """Return the policy of the nodes: ingestion, refits and notebooks."""
    result = _pipeline_statements(names)
    if names.config.release == "emr-7.13.0":
        result.append(
            Statement(
                "KeepNotebooks",
                ("s3:GetObject", "s3:PutObject", "s3:DeleteObject"),
                names.object_arns(names.data_bucket, "jupyter/"),
                "JupyterHub stores notebooks in the bucket, because the disks are deleted with the cluster",
            )
        )
    result.append(
        Statement(
            "SessionManager",
            (
                "ssm:UpdateInstanceInformation",
                "ssmmessages:CreateControlChannel",
                "ssmmessages:CreateDataChannel",
                "ssmmessages:OpenControlChannel",
                "ssmmessages:OpenDataChannel",
            ),
            ("*",),
            "a tunnel through Session Manager needs no open port; these actions support no narrower resource",
        )
    )
    return result


def job_policy(names: Names) -> list[Statement]:
    """Return the policy of EMR Serverless jobs: ingestion and refits."""
    return _pipeline_statements(names)


def _pipeline_statements(names: Names) -> list[Statement]:
    bucket, prefix = names.images
    lake = names.config.storage.lake
    result = [
        Statement(
            "ListData",
            ("s3:ListBucket",),
            (names.bucket_arn(names.data_bucket),),
            "the stream lists images, and Delta lists its log",
        ),
        locate_statement(names),
        Statement(
            "ReadImages",
            ("s3:GetObject",),
            names.object_arns(bucket, prefix),
            "images are read-only",
        ),
        Statement(
            "ReadFiles",
            ("s3:GetObject",),
            (names.bucket_arn(names.data_bucket, "pomona/*"),),
            "environment, scripts and jar are downloaded at start",
        ),
        Statement(
            "WriteLake",
            ("s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"),
            names.object_arns(names.data_bucket, lake),
            "tables, checkpoints, lease and refits; leases and temporary files are deleted",
        ),
        *_look_up_parents(names),
        Statement(
            "WriteLogs",
            ("s3:PutObject",),
            (names.bucket_arn(names.log_bucket, "emr/*"),),
            "logs can be written, but not read or deleted",
        ),
    ]
    if bucket != names.data_bucket:
        result.insert(
            1,
            Statement(
                "ListImages",
                ("s3:ListBucket",),
                (names.bucket_arn(bucket),),
                "the images are in another bucket; no other prefix of it can be listed",
                prefix_condition(prefix) if prefix else {},
            ),
        )
    return result


def lake_parent_arns(names: Names) -> tuple[str, ...]:
    """Return the ARNs of the folders above the lake, as keys without a slash at the end."""
    parts = names.config.storage.lake.rstrip("/").split("/")[:-1]
    keys = ["/".join(parts[: end + 1]) for end in range(len(parts))]
    return tuple(names.bucket_arn(names.data_bucket, key) for key in keys)


def _look_up_parents(names: Names) -> list[Statement]:
    """Return the statement for the folders above the lake, which S3A looks up before it creates one below."""
    arns = lake_parent_arns(names)
    if not arns:
        return []
    return [
        Statement(
            "LookUpParents",
            ("s3:GetObject",),
            arns,
            "S3A looks up the folders above the lake; only these keys, not what is in the folders",
        )
    ]
