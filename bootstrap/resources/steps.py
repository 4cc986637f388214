"""The `spark-submit` arguments that start the command `pomona` in a step or a job."""

from __future__ import annotations

from bootstrap.aws.request import Parameters
from bootstrap.config.names import Names
from bootstrap.resources.uploads import Places

#: Where `bootstrap_emr.sh` unpacks the environment.
PYTHON = "/opt/pomona/bin/python"
_DELTA = "/usr/share/aws/delta/lib"

#: Delta as the release brings it, and the fence, see "One writer" in `ARCHITECTURE.md`.
_SETTINGS = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.delta.logStore.s3a.impl": "pomona.delta.FencedLogStore",
}


def ingest_words(names: Names) -> list[str]:
    """The words after `pomona` that take images in."""
    once = [] if names.description.endless else ["--once"]
    return ["ingest", names.images_uri, names.lake_uri, *once]


def refit_words(names: Names) -> list[str]:
    """The words after `pomona` that refit."""
    return ["refit", names.lake_uri, "--variance", str(names.description.refit.variance)]


def ingest_step(names: Names, places: Places) -> Parameters:
    """The step that takes images in; a stream is started again by YARN when it fails."""
    attempts = names.description.ingest.restarts_an_hour if names.description.endless else 1
    # A node's room is left for a refit, which would else wait until the stream has nothing to do.
    most = max(1, 2 * names.description.limits.nodes - 2)
    return _step(
        names.of("ingest"), _arguments(places, ingest_words(names), attempts, executors=most)
    )


def refit_step(names: Names, places: Places) -> Parameters:
    """The step that refits; the schedule tries again, so YARN need not."""
    return _step(names.of("refit"), _arguments(places, refit_words(names), 1))


def _step(name: str, arguments: list[str]) -> Parameters:
    return {
        "Name": name,
        "ActionOnFailure": "CONTINUE",
        "HadoopJarStep": {"Jar": "command-runner.jar", "Args": arguments},
    }


def _arguments(
    places: Places, words: list[str], attempts: int, executors: int | None = None
) -> list[str]:
    jars = [f"local://{_DELTA}/{name}.jar" for name in ("delta-spark", "delta-storage")]
    settings = {
        **_SETTINGS,
        "spark.submit.pyFiles": jars[0],  # which holds the Python package `delta`
        "spark.jars": ",".join([*jars, places.uri("fenced-log-store.jar")]),
        "spark.pyspark.python": PYTHON,
        "spark.yarn.maxAppAttempts": str(attempts),
        "spark.yarn.am.attemptFailuresValidityInterval": "1h",
        # Two executors of two cores on a node of 16 GB; networks and images live beside Java's heap.
        "spark.executor.cores": "2",
        "spark.executor.memory": "3g",
        "spark.executor.memoryOverhead": "2g",
        "spark.driver.memory": "3g",
    }
    if executors is not None:
        settings["spark.dynamicAllocation.maxExecutors"] = str(executors)
    told = [word for key, value in settings.items() for word in ("--conf", f"{key}={value}")]
    return ["spark-submit", "--deploy-mode", "cluster", *told, places.uri("submit.py"), *words]


def serverless_driver(names: Names, places: Places, words: list[str]) -> Parameters:
    """What a job of EMR Serverless runs: the environment comes along as an archive."""
    python = "./environment/bin/python"
    most = max(1, names.description.limits.nodes - 1)
    jars = [f"{_DELTA}/{name}.jar" for name in ("delta-spark", "delta-storage")]
    settings = {
        **_SETTINGS,
        "spark.submit.pyFiles": jars[0],
        "spark.jars": ",".join([*jars, places.uri("fenced-log-store.jar")]),
        "spark.archives": places.uri("environment.tar.gz") + "#environment",
        "spark.pyspark.python": python,
        "spark.emr-serverless.driverEnv.PYSPARK_DRIVER_PYTHON": python,
        "spark.emr-serverless.driverEnv.PYSPARK_PYTHON": python,
        "spark.executorEnv.PYSPARK_PYTHON": python,
        "spark.driver.cores": "2",
        "spark.driver.memory": "6g",
        "spark.executor.cores": "4",
        "spark.executor.memory": "8g",
        "spark.executor.memoryOverhead": "4g",
        "spark.dynamicAllocation.maxExecutors": str(most),
    }
    told = " ".join(f"--conf {key}={value}" for key, value in settings.items())
    return {
        "sparkSubmit": {
            "entryPoint": places.uri("submit.py"),
            "entryPointArguments": words,
            "sparkSubmitParameters": told,
        }
    }
