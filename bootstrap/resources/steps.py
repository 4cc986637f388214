"""The `spark-submit` arguments that start the command `pomona` in a step or a job."""

from __future__ import annotations

from collections.abc import Mapping

from bootstrap.aws.request import Parameters
from bootstrap.config.names import Names
from bootstrap.resources.uploads import UploadLocations

#: Python of the environment that `bootstrap_emr.sh` unpacks.
PYTHON = "/opt/pomona/bin/python"
#: Files of the environment for `spark-submit`. On S3, they could be changed without a check.
_SPARK_FILES = "/opt/pomona/spark"
_DELTA = "/usr/share/aws/delta/lib"

#: Delta of the EMR release with the fenced log store, see docs/decisions/0015-fence-commits.md.
_SETTINGS = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.delta.logStore.s3a.impl": "pomona.delta.FencedLogStore",
}
#: Event log of a stream: EMR writes it to HDFS, where one file would grow until the disks are full. The history server
#: of the cluster compacts its files, see `spark-defaults`.
_EVENT_LOG = {
    "spark.eventLog.rolling.enabled": "true",
    "spark.eventLog.rolling.maxFileSize": "128m",
    "spark.eventLog.compress": "true",
}


def ingest_arguments(names: Names) -> list[str]:
    """Return the arguments of `pomona` for ingestion."""
    config = names.config
    trigger = str(config.ingest.trigger_seconds)
    options = ["--trigger", trigger] if config.is_streaming else ["--once"]
    if config.publishes_metrics:
        options += ["--cloudwatch", names.metrics_namespace]
    return ["ingest", names.images_uri, names.lake_uri, *options, *_glue_database(names)]


def refit_arguments(names: Names) -> list[str]:
    """Return the arguments of `pomona` for a refit."""
    config = names.config
    options = ["--variance", str(config.refit.variance)]
    if not config.starts_clusters:  # the schedule may start it before the first rows exist
        options.append("--skip-empty")
    return ["refit", names.lake_uri, *options, *_glue_database(names)]


def _glue_database(names: Names) -> list[str]:
    database = names.config.glue.database
    return ["--glue-database", database] if database else []


def ingest_step(names: Names, locations: UploadLocations) -> Parameters:
    """Return the ingestion step; YARN restarts a stream after a failure."""
    attempts = names.config.ingest.restarts_an_hour if names.config.is_streaming else 1
    # Leave the capacity of one node for a refit, which otherwise waits until the stream is idle.
    max_executors = max(1, 2 * (names.config.limits.nodes - names.config.reserved_nodes))
    settings = {"spark.dynamicAllocation.maxExecutors": str(max_executors), **_EVENT_LOG}
    arguments = _arguments(locations, ingest_arguments(names), attempts, settings)
    return _step(names.prefixed("ingest"), arguments)


def refit_step(names: Names, locations: UploadLocations) -> Parameters:
    """Return the refit step; it is not restarted, because the schedule starts the next one."""
    return _step(names.prefixed("refit"), _arguments(locations, refit_arguments(names), 1))


def with_time_limit(step: Parameters, hours: int) -> Parameters:
    """Return the step with a limit of its duration, for a cluster that no `hour_limit` terminates.

    The step fails after so many hours. Its application continues on YARN until the cluster terminates.
    """
    job = step["HadoopJarStep"]
    return step | {"HadoopJarStep": job | {"Args": ["timeout", f"{hours}h", *job["Args"]]}}


def _step(name: str, arguments: list[str]) -> Parameters:
    return {
        "Name": name,
        "ActionOnFailure": "CONTINUE",
        "HadoopJarStep": {"Jar": "command-runner.jar", "Args": arguments},
    }


def _client_settings(names: Names, driver_environment: str) -> dict[str, str]:
    """Return the settings that pass region and KMS key to S3A, boto3 and delta-rs, on the driver and on the executors.

    Without a region, S3A and delta-rs use us-east-1, and delta-rs fails on the redirect.
    """
    variables = dict.fromkeys(("AWS_REGION", "AWS_DEFAULT_REGION"), names.config.region)
    if key := names.config.encryption.data_key:
        variables["AWS_SSE_KMS_KEY_ID"] = key
    environments = (driver_environment, "spark.executorEnv")
    return {
        **s3a_settings(names),
        **{f"{prefix}.{k}": value for prefix in environments for k, value in variables.items()},
    }


