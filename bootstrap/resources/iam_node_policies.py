"""IAM policies of the cluster's nodes and of EMR Serverless jobs."""

from __future__ import annotations

from bootstrap.config.names import Names
from bootstrap.resources.iam_policies import Statement, only_below


def node_statements(names: Names) -> list[Statement]:
    """The nodes: what ingestion, refits and notebooks do."""
    made = _pipeline_statements(names)
    if names.description.release == "emr-7.13.0":
        made.append(
            Statement(
                "KeepNotebooks",
                ("s3:GetObject", "s3:PutObject", "s3:DeleteObject"),
                (names.bucket(names.data, "jupyter/*"),),
                "JupyterHub keeps its notebooks in the bucket: a cluster's disks end with it",
            )
        )
    made.append(
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
            "the tunnel without an open port; these actions know no narrower resource",
        )
    )
    return made


def job_statements(names: Names) -> list[Statement]:
    """A job of EMR Serverless: what ingestion and refits do."""
    return _pipeline_statements(names)


def _pipeline_statements(names: Names) -> list[Statement]:
    bucket, prefix = names.images
    lake = names.description.storage.lake
    made = [
        Statement(
            "ListData",
            ("s3:ListBucket", "s3:GetBucketLocation"),
            (names.bucket(names.data),),
            "the stream lists images, Delta lists its log",
        ),
        Statement(
            "ReadImages",
            ("s3:GetObject",),
            (names.bucket(bucket, f"{prefix}*"),),
            "images are read, and never changed",
        ),
        Statement(
            "ReadFiles",
            ("s3:GetObject",),
            (names.bucket(names.data, "pomona/*"),),
            "environment, scripts and jar are fetched at start",
        ),
        Statement(
            "WriteLake",
            ("s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"),
            (names.bucket(names.data, f"{lake}*"),),
            "tables, checkpoints, lease and refits; deleting is what ends a lease or a temporary file",
        ),
        Statement(
            "WriteLogs",
            ("s3:PutObject",),
            (names.bucket(names.log, "emr/*"),),
            "logs are written, and cannot be read or removed by who wrote them",
        ),
    ]
    if bucket != names.data:
        made.insert(
            1,
            Statement(
                "ListImages",
                ("s3:ListBucket", "s3:GetBucketLocation"),
                (names.bucket(bucket),),
                "the images lie in a bucket of their own, of which the rest is not shown",
                only_below(prefix) if prefix else {},
            ),
        )
    return made
