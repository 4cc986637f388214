"""Tests for the `benchmarks` package: skipped competitors, prepared images and rows, results. Nothing is timed."""

from __future__ import annotations

import ast
import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pyarrow.dataset
import pytest

from benchmarks.__main__ import SECTIONS, parse_arguments
from benchmarks.inputs import images
from benchmarks.inputs.images import Images, image_files
from benchmarks.inputs.synthetic import (
    ROWS_PER_FILE,
    append_rows,
    clone_lake,
    fictitious_images,
    random_features,
)
from benchmarks.measuring.competitors import Competitor, error_line, last_line, run
from benchmarks.measuring.delta_log import commits, last_version
from benchmarks.sections import results
from streaming.model.backends import Backend
from support.lakes.small_lakes import jpeg

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "benchmarks").rglob("*.py"))
PEERS = sorted(file.stem for file in (ROOT / "benchmarks" / "peers").glob("[a-z]*.py"))


def test_saving_a_section_keeps_the_others(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "results.json"
    assert results.load_sections(file) == {}
    results.save_section(file, "refit", {"size": "quick"})
    results.save_section(file, "scaling", {"size": "quick"})
    results.save_section(file, "refit", {"size": "full"})
    assert results.load_sections(file) == {"refit": {"size": "full"}, "scaling": {"size": "quick"}}


@pytest.mark.parametrize("name", PEERS)
def test_peers_import_without_heavy_packages(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for heavy in ("ray", "daft", "sklearn", "tensorflow", "keras", "onnxruntime", "openvino"):
        monkeypatch.setitem(sys.modules, heavy, None)
    monkeypatch.delitem(sys.modules, f"benchmarks.peers.{name}", raising=False)
    module = importlib.import_module(f"benchmarks.peers.{name}")
    assert name == "network" or callable(module.main)


def test_every_section_has_a_measure_function() -> None:
    for name in SECTIONS:
        assert callable(importlib.import_module(f"benchmarks.sections.{name}").measure)
    assert parse_arguments(["--only", "refit,scaling"]).only == ["refit", "scaling"]
    with pytest.raises(SystemExit):
        parse_arguments(["--only", "lunch"])


def test_missing_package_skips_the_competitor(tmp_path: Path) -> None:
    competitor = Competitor("x", "X", lambda _: ["nothing"], ("no_such_package", "json"))
    assert run(competitor, tmp_path) == {"skipped": "not installed: no_such_package"}


def test_failing_competitor_is_skipped_with_its_error(tmp_path: Path) -> None:
    result = run(Competitor("x", "X", lambda _: ["no_such_module"]), tmp_path)
    assert "no_such_module" in result["skipped"]


def test_error_line_selects_the_most_informative_line() -> None:
    stderr = "Traceback (most recent call last):\n  x\nValueError: no\n  at java\n"
    assert error_line(stderr) == "ValueError: no"
    assert error_line("pomona: it is broken\nlater") == "pomona: it is broken"
    assert error_line("") == ""
    assert last_line('chatter\n{"count": 1}\n') == {"count": 1}


def test_repeat_keeps_label_folders(tmp_path: Path) -> None:
    for label in ("Kiwi", "Plum"):
        (tmp_path / "few" / label).mkdir(parents=True)
        for number in range(2):
            (tmp_path / "few" / label / f"{number}.jpg").write_bytes(b"x")
    few = Images(tmp_path / "few", "")
    many = image_files(few.repeat(10, tmp_path / "many"))
    assert len(many) == 10
    assert {file.parent.name for file in many} == {"Kiwi", "Plum"}
    two = image_files(few.repeat(2, tmp_path / "two"))
    assert [file.parent.name for file in two] == ["Kiwi", "Plum"]


@pytest.mark.slow
def test_generated_photographs_have_noise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "_PHOTOGRAPH_SIZE", (1600, 1200))
    monkeypatch.setattr(images, "_PHOTOGRAPHS", 2)
    found = images.image_files(images.generate_photographs(tmp_path).folder)
    bits = [8 * file.stat().st_size / (1600 * 1200) for file in found]
    assert len(set(bits)) == 2
    assert min(bits) > 2  # 1.3 without noise


@pytest.mark.slow
def test_synthetic_rows_appear_in_the_log_and_clones_are_independent(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    (lake / "models" / "a-model").mkdir(parents=True)
    (lake / "models" / "a-model" / "model.json").write_text("{}")
    (lake / "features" / "_delta_log").mkdir(parents=True)
    assert last_version(lake / "features") == -1
    append_rows(lake, fictitious_images(ROWS_PER_FILE + 3))
    append_rows(clone_lake(lake, tmp_path / "clone_lake"), fictitious_images(5))
    assert [commit.rows for commit in commits(lake / "features")] == [ROWS_PER_FILE + 3]
    assert [commit.rows for commit in commits(tmp_path / "clone_lake" / "features", 1)] == [5]
    rows = pyarrow.dataset.dataset(lake / "features", format="parquet").to_table()
    assert rows.num_rows == ROWS_PER_FILE + 3
    from streaming.lake.schemas import features_table

    assert tuple(rows.column_names) == features_table(1280).names


def test_random_features_resemble_relu6_outputs() -> None:
    features = random_features(500, np.random.default_rng(0))
    assert features.shape == (500, 1280)
    assert features.dtype == np.float32
    assert features.min() == 0
    assert 0 < features.max() <= 6
    assert 0.3 < (features == 0).mean() < 0.7


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_source_files_have_a_docstring_and_no_name_of_the_standard_library(file: Path) -> None:
    tree = ast.parse(file.read_text())
    assert ast.get_docstring(tree)
    assert file.stem.strip("_") == "main" or file.stem not in sys.stdlib_module_names


@pytest.mark.slow
def test_plain_processes_match_the_reference_features(random_model: Path, tmp_path: Path) -> None:
    from support.lakes.real_model import features

    for number in range(8):
        file = tmp_path / "images" / "Kiwi" / f"{number}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(jpeg(number))
    model = next(file.parent for file in random_model.rglob("model.json"))
    arguments = ["benchmarks.peers.plain_processes", str(tmp_path / "images"), str(model)]
    result = run(
        Competitor(
            "x",
            "X",
            lambda _: [*arguments, str(tmp_path / "out")],
            parse_output=lambda out, *_: json.loads(out),
        ),
        tmp_path,
    )
    assert result["count"] == 8
    rows = pyarrow.dataset.dataset(tmp_path / "out", format="parquet").to_table().to_pylist()
    rows.sort(key=lambda row: str(row["path"]))
    expected = features(
        Backend("tensorflow", "cpu", "float32"), "random", [Path(row["path"]) for row in rows]
    )
    np.testing.assert_allclose([row["features"] for row in rows], expected, atol=1e-4)


def test_both_lock_files_pin_the_same_versions_by_hash() -> None:
    pins = {}
    for name in ("requirements-dev.lock", "requirements-bench.lock"):
        lines = (ROOT / name).read_text().replace("\\\n", " ").splitlines()
        pinned = [line for line in lines if line and not line.lstrip().startswith("#")]
        assert all("--hash=sha256:" in line for line in pinned)
        pins[name] = {line.split()[0] for line in pinned}  # without the environment marker
    names = [{pin.split("==")[0] for pin in found} for found in pins.values()]
    shared = {
        pin
        for found in pins.values()
        for pin in found
        if pin.split("==")[0] in set.intersection(*names)
    }
    assert shared <= pins["requirements-dev.lock"]
    assert {"ray", "daft", "psutil", "openvino"} <= names[1]
