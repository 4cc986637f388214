"""Tests for local sessions on a machine with other users: ports reject them, temporary files are private."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from streaming.cache_dir import private_folder
from streaming.spark.callbacks import start_callback_server
from support.processes.process_trees import process_tree

LOOPBACK = ("0100007F", "0000000000000000FFFF00000100007F")  # also IPv4 mapped to IPv6
NOBODY = 65534


def java_pid(spark: SparkSession) -> int:
    context: Any = spark.sparkContext
    return int(context._gateway.proc.pid)


def listening(pid: int) -> dict[int, str]:
    """Return the ports on which a process listens, with the addresses in hexadecimal as the kernel lists them.

    None if the process has ended, as workers of earlier tests do.
    """
    try:
        links = {os.readlink(entry.path) for entry in os.scandir(f"/proc/{pid}/fd")}
        tables = [Path(f"/proc/{pid}/net/{table}").read_text() for table in ("tcp", "tcp6")]
    except OSError:
        return {}
    rows = [line.split() for table in tables for line in table.splitlines()[1:]]
    addresses = [
        row[1].split(":") for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in links
    ]
    return {int(port, 16): address for address, port in addresses}


def send(port: int, request: bytes, until: bytes = b"never") -> bytes:
    """Send bytes to a port of this machine, as another user can; return the answer up to some text or its end."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        try:
            client.sendall(request)
            while until not in answer and (received := client.recv(4096)):
                answer += received
        except ConnectionError:  # rejected: the connection was reset
            pass
    return answer


