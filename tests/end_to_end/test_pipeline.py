"""Tests for the whole: photographs in, features and a CSV out, through the console script; a stream, and its end."""

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

from support.background_process import kill_process_group, start_on_terminal, wait_for
from support.cli import PROGRAM, Done, environment, needs_program, program, slowness
from support.real_model import weights_file

pytestmark = [pytest.mark.end_to_end, needs_program]

LABEL = "Crème brûlée 1"  # spaces, accents: as a person would write it
WAIT_TIMEOUT = 120.0  # seconds; a start of Spark takes 5 on an idle machine
SOON = 15.0  # seconds from a file's arrival to its row, with a trigger every second

NO_TENSORFLOW = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorflow", "keras", "tf2onnx"):
            raise ImportError(f"the test allows no {name}")
sys.meta_path.insert(0, Refuse())
"""


@dataclass
class Story:
    """A folder of photographs, its lake, photographs yet to come, and how each command ended."""

    source: Path
    lake: Path
    later: list[Path]
    env: dict[str, str]
    first: Done
    second: Done
    refit: Done
    status: Done

    def deliver(self) -> Path:
        """Put one more photograph in place by a rename, as careful senders do."""
        photograph = self.later.pop()
        hidden = self.source / f".{photograph.name}"
        shutil.copy(photograph, hidden)
        os.utime(hidden, (time.time() - 60,) * 2)
        return hidden.rename(self.source / LABEL / f"late {len(self.later)}.jpg")

    def paths(self) -> set[str]:
        """What is in `features`, read by delta-rs."""
        table = deltalake.DeltaTable(self.lake / "features")
        return set(table.to_pyarrow_table(columns=["path"])["path"].to_pylist())


@pytest.fixture(scope="module")
def story(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Story:
    place = tmp_path_factory.mktemp("end to end")
    source, lake = place / "My photos", place / "lake"
    one, other = sorted((shared / "data" / "fruits" / "poc").iterdir())
    shutil.copytree(one, source / LABEL)
    shutil.copytree(other, source / other.name)
    later = sorted((shared / "data" / "fruits" / "many" / "Banana").iterdir())[:8]
    refusal = place / "refusal"
    refusal.mkdir()
    (refusal / "sitecustomize.py").write_text(NO_TENSORFLOW)
    env = environment(PYTHONPATH=str(refusal))

    weights = weights_file(shared)
    first = program("ingest", source, lake, "--once", "--weights", weights, "--json")
    (source / "Banana").mkdir()
    for photograph in [later.pop() for _ in range(3)]:
        shutil.copy(photograph, source / "Banana")
    second = program("ingest", source, lake, "--once", "--json", env=env)
    refit = program("refit", lake, "--components", "2", "--json", env=env)
    status = program("status", lake, "--json", env=env)
    return Story(source, lake, later, env, first, second, refit, status)


def test_photographs_become_rows(story: Story) -> None:
    assert story.first.status == 0, story.first.err
    told = story.first.json
    assert (told["featurized"], told["quarantined"], told["reasons"]) == (20, 0, {})


def test_a_second_run_takes_what_is_new_without_tensorflow(story: Story) -> None:
    command = [sys.executable, "-c", "import tensorflow"]
    refused = subprocess.run(command, env=story.env, capture_output=True, text=True, check=False)
    assert "the test allows no tensorflow" in refused.stderr  # the refusal works
    assert story.second.status == 0, story.second.err
    assert story.second.json["featurized"] == 3


def test_labels_and_paths_are_as_a_person_writes_them(story: Story) -> None:
    table = deltalake.DeltaTable(story.lake / "features").to_pyarrow_table()
    rows = {row["path"]: row for row in table.to_pylist()}
    files = {f"file:{file}" for file in story.source.rglob("*.jpg")}
    assert set(rows) <= files
    assert {row["label"] for row in rows.values()} >= {LABEL, "Banana"}
    for path, row in rows.items():
        assert row["label"] == Path(path).parent.name
        assert len(row["features"]) == 1280
        assert np.isfinite(row["features"]).all()


def test_a_refit_publishes_what_its_answer_names(story: Story) -> None:
    assert story.refit.status == 0, story.refit.err
    told = story.refit.json
    assert (told["rows"], told["components"], told["is_new"]) == (23, 2, True)
    assert 0 < told["explained_variance"] < 1
    for key in ("csv", "parquet", "pipeline", "report"):
        assert Path(told[key].removeprefix("file:")).exists(), key


def test_the_csv_is_one_well_formed_file(story: Story) -> None:
    with open(story.refit.json["csv"].removeprefix("file:"), newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header == ["path", "label", "pc1", "pc2"]
    assert len(rows) == 23
    assert sum(label == LABEL for _, label, _, _ in rows) == 10
    points = np.array([row[2:] for row in rows], float)
    assert np.isfinite(points).all()
    assert abs(points.mean(axis=0)).max() < 1e-6 * points.std()  # centred on the rows fitted


def test_the_report_stands_alone(story: Story) -> None:
    report = Path(story.refit.json["report"].removeprefix("file:")).read_text()
    assert LABEL in report
    for share in ("90", "95", "99"):
        assert re.search(rf"\b{share}\s*%", report), share
    assert not re.findall(r"""(?:src|href)=["']https?://""", report)


