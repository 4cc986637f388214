"""Tests for the region and the KMS key that boto3, S3A and delta-rs share.

The region is that of AWS_REGION, then of boto3's settings, then of the instance; the key is AWS_SSE_KMS_KEY_ID.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from streaming.spark.s3a_settings import s3a_settings
from streaming.storage.s3_client import _instance_region, delta_rs_options, s3_client


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    _instance_region.cache_clear()
    yield
    _instance_region.cache_clear()


def regions() -> set[str | None]:
    """Return the regions of the three clients."""
    return {
        s3_client().meta.region_name,
        s3a_settings().get("fs.s3a.endpoint.region"),
        delta_rs_options()["AWS_REGION"],
    }


@pytest.mark.parametrize(
    ("variables", "profile", "expected"),
    [
        ({"AWS_REGION": "eu-west-3"}, "", "eu-west-3"),
        ({"AWS_DEFAULT_REGION": "eu-north-1"}, "", "eu-north-1"),
        ({"AWS_REGION": "eu-west-3", "AWS_DEFAULT_REGION": "eu-north-1"}, "", "eu-west-3"),
        ({}, "eu-south-1", "eu-south-1"),
        ({"AWS_REGION": "eu-west-3"}, "eu-south-1", "eu-west-3"),
        ({"AWS_REGION": ""}, "eu-south-1", "eu-south-1"),
    ],
)
def test_clients_use_the_same_region(
    variables: dict[str, str],
    profile: str,
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    if profile:
        (tmp_path / "config").write_text(f"[default]\nregion = {profile}\n")
    assert regions() == {expected}


@pytest.fixture
def metadata_service() -> Iterator[str]:
    """An instance metadata service that requires the tokens of version 2."""

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self._reply(b"token")

        def do_GET(self) -> None:
            assert self.headers["x-aws-ec2-metadata-token"] == "token"
            assert self.path == "/latest/meta-data/placement/availability-zone/"
            self._reply(b"eu-central-1b")

        def _reply(self, content: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def test_region_of_the_instance_is_the_default(
    metadata_service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata_service)
    assert regions() == {"eu-central-1"}


@pytest.mark.parametrize("key", ["arn:aws:kms:eu-west-1:123456789012:key/1", ""])
def test_clients_encrypt_with_the_same_key(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SSE_KMS_KEY_ID", key)
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    sent = {}

    class Stop(Exception):
        """Ends a request before it is sent."""

    def record(request: Any, **_: Any) -> None:
        sent.update({name.lower(): value for name, value in request.headers.items()})
        raise Stop

    client = s3_client()
    client.meta.events.register("before-send.s3", record)
    for create in (client.put_object, client.create_multipart_upload):
        sent.clear()
        with pytest.raises(Stop):
            create(Bucket="fruits", Key="a")
        header = sent.get("x-amz-server-side-encryption-aws-kms-key-id", b"")
        assert header == key.encode()
        assert sent.get("x-amz-server-side-encryption", b"") == (b"aws:kms" if key else b"")
    assert s3a_settings().get("fs.s3a.encryption.key", "") == key
    assert s3a_settings().get("fs.s3a.encryption.algorithm", "") == ("SSE-KMS" if key else "")
    assert delta_rs_options().get("AWS_SSE_KMS_KEY_ID", "") == key
