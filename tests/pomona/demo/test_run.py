"""Tests for `pomona demo`: all of it in two minutes, and every word of its summary holds."""

from __future__ import annotations

import csv
import re
import shlex
import socket
import time
from dataclasses import dataclass
from pathlib import Path

import deltalake
import pyarrow.parquet as pq
import pytest

from pomona.demo.images import SAMPLE_LABELS
from pomona.demo.run import PER_LABEL
from support.cli import Done, environment, needs_program, parse, program, slowness

pytestmark = [pytest.mark.end_to_end, needs_program]

BROKEN = 5
SECONDS = 150.0


@dataclass
class Shown:
    """How the demonstration ended, and what it left."""

    done: Done
    folder: Path
    seconds: float

    @property
    def lines(self) -> list[str]:
        """What it said."""
        return self.done.out.splitlines()

    def place(self, kind: str) -> Path:
        """A path of the summary."""
        named = [
            line.split(":", 1)[1].strip() for line in self.lines if line.startswith(f"{kind}:")
        ]
        return Path(named[-1])


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    place = tmp_path_factory.mktemp("demo place")
    (place / "my demo").mkdir()  # taken: a number is added
    with socket.socket() as nobody:  # no network: Keras cannot fetch ImageNet's weights
        nobody.bind(("127.0.0.1", 0))
        proxy = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        env = environment(
            KERAS_HOME=str(place / "keras"),
            http_proxy=proxy,
            https_proxy=proxy,
            HTTPS_PROXY=proxy,
            HTTP_PROXY=proxy,
            no_proxy=None,
            NO_PROXY=None,
        )
        started = time.monotonic()
        done = program("demo", "--folder", "my demo", env=env, cwd=place)
    return Shown(done, place / "my demo-2", time.monotonic() - started)


def test_it_works_without_a_network_and_says_loudly_what_that_means(shown: Shown) -> None:
    assert shown.done.status == 0, shown.done.err
    assert "NO IMAGENET WEIGHTS" in shown.done.out
    assert "RANDOM" in shown.done.out
    assert "Traceback" not in shown.done.err


def test_it_takes_no_longer_than_it_says(shown: Shown) -> None:
    assert shown.seconds < SECONDS * slowness()


def test_every_image_that_it_drew_is_in_one_of_the_tables(shown: Shown) -> None:
    good = 2 * PER_LABEL * len(SAMPLE_LABELS)
    features = deltalake.DeltaTable(shown.folder / "lake" / "features").to_pyarrow_table()
    quarantine = deltalake.DeltaTable(shown.folder / "lake" / "quarantine").to_pyarrow_table()
    assert features.num_rows == good
    assert set(features["label"].to_pylist()) == set(SAMPLE_LABELS)
    assert quarantine.num_rows == BROKEN
    assert f"{good} rows in my demo-2/lake/features" in shown.done.out
    assert f"{good} images featurized, {BROKEN} quarantined" in shown.done.out


def test_the_stream_took_the_second_delivery_while_it_ran(shown: Shown) -> None:
    table = deltalake.DeltaTable(shown.folder / "lake" / "features")
    batches = set(table.to_pyarrow_table(columns=["batch_id"])["batch_id"].to_pylist())
    assert len(batches) >= 2


def test_the_reasons_of_the_quarantine_are_told(shown: Shown) -> None:
    table = deltalake.DeltaTable(shown.folder / "lake" / "quarantine").to_pyarrow_table()
    told = next(line for line in shown.lines if line.startswith("quarantined: "))
    for row in table.to_pylist():
        assert row["reason"] in told
        assert any(
            row["path"].removeprefix("file:") in line and row["detail"] in line
            for line in shown.lines
        )


def test_it_refitted_twice_and_shows_which_version_each_saw(shown: Shown) -> None:
    refits = deltalake.DeltaTable(shown.folder / "lake" / "refits").to_pyarrow_table().to_pylist()
    first, second = sorted(refits, key=lambda row: row["created_at"])
    assert first["rows"] < second["rows"] == 2 * PER_LABEL * len(SAMPLE_LABELS)
    heading = next(n for n, line in enumerate(shown.lines) if line.startswith("version "))
    history = "\n".join(shown.lines[heading:])
    assert first["refit_id"] in history
    assert second["refit_id"] in history
    explained = sum(second["explained_variance_ratio"])
    assert f"{second['components']} components explain {explained:.1%} of the variance" in (
        shown.done.out
    )


def test_the_places_that_it_names_are_there(shown: Shown) -> None:
    with shown.place("CSV").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * PER_LABEL * len(SAMPLE_LABELS)
    assert pq.read_table(shown.place("Parquet")).num_rows == len(rows)
    assert "<html" in shown.place("report").read_text()


def test_the_next_commands_exist(shown: Shown) -> None:
    commands = [
        match[1] for line in shown.lines if (match := re.match(r" +\S*pomona (\w+ .*)$", line))
    ]
    assert len(commands) >= 4
    for command in commands:
        parse(shlex.split(command))
    assert any("my demo-2/lake" in shlex.split(command) for command in commands)
