"""Tests for `pomona demo` from the wheel: dependencies, duration, tables, refits, and the statements of its summary."""

from __future__ import annotations

import csv
import re
import shlex
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import deltalake
import pyarrow.parquet as pq
import pytest

from pomona.demo.run import PER_LABEL
from streaming.images.synthetic import SAMPLE_LABELS
from support.processes.cli import (
    CommandResult,
    environment,
    parse,
    program,
    slowness,
)
from support.processes.wheel_environment import WheelEnvironment

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow, pytest.mark.long]

BROKEN = 5
SECONDS = 150.0


@dataclass
class DemoRun:
    """Result of a demo run: exit status and output, folder, and duration."""

    done: CommandResult
    folder: Path
    seconds: float

    @property
    def lines(self) -> list[str]:
        """Lines of standard output."""
        return self.done.out.splitlines()

    def path(self, name: str) -> Path:
        """Return a path that the summary prints."""
        paths = [
            line.split(":", 1)[1].strip() for line in self.lines if line.startswith(f"{name}:")
        ]
        return Path(paths[-1])


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> WheelEnvironment:
    return WheelEnvironment(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def demo(wheel: WheelEnvironment, tmp_path_factory: pytest.TempPathFactory) -> DemoRun:
    folder = tmp_path_factory.mktemp("demo folder")
    (folder / "50% é demo").mkdir()  # exists: a number is appended
    with socket.socket() as unused:  # no network: Keras cannot download the ImageNet weights
        unused.bind(("127.0.0.1", 0))
        proxy = f"http://127.0.0.1:{unused.getsockname()[1]}"
        env = environment(
            KERAS_HOME=str(folder / "keras"),
            http_proxy=proxy,
            https_proxy=proxy,
            HTTPS_PROXY=proxy,
            HTTP_PROXY=proxy,
            no_proxy=None,
            NO_PROXY=None,
        )
        env = {name: value for name, value in env.items() if not name.startswith("PYTHON")}
        started = time.monotonic()
        done = program("demo", "--folder", "50% é demo", env=env, cwd=folder, path=wheel.bin)
    return DemoRun(done, folder / "50% é demo-2", time.monotonic() - started)


def test_wheel_names_every_package_that_the_demo_needs(
    wheel: WheelEnvironment, demo: DemoRun
) -> None:
    assert "pyspark" in wheel.missing
    checked = wheel.pip("check")
    assert checked.returncode == 0, checked.stdout
    assert demo.done.status == 0, demo.done.err
    python = wheel.bin / "python"
    absent = subprocess.run([python, "-c", "import pytest"], env=wheel.env, capture_output=True)
    assert absent.returncode == 1


def test_demo_without_network_uses_random_weights_and_warns(demo: DemoRun) -> None:
    assert demo.done.status == 0, demo.done.err
    assert "NO IMAGENET WEIGHTS" in demo.done.out
    assert "RANDOM" in demo.done.out
    assert "Traceback" not in demo.done.err


def test_demo_duration(demo: DemoRun) -> None:
    assert demo.seconds < SECONDS * slowness()


def test_every_image_is_in_features_or_quarantine(demo: DemoRun) -> None:
    good = 2 * PER_LABEL * len(SAMPLE_LABELS)
    features = deltalake.DeltaTable(demo.folder / "lake" / "features").to_pyarrow_table()
    quarantine = deltalake.DeltaTable(demo.folder / "lake" / "quarantine").to_pyarrow_table()
    assert features.num_rows == good
    assert set(features["label"].to_pylist()) == set(SAMPLE_LABELS)
    assert quarantine.num_rows == BROKEN
    assert f"{good} rows in 50% é demo-2/lake/features" in demo.done.out
    assert f"{good} images featurized, {BROKEN} quarantined" in demo.done.out


def test_second_delivery_is_ingested_by_the_running_stream(demo: DemoRun) -> None:
    table = deltalake.DeltaTable(demo.folder / "lake" / "features")
    batches = set(table.to_pyarrow_table(columns=["batch_id"])["batch_id"].to_pylist())
    assert len(batches) >= 2


def test_quarantine_reasons_are_printed(demo: DemoRun) -> None:
    table = deltalake.DeltaTable(demo.folder / "lake" / "quarantine").to_pyarrow_table()
    reasons = next(line for line in demo.lines if line.startswith("quarantined: "))
    for row in table.to_pylist():
        assert row["reason"] in reasons
        assert any(
            row["path"].removeprefix("file:") in line and row["detail"] in line
            for line in demo.lines
        )


def test_two_refits_are_listed_with_their_versions(demo: DemoRun) -> None:
    refits = deltalake.DeltaTable(demo.folder / "lake" / "refits").to_pyarrow_table().to_pylist()
    first, second = sorted(refits, key=lambda row: row["created_at"])
    assert first["rows"] < second["rows"] == 2 * PER_LABEL * len(SAMPLE_LABELS)
    heading = next(n for n, line in enumerate(demo.lines) if line.startswith("version "))
    history = "\n".join(demo.lines[heading:])
    assert first["refit_id"] in history
    assert second["refit_id"] in history
    explained = sum(second["explained_variance_ratio"])
    assert f"{second['components']} components explain {explained:.1%} of the variance" in (
        demo.done.out
    )


def test_printed_paths_exist(demo: DemoRun) -> None:
    with demo.path("CSV").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * PER_LABEL * len(SAMPLE_LABELS)
    assert pq.read_table(demo.path("Parquet")).num_rows == len(rows)
    assert "<html" in demo.path("report").read_text()


def test_suggested_commands_parse(demo: DemoRun) -> None:
    commands = [
        match[1] for line in demo.lines if (match := re.match(r" +\S*pomona (\w+ .*)$", line))
    ]
    assert len(commands) >= 4
    for command in commands:
        parse(shlex.split(command))
    assert any("50% é demo-2/lake" in shlex.split(command) for command in commands)
