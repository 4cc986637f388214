"""The port on which Java calls functions in Python, such as that of a micro-batch, with a token.

PySpark starts this server of Py4J without one: every user of the machine could call the functions that are registered.
"""

from __future__ import annotations

import secrets

from py4j.clientserver import ClientServer
from py4j.java_gateway import JavaObject
from pyspark.java_gateway import ensure_callback_server_started


def start_callback_server(gateway: ClientServer) -> None:
    """Start the callback server of PySpark, which rejects connections without the token; do nothing if it runs.

    Parameters
    ----------
    gateway : ClientServer
        Connection of PySpark to its Java process.
    """
    if gateway.__dict__.get("_callback_server") is not None:
        return
    token = gateway.callback_server_parameters.auth_token = secrets.token_hex(32)
    ensure_callback_server_started(gateway)  # type: ignore[no-untyped-call]
    # PySpark gives Java the port, and Py4J has no method to change the token: create a client, and replace that of
    # the gateway in its private field.
    server = JavaObject("GATEWAY_SERVER", gateway._gateway_client)
    java, java_gateway, client = gateway.jvm, server.getGateway(), server.getCallbackClient()
    authenticated = java.py4j.PythonClient(
        java_gateway,
        None,  # no commands in addition to those of Py4J
        client.getPort(),
        client.getAddress(),
        30,  # Py4J's default: seconds until an unused connection is closed
        java.java.util.concurrent.TimeUnit.SECONDS,
        java.javax.net.SocketFactory.getDefault(),
        server,
        True,  # memory management: Python releases functions that Java no longer uses
        0,  # no timeout: a micro-batch takes any time
        token,
    )
    field = java_gateway.getClass().getDeclaredField("cbClient")
    field.setAccessible(True)
    field.set(java_gateway, authenticated)
    client.shutdown()