def s3a_settings(names: Names) -> dict[str, str]:
    """Return the settings of S3A: the region, and the KMS key for what is written to the data bucket."""
    settings = {"spark.hadoop.fs.s3a.endpoint.region": names.config.region}
    if key := names.config.encryption.data_key:
        bucket = f"spark.hadoop.fs.s3a.bucket.{names.data_bucket}.encryption"
        settings |= {f"{bucket}.algorithm": "SSE-KMS", f"{bucket}.key": key}
    return settings


def _arguments(
    locations: UploadLocations,
    arguments: list[str],
    attempts: int,
    more: Mapping[str, str] | None = None,
) -> list[str]:
    names = locations.names
    jars = [f"local://{_DELTA}/{name}.jar" for name in ("delta-spark", "delta-storage")]
    settings = {
        **_SETTINGS,
        **_client_settings(names, "spark.yarn.appMasterEnv"),
        "spark.submit.pyFiles": jars[0],  # contains the Python package `delta`
        "spark.jars": ",".join([*jars, f"local://{_SPARK_FILES}/fenced-log-store.jar"]),
        "spark.pyspark.python": PYTHON,
        "spark.yarn.maxAppAttempts": str(attempts),
        "spark.yarn.am.attemptFailuresValidityInterval": "1h",
        # Two executors of two cores on a node of 16 GB; models and images are outside the Java heap.
        "spark.executor.cores": "2",
        "spark.executor.memory": "3g",
        "spark.executor.memoryOverhead": "2g",
        "spark.driver.memory": "3g",
        **(more or {}),
    }
    conf = [arg for key, value in settings.items() for arg in ("--conf", f"{key}={value}")]
    return [
        "spark-submit",
        "--deploy-mode",
        "cluster",
        *conf,
        f"file://{_SPARK_FILES}/submit.py",
        *arguments,
    ]


def serverless_driver(names: Names, locations: UploadLocations, arguments: list[str]) -> Parameters:
    """Return the job driver of EMR Serverless; the environment is passed as an archive."""
    python = "./environment/bin/python"
    # Stream and refit each leave capacity for a driver of 2 vCPU and one executor of 4.
    max_executors = names.config.limits.nodes - names.config.reserved_nodes
    jars = [f"{_DELTA}/{name}.jar" for name in ("delta-spark", "delta-storage")]
    settings = {
        **_SETTINGS,
        **_client_settings(names, "spark.emr-serverless.driverEnv"),
        "spark.submit.pyFiles": jars[0],
        "spark.jars": ",".join([*jars, locations.uri("fenced-log-store.jar")]),
        "spark.archives": locations.uri("environment.tar.gz") + "#environment",
        "spark.pyspark.python": python,
        "spark.emr-serverless.driverEnv.PYSPARK_DRIVER_PYTHON": python,
        "spark.emr-serverless.driverEnv.PYSPARK_PYTHON": python,
        "spark.executorEnv.PYSPARK_PYTHON": python,
        "spark.driver.cores": "2",
        "spark.driver.memory": "6g",
        "spark.executor.cores": "4",
        "spark.executor.memory": "8g",
        "spark.executor.memoryOverhead": "4g",
        # EMR Serverless starts with three, and Spark rejects more than the maximum.
        "spark.executor.instances": "1",
        "spark.dynamicAllocation.initialExecutors": "1",
        "spark.dynamicAllocation.maxExecutors": str(max_executors),
    }
    conf = " ".join(f"--conf {key}={value}" for key, value in settings.items())
    return {
        "sparkSubmit": {
            "entryPoint": locations.uri("submit.py"),
            "entryPointArguments": arguments,
            "sparkSubmitParameters": conf,
        }
    }
