"""Tests for AWS profiles: the files of `aws configure` are sufficient, and secrets do not reach Spark or logs.

The user has exactly the permissions of a cluster's nodes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import boto3
import deltalake
import pytest

from bootstrap.resources.iam_node_policies import node_policy
from bootstrap.resources.iam_policies import policy_document
from streaming.cache_dir import cache_folder
from streaming.spark.jars import jar_files
from support.aws.cluster_configs import names
from support.aws.moto_users import create_user_with_policy, enforce_iam
from support.lakes.small_lakes import jpeg

pytestmark = pytest.mark.end_to_end

RUN = """
import sys
from pyspark.sql import SparkSession
from streaming.ingest.pipeline import ingest
from streaming.ingest.settings import IngestSettings

summary = ingest(sys.argv[1], sys.argv[2], IngestSettings(once=True))
print(dict(summary.outcomes))
context = SparkSession.getActiveSession().sparkContext
print("SPARK", context.getConf().getAll())
hadoop = context._jsc.hadoopConfiguration()
print("HADOOP", [str(entry) for entry in hadoop.iterator()])
context.stop()
"""


@pytest.fixture
def user(bucket: str) -> dict[str, str]:
    storage = f'{{data_bucket = "{bucket}", images = "fruits/", lake = "a/lake/"}}'
    return create_user_with_policy(
        f"fruits-{bucket}", policy_document(node_policy(names(f"storage = {storage}\n")))
    )


@pytest.fixture
def profile_environment(
    aws: Mapping[str, str], user: Mapping[str, str], tmp_path: Path
) -> dict[str, str]:
    """Return an environment with AWS settings only in files of the home folder."""
    folder = tmp_path / "home" / ".aws"
    folder.mkdir(parents=True)
    (folder / "config").write_text(
        f"[profile fruits]\nregion = eu-west-3\nendpoint_url = {aws['AWS_ENDPOINT_URL']}\n"
    )
    (folder / "credentials").write_text(
        f"[fruits]\naws_access_key_id = {user['AWS_ACCESS_KEY_ID']}\n"
        f"aws_secret_access_key = {user['AWS_SECRET_ACCESS_KEY']}\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    home = {"HOME": str(folder.parent), "XDG_CACHE_HOME": str(cache_folder().parent)}
    return environment | home | {"AWS_PROFILE": "fruits", "AWS_EC2_METADATA_DISABLED": "true"}


@pytest.mark.long
def test_profile_is_sufficient_and_secrets_are_not_printed(
    aws: dict[str, str],
    bucket: str,
    user: dict[str, str],
    profile_environment: dict[str, str],
    random_model: Path,
) -> None:
    jar_files()
    s3 = boto3.client("s3")
    for number in range(3):
        s3.put_object(Bucket=bucket, Key=f"fruits/Fig/{number}.jpg", Body=jpeg(number))
    for file in (file for file in random_model.rglob("*") if file.is_file()):
        s3.upload_file(str(file), bucket, f"a/lake/models/{file.relative_to(random_model)}")
    command = [sys.executable, "-c", RUN, f"s3://{bucket}/fruits", f"s3://{bucket}/a/lake"]
    with enforce_iam(aws["AWS_ENDPOINT_URL"]):
        done = subprocess.run(
            command,
            env=profile_environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
    assert done.returncode == 0, done.stderr
    options = {**aws, "AWS_ALLOW_HTTP": "true"}
    features = deltalake.DeltaTable(f"s3://{bucket}/a/lake/features", storage_options=options)
    paths = features.to_pyarrow_table(columns=["path"])["path"].to_pylist()
    assert sorted(paths) == [f"s3a://{bucket}/fruits/Fig/{number}.jpg" for number in range(3)]
    assert f"'spark.hadoop.fs.s3a.endpoint', '{aws['AWS_ENDPOINT_URL']}'" in done.stdout
    assert "fs.s3a.endpoint.region=eu-west-3" in done.stdout
    assert not [secret for secret in user.values() if secret in done.stdout + done.stderr]