def test_status_knows_all_of_it(story: Story) -> None:
    assert story.status.status == 0, story.status.err
    told = story.status.json
    assert (told["rows"], told["labels"], told["quarantine"]) == (23, 3, {})
    assert told["backlog"] == 0
    assert told["last_refit"]["refit_id"] == story.refit.json["refit_id"]
    assert told["last_refit"]["stale"] is False


def test_a_stream_takes_what_arrives_and_ends_cleanly(story: Story, tmp_path: Path) -> None:
    arrived = f"file:{story.deliver()}"
    said = tmp_path / "said"
    with said.open("w") as out, (tmp_path / "errors").open("w") as errors:
        words = ["ingest", str(story.source), str(story.lake), "--trigger", "1"]
        running = subprocess.Popen(
            [PROGRAM, *words],
            env=story.env,
            stdout=out,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
        try:
            wait_for(lambda: said.read_text().count("\n") > 0, WAIT_TIMEOUT, running)
            assert arrived in story.paths()
            dropped = f"file:{story.deliver()}"
            wait_for(lambda: dropped in story.paths(), SOON * slowness(), running)
            wait_for(lambda: said.read_text().count("\n") > 1, WAIT_TIMEOUT, running)
            os.killpg(running.pid, signal.SIGTERM)  # as `timeout` and systemd do it
            assert running.wait(WAIT_TIMEOUT) == 0
        finally:
            kill_process_group(running)
    lines = said.read_text().splitlines()
    assert re.fullmatch(r"(micro-batch \d+|sweep): 1 images in .* 1 images done, .*", lines[0])
    assert re.match(r"2 images featurized, 0 quarantined in .* per second\)", lines[-1])
    assert (tmp_path / "errors").read_text() == ""


def test_on_a_terminal_progress_shows_and_ctrl_c_ends_it_cleanly(story: Story) -> None:
    arrived = f"file:{story.deliver()}"
    words = ["ingest", str(story.source), str(story.lake), "--trigger", "1"]
    running, terminal = start_on_terminal(words, story.env)
    try:
        wait_for(lambda: b"images done" in terminal.read(), WAIT_TIMEOUT, running)
        terminal.send_keys(b"\x03")
        assert terminal.wait_for_exit(running, WAIT_TIMEOUT) == 0
    finally:
        kill_process_group(running)
    text = terminal.text
    assert "starting" in text
    assert re.search(r"1 images done, \d+\.\d a second, 0 waiting", text)
    assert "1 images featurized, 0 quarantined" in text.strip().splitlines()[-1]
    assert "Traceback" not in text
    assert "ERROR" not in text
    assert arrived in story.paths()
