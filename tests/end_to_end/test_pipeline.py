"""Tests for the whole pipeline through the console script: ingest, refit, status, and a stream that is stopped."""

from __future__ import annotations

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import deltalake
import numpy as np
import pytest

from support.lakes.real_model import weights_file
from support.processes.background_process import kill_process_group, start_on_terminal, wait_for
from support.processes.cli import (
    PROGRAM,
    CommandResult,
    environment,
    needs_program,
    program,
    slowness,
)

pytestmark = [pytest.mark.end_to_end, needs_program]

LABEL = "Crème brûlée 1"  # with spaces and accents
WAIT_TIMEOUT = 120.0  # seconds; Spark starts in 5 s on an idle machine
MAX_LATENCY = 15.0  # seconds from the arrival of a file to its row, with a trigger every second

NO_TENSORFLOW = """
import sys
class BlockImports:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorflow", "keras", "tf2onnx"):
            raise ImportError(f"{name} is blocked by the test")
sys.meta_path.insert(0, BlockImports())
"""


@dataclass
class Pipeline:
    """A folder of photographs, its lake, photographs to be delivered later, and the results of the commands."""

    source: Path
    lake: Path
    later: list[Path]
    env: dict[str, str]
    first: CommandResult
    refit: CommandResult
    status: CommandResult

    def deliver(self) -> Path:
        """Add one photograph to the source with a rename, so that it is complete from the start."""
        photograph = self.later.pop()
        hidden = self.source / f".{photograph.name}"
        shutil.copy(photograph, hidden)
        os.utime(hidden, (time.time() - 60,) * 2)
        return hidden.rename(self.source / LABEL / f"late {len(self.later)}.jpg")

    def paths(self) -> set[str]:
        """Return the paths in `features`, read with delta-rs."""
        table = deltalake.DeltaTable(self.lake / "features")
        return set(table.to_pyarrow_table(columns=["path"])["path"].to_pylist())


