"""Create a working folder for `pomona cloud`: cluster.toml, an exported model, placeholders for large files."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from bootstrap.environment.manifest import manifest_lines, required_versions
from streaming.images.decode import DECODER_REVISION
from streaming.model.metadata import ModelInfo
from streaming.model.weights import weights_sha256
from support.aws.cluster_configs import CODE, MINIMAL

#: Random weights need no download; the exported model is a small placeholder, which is only uploaded.
WEIGHTS = 'files.weights = "random"\n'


def make_cloud_workspace(folder: Path, patch: pytest.MonkeyPatch, more: str = "") -> Path:
    """Create the folder, make it the working directory, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    code = folder / "code"
    code.mkdir(exist_ok=True)
    for name in CODE:
        (code / name).write_text(f"placeholder for {name}")
    write_environment(folder / "environment.tar.gz")
    write_config(folder, more)
    cache = folder / "cache" / "pomona" / "models" / f"random-d{DECODER_REVISION}"
    models = cache / "mobilenet-1"
    models.mkdir(parents=True, exist_ok=True)
    (models / "model.onnx").write_bytes(b"placeholder for a network")
    (models / "model.json").write_text(model_info().to_json())
    patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    patch.setattr("pomona.cloud.artifacts.code_files", lambda: {name: code / name for name in CODE})
    patch.chdir(folder)
    return folder


def write_environment(archive: Path, *changes: tuple[str, str]) -> None:
    """Create an environment archive with only its manifest: the packages installed here, with these changes."""
    manifest = "\n".join(
        ["machine x86_64", "python 3.11.0", "glibc 2.34", *manifest_lines(required_versions())]
    )
    for before, after in changes:
        assert before in manifest
        manifest = manifest.replace(before, after)
    # Without the time in the header, the archives of two workspaces are the same.
    with gzip.GzipFile(archive, "wb", mtime=0) as file, tarfile.open(fileobj=file, mode="w") as tar:
        entry = tarfile.TarInfo("ENVIRONMENT")
        entry.size = len(manifest.encode())
        tar.addfile(entry, io.BytesIO(manifest.encode()))


def write_config(folder: Path, more: str = "") -> None:
    """Write cluster.toml with additional lines."""
    (folder / "cluster.toml").write_text(MINIMAL + WEIGHTS + more)


def model_info() -> ModelInfo:
    """Return the metadata of a network with random weights."""
    return ModelInfo(
        model_id="mobilenet-1",
        architecture="MobileNetV2",
        weights="random",
        weights_sha256=str(weights_sha256("random")),
        layer="global_average_pooling2d",
        width=1280,
        input_size=224,
        divisor=127.5,
        offset=-1.0,
        decoder_revision=DECODER_REVISION,
        precision="float32",
        onnx_sha256="0" * 64,
        keras_sha256="0" * 64,
        versions={},
        created_at="2026-11-01T00:00:00+00:00",
    )