@pytest.fixture
def daemon_port(spark: SparkSession) -> int:
    """The port of the daemon of Python workers, which starts with the first function in Python."""
    spark.sparkContext.parallelize([0], 1).map(str).collect()
    daemons = [
        pid
        for pid in process_tree(java_pid(spark))
        if b"-m\0streaming.spark.worker_daemon" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    (port,) = listening(daemons[0])
    return port


@pytest.mark.spark
def test_session_listens_on_loopback_only(spark: SparkSession, daemon_port: int) -> None:
    context: Any = spark.sparkContext
    assert context.uiWebUrl is None
    ports: dict[int, str] = {}
    for pid in process_tree(java_pid(spark)):
        ports |= listening(pid)
    own = {
        context._gateway._callback_server.server_socket.getsockname()[1],
        context._accumulatorServer.server_address[1],
    }
    ports |= {port: address for port, address in listening(os.getpid()).items() if port in own}
    # The gateway of Py4J, the RPC port, the block manager; the daemon; the callback and the accumulator server.
    assert len(ports) >= 6
    assert {daemon_port, *own} <= set(ports)
    assert set(ports.values()) <= set(LOOPBACK)


@pytest.mark.spark
@pytest.mark.parametrize("name", ["rpc", "block manager"])
def test_spark_port_rejects_unauthenticated_message(spark: SparkSession, name: str) -> None:
    context: Any = spark.sparkContext
    environment = context._jvm.org.apache.spark.SparkEnv.get()
    rpc = int(spark.conf.get("spark.driver.port") or 0)
    port = rpc if name == "rpc" else environment.blockManager().blockManagerId().port()
    java_object = (
        b"\xac\xed\x00\x05t\x00\x01a"  # a serialized string, which the RPC port would deserialize
    )
    body = (
        struct.pack(">bqi", 3, 1, len(java_object)) + java_object
    )  # the type, number and size of a request
    answer = send(port, struct.pack(">q", len(body) + 8) + body, until=b"SaslMessage")
    assert b"SaslMessage" in answer


@pytest.mark.spark
def test_secret_of_session_is_in_memory_only(spark: SparkSession) -> None:
    context: Any = spark.sparkContext
    security = context._jvm.org.apache.spark.SparkEnv.get().securityManager()
    assert security.isAuthenticationEnabled()
    secret = security.getSecretKey()
    assert len(secret) >= 32
    assert "spark.authenticate.secret" not in dict(context.getConf().getAll())
    # PySpark's server for accumulators serves one connection, that of Java, and others with the token of the gateway.
    assert context._accumulatorServer.auth_token == context._gateway.gateway_parameters.auth_token
    for pid in process_tree(java_pid(spark)):
        for file in ("cmdline", "environ"):
            with suppress(OSError):  # a worker of an earlier test has ended
                assert secret.encode() not in Path(f"/proc/{pid}/{file}").read_bytes()


@pytest.mark.spark
def test_gateway_rejects_unauthenticated_command(spark: SparkSession) -> None:
    parameters = spark.sparkContext._gateway.gateway_parameters  # type: ignore[union-attr]
    request = b"c\nz:java.lang.System\ncurrentTimeMillis\ne\n"
    assert b"!y" not in send(parameters.port, request)
    token = f"A\n{parameters.auth_token}\n".encode()
    assert b"!yL" in send(parameters.port, token + request, until=b"!yL")


@pytest.mark.spark
@pytest.mark.parametrize("token", [b"", b"A\nwrong\ne\n"])
def test_callback_server_rejects_unauthenticated_call(spark: SparkSession, token: bytes) -> None:
    gateway: Any = spark.sparkContext._gateway
    calls = []

    class Function:
        def call(self) -> None:
            calls.append(1)

    number = gateway.gateway_property.pool.put(Function())
    request = f"c\n{number}\ncall\ne\n".encode()
    port = gateway._callback_server.server_socket.getsockname()[1]
    assert b"!y" not in send(port, token + request)
    assert calls == []
    own = f"A\n{gateway.callback_server_parameters.auth_token}\ne\n".encode()
    assert b"!yn" in send(port, own + request, until=b"!yn")
    assert calls == [1]


@pytest.mark.spark
def test_callback_server_is_started_once(spark: SparkSession) -> None:
    gateway: Any = spark.sparkContext._gateway
    server, token = gateway._callback_server, gateway.callback_server_parameters.auth_token
    start_callback_server(gateway)
    assert gateway._callback_server is server
    assert gateway.callback_server_parameters.auth_token == token


@pytest.mark.spark
def test_worker_daemon_rejects_wrong_secret(spark: SparkSession, daemon_port: int) -> None:
    answer = send(daemon_port, struct.pack(">i", 5) + b"wrong", until=b"err")
    assert answer[4:] == struct.pack(">i", 3) + b"err"  # after the number of the process


@pytest.mark.spark
def test_temporary_files_of_spark_and_java_are_private(spark: SparkSession) -> None:
    java: Any = spark._jvm
    property_of = java.java.lang.System.getProperty
    local = Path(str(spark.conf.get("spark.local.dir")))
    hadoop = spark.sparkContext._jsc.hadoopConfiguration().get("hadoop.tmp.dir")  # type: ignore[attr-defined]
    assert property_of("java.io.tmpdir") == str(local)
    assert Path(hadoop).parent == local
    assert local.parent == private_folder()
    for folder in (local, private_folder()):
        assert folder.stat().st_mode & 0o777 == 0o700
    command = Path(f"/proc/{java_pid(spark)}/cmdline").read_text()
    assert f"-XX:ErrorFile={private_folder()}/hs_err_pid%p.log" in command
    assert f"-XX:ReplayDataFile={private_folder()}/replay_pid%p.log" in command


@pytest.mark.spark
@pytest.mark.skipif(os.geteuid() != 0, reason="starts a process as another user, which needs root")
def test_other_user_cannot_list_temporary_files(spark: SparkSession) -> None:
    local = str(spark.conf.get("spark.local.dir"))
    assert os.listdir(local)
    for folder in (local, str(private_folder())):
        done = subprocess.run(
            ["ls", folder], user=NOBODY, group=NOBODY, capture_output=True, text=True, check=False
        )
        assert done.returncode != 0
        assert "Permission denied" in done.stderr
