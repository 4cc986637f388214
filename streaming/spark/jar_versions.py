"""Jar versions for each supported Spark version: Delta Lake, S3A and a slim AWS SDK, as data.

The first set is the locked default. The others correspond to EMR releases; there the cluster provides these jars,
and `make compat` runs the tests against them.
"""

from __future__ import annotations

from dataclasses import dataclass

from streaming.errors import PlatformError

_MODULES = (
    "s3",
    "s3-transfer-manager",
    "sts",
    "sso",
    "ssooidc",
    "apache-client",
    "netty-nio-client",
)
_CLIENTS = ("hadoop-client-api", "hadoop-client-runtime")
# Spark ships these itself; the SDK's bundle of 700 MB is replaced by the modules above.
_EXCLUDES = (
    "com.fasterxml.jackson.core:*",
    "com.fasterxml.jackson.datatype:*",
    "com.github.luben:*",
    "com.google.code.findbugs:*",
    "commons-codec:*",
    "commons-logging:*",
    "commons-pool:*",
    "io.airlift:*",
    "io.netty:*",
    "javax.annotation:*",
    "org.antlr:*",
    "org.apache.httpcomponents:*",
    "org.apache.logging.log4j:*",
    "org.apache.parquet:*",
    "org.locationtech.jts:*",
    "org.roaringbitmap:*",
    "org.slf4j:*",
    "org.wildfly.openssl:*",
    "org.xerial.snappy:*",
    "software.amazon.awssdk:bundle",
)


@dataclass(frozen=True)
class JarSet:
    """The jars that Ivy resolves.

    Parameters
    ----------
    packages, excludes : tuple of str
        Maven coordinates.
    """

    packages: tuple[str, ...]
    excludes: tuple[str, ...]


def _jar_set(delta: str, hadoop: str, sdk: str, own_clients: bool = True) -> JarSet:
    """Build a jar set; without `own_clients` it includes Hadoop's client jars, which precede those of Spark."""
    clients = tuple(f"org.apache.hadoop:{name}" for name in _CLIENTS)
    modules = (f"software.amazon.awssdk:{module}:{sdk}" for module in _MODULES)
    packages = (delta, f"org.apache.hadoop:hadoop-aws:{hadoop}", *modules)
    if own_clients:
        return JarSet(packages, tuple(sorted((*_EXCLUDES, *clients))))
    return JarSet((*packages, *(f"{client}:{hadoop}" for client in clients)), _EXCLUDES)


#: Keyed by the major and minor version of Spark.
JAR_SETS = {
    "4.2": _jar_set("io.delta:delta-spark_4.2_2.13:4.4.0", "3.5.0", "2.35.5"),
    # emr-spark-8.0.0 has Hadoop 3.4.2, built with this version of the SDK. Spark 4.0 ships the clients of 3.4.1, with
    # which S3A of 3.4.2 fails: NoSuchMethodError in ConfigurationHelper.
    "4.0": _jar_set("io.delta:delta-spark_2.13:4.0.0", "3.4.2", "2.29.52", own_clients=False),
    # emr-7.13.0 has Hadoop 3.4, but Spark 3.5 ships 3.3: S3A needs 3.4 for version 2 of the AWS SDK.
    "3.5": _jar_set("io.delta:delta-spark_2.12:3.3.2", "3.4.1", "2.24.8", own_clients=False),
}


def jar_set(spark_version: str) -> JarSet:
    """Return the jars for a version of Spark.

    Parameters
    ----------
    spark_version : str
        Such as ``4.2.0``.

    Raises
    ------
    PlatformError
        If the version is not supported.
    """
    minor = ".".join(spark_version.split(".")[:2])
    if minor not in JAR_SETS:
        raise PlatformError(
            f"pyspark {spark_version} is not supported: install one of {', '.join(JAR_SETS)}"
        )
    return JAR_SETS[minor]