@pytest.fixture(scope="module")
def pipeline(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    root = tmp_path_factory.mktemp("end to end")
    source, lake = root / "My photos", root / "lake"
    one, other = sorted((shared / "data" / "fruits" / "poc").iterdir())
    shutil.copytree(one, source / LABEL)
    shutil.copytree(other, source / other.name)
    later = sorted((shared / "data" / "fruits" / "many" / "Banana").iterdir())[:8]
    import_blocker = root / "import blocker"
    import_blocker.mkdir()
    (import_blocker / "sitecustomize.py").write_text(NO_TENSORFLOW)
    env = environment(PYTHONPATH=str(import_blocker))

    weights = weights_file(shared)
    first = program("ingest", source, lake, "--once", "--weights", weights, "--json")
    refit = program("refit", lake, "--components", "2", "--json", env=env)
    status = program("status", lake, "--json", env=env)
    return Pipeline(source, lake, later, env, first, refit, status)


def test_first_ingest_featurizes_all_photographs(pipeline: Pipeline) -> None:
    assert pipeline.first.status == 0, pipeline.first.err
    summary = pipeline.first.json
    assert (summary["featurized"], summary["quarantined"], summary["reasons"]) == (20, 0, {})


def test_labels_and_paths_are_not_percent_encoded(pipeline: Pipeline) -> None:
    table = deltalake.DeltaTable(pipeline.lake / "features").to_pyarrow_table()
    rows = {row["path"]: row for row in table.to_pylist()}
    files = {f"file:{file}" for file in pipeline.source.rglob("*.jpg")}
    assert set(rows) <= files
    assert {row["label"] for row in rows.values()} > {LABEL}
    for path, row in rows.items():
        assert row["label"] == Path(path).parent.name
        assert len(row["features"]) == 1280
        assert np.isfinite(row["features"]).all()


def test_refit_result_names_existing_files(pipeline: Pipeline) -> None:
    assert pipeline.refit.status == 0, pipeline.refit.err
    result = pipeline.refit.json
    assert (result["rows"], result["components"], result["is_new"]) == (20, 2, True)
    assert 0 < result["explained_variance"] < 1
    for key in ("csv", "parquet", "pipeline", "report"):
        assert Path(result[key].removeprefix("file:")).exists(), key


def test_csv_is_well_formed(pipeline: Pipeline) -> None:
    with open(
        pipeline.refit.json["csv"].removeprefix("file:"), newline="", encoding="utf-8"
    ) as file:
        header, *rows = csv.reader(file)
    assert header == ["path", "label", "pc1", "pc2"]
    assert len(rows) == 20
    assert sum(label == LABEL for _, label, _, _ in rows) == 10
    points = np.array([row[2:] for row in rows], float)
    assert np.isfinite(points).all()
    assert abs(points.mean(axis=0)).max() < 1e-6 * points.std()  # centered on the rows fitted


def test_status_reports_tables_and_last_refit(pipeline: Pipeline) -> None:
    assert pipeline.status.status == 0, pipeline.status.err
    status = pipeline.status.json
    assert (status["rows"], status["labels"], status["quarantine"]) == (20, 2, {})
    assert status["backlog"] == 0
    assert status["last_refit"]["refit_id"] == pipeline.refit.json["refit_id"]
    assert status["last_refit"]["stale"] is False


@pytest.mark.long
def test_stream_ingests_arriving_photographs_without_tensorflow_and_stops_on_sigterm(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", "import tensorflow"]
    blocked = subprocess.run(command, env=pipeline.env, capture_output=True, text=True, check=False)
    assert "tensorflow is blocked by the test" in blocked.stderr
    arrived = f"file:{pipeline.deliver()}"
    output = tmp_path / "output"
    with output.open("w") as out, (tmp_path / "errors").open("w") as errors:
        args = ["ingest", str(pipeline.source), str(pipeline.lake), "--trigger", "1"]
        running = subprocess.Popen(
            [PROGRAM, *args],
            env=pipeline.env,
            stdout=out,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
        try:
            wait_for(lambda: " done, " in output.read_text(), WAIT_TIMEOUT, running)
            assert arrived in pipeline.paths()
            delivered = f"file:{pipeline.deliver()}"
            wait_for(lambda: delivered in pipeline.paths(), MAX_LATENCY * slowness(), running)
            wait_for(lambda: output.read_text().count(" done, ") > 1, WAIT_TIMEOUT, running)
            os.killpg(running.pid, signal.SIGTERM)  # as `timeout` and systemd do
            assert running.wait(WAIT_TIMEOUT) == 0
        finally:
            kill_process_group(running)
    lines = output.read_text().splitlines()
    assert lines[0] == "starting Spark"
    batches = [line for line in lines if " done, " in line]
    assert re.fullmatch(r"(micro-batch \d+|sweep): 1 image in .* 1 image done, .*", batches[0])
    assert re.match(r"2 images featurized, 0 quarantined in .* per second\)", lines[-1])
    ignored = "pomona: ignored PYTHONPATH: Pomona uses its own Spark\n"  # of the import blocker
    assert (tmp_path / "errors").read_text() == ignored


@pytest.mark.long
def test_stream_on_terminal_shows_progress_and_stops_on_ctrl_c(pipeline: Pipeline) -> None:
    arrived = f"file:{pipeline.deliver()}"
    args = ["ingest", str(pipeline.source), str(pipeline.lake), "--trigger", "1"]
    running, terminal = start_on_terminal(args, pipeline.env)
    try:
        wait_for(lambda: b" done, " in terminal.read(), WAIT_TIMEOUT, running)
        terminal.send_keys(b"\x03")
        assert terminal.wait_for_exit(running, WAIT_TIMEOUT) == 0
    finally:
        kill_process_group(running)
    text = terminal.text
    assert "starting" in text
    assert re.search(r"1 image done, \d+\.\d per second, 0 waiting", text)
    assert "1 image featurized, 0 quarantined" in text.strip().splitlines()[-1]
    assert "Traceback" not in text
    assert "ERROR" not in text
    assert arrived in pipeline.paths()
