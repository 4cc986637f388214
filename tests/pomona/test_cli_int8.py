"""Tests for a lake in int8 with real weights and photographs: all commands use its model, or name the remedy."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streaming.engines import openvino
from streaming.images.decode import decode
from streaming.lake.layout import Lake
from streaming.model.store import find_model
from support.lakes.real_model import INT8, engine, exported_models, weights_file
from support.lakes.small_lakes import GARBAGE, commit_metadata, put, rows
from support.processes.cli import Command

pytestmark = [pytest.mark.spark, pytest.mark.slow]


@pytest.mark.long
def test_lake_in_int8(
    spark: Any,
    shared: Path,
    pomona: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, lake, weights = tmp_path / "photos", tmp_path / "lake", str(weights_file(shared))
    loaded = engine(INT8, weights)  # skips if the processor cannot
    shutil.copytree(exported_models(weights, "int8"), lake / "models")
    first, *others = sorted((shared / "data/fruits/poc").rglob("*.jpg"))
    for file in others:
        put(source / file.parent.name / file.name, file.read_bytes())
    broken = put(source / first.parent.name / first.name, GARBAGE)
    ingest = ("ingest", str(source), str(lake), "--once", "--settle", "0", "--json")

    def run(*arguments: str) -> Any:
        done = pomona(*arguments)
        assert done.status == 0, (arguments, done.err)
        return json.loads(done.out)

    done = run(*ingest, "--precision", "int8", "--weights", weights)
    assert (done["featurized"], done["quarantined"]) == (19, 1)
    info = find_model(Lake.at(str(lake)).models)
    assert info
    assert info.precision == "int8"
    for row in rows(str(lake / "features")):
        assert row["model_id"] == info.model_id
        content = Path(row["path"].removeprefix("file:")).read_bytes()
        expected = loaded.run(decode(content, info.decode_settings()).pixels[np.newaxis])[0]
        np.testing.assert_allclose(row["features"], expected, rtol=0, atol=1e-4)
    assert commit_metadata(str(lake / "features"))[0]["engine"] == "openvino"

    put(Path(broken.path.removeprefix("file:")), first.read_bytes())
    assert run("quarantine", str(lake), "--retry", "--json")["featurized"] == 1
    assert run(*ingest)["featurized"] == 0
    assert run("status", str(lake), "--json")["model_id"] == info.model_id
    copy = put(tmp_path / "copy.jpg", first.read_bytes())
    found = run("similar", str(lake), copy.path, "--json")
    nearest = found["neighbors"][0]
    assert nearest["path"].endswith(first.name)
    assert nearest["cosine"] == pytest.approx(1, abs=1e-6)
    assert run("refit", str(lake), "--components", "2", "--json")["rows"] == 20

    for arguments in (("--precision", "float32"), ("--precision", "bfloat16")):
        line = pomona(*ingest[:3], *arguments).error_line
        assert f"its model {info.model_id} computes in int8, not {arguments[1]}" in line
    line = pomona(*ingest[:3], "--engine", "onnxruntime").error_line
    assert "use --engine openvino --device cpu, or start a new lake" in line

    monkeypatch.setattr(openvino, "has_int8", lambda: False)
    put(source / first.parent.name / "new.jpg", others[0].read_bytes())
    for command in (ingest[:3], ("similar", str(lake), copy.path)):
        line = pomona(*command).error_line
        assert "AVX512_VNNI, AVX_VNNI or AMX" in line
        assert "use such a machine, or start a new lake" in line
    in_lake = run("similar", str(lake), str(source / first.parent.name / first.name), "--json")
    assert in_lake["neighbors"][0]["cosine"] < 1  # what needs no engine works everywhere
    assert run("status", str(lake), "--json")["rows"] == 20
