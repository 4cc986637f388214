"""Fixtures shared by all layers of the tests; nothing here starts Spark unless a test asks for it."""

from __future__ import annotations

import gc
import os
import pickle
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# Before NumPy is imported, here and in processes of the tests. The threads of OpenBLAS wait for each other with busy
# loops: beside another worker of pytest-xdist, eigenvectors of 1280 columns take 4 s of CPU time instead of 0.4 s.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# The objects that the imports of some 230 test files create live until the end: searching them for cycles again and
# again takes a quarter of the CPU time of the fast tests.
gc.disable()

DATA_VARIABLE = "POMONA_TEST_DATA"
WEIGHTS = "weights/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"


#: Files with these tests come first, so that no worker waits for a long file at the end.
LONGEST_FIRST = ("end_to_end", "s3", "spark", "slow")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Order the files for the workers of pytest-xdist, which get them with `--no-loadscope-reorder` in this order."""
    if not hasattr(config, "workerinput"):
        return
    ranks: dict[Path, int] = {}
    for item in items:
        marks = {mark.name for mark in item.iter_markers()}
        rank = min(
            (LONGEST_FIRST.index(name) for name in marks & set(LONGEST_FIRST)),
            default=len(LONGEST_FIRST),
        )
        ranks[item.path] = min(rank, ranks.get(item.path, rank))
    items.sort(key=lambda item: ranks[item.path])


def pytest_collection_finish() -> None:
    """Exclude from garbage collection what the imports have created."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with `weights/` and `data/`: real photographs and real weights, never committed."""
    folder = os.environ.get(DATA_VARIABLE)
    if not folder or not Path(folder, "weights").is_dir():
        pytest.skip(f"{DATA_VARIABLE} does not name a folder with weights/ and data/")
    return Path(folder)


@pytest.fixture(scope="session", autouse=True)
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folder of this run of pytest, common to all its workers: see `support.processes.shared_folders`."""
    from support.processes.shared_folders import RUN_FOLDER

    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # each worker has a folder of its own in that of the run
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(RUN_FOLDER, str(folder))
        yield folder


@pytest.fixture(scope="session", autouse=True)
def config_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folder for the configuration of the user, with the records of the models of the lakes."""
    folder = tmp_path_factory.mktemp("config")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(folder))
        yield folder


@pytest.fixture(scope="session")
def aws() -> Iterator[dict[str, str]]:
    """A stand-in for AWS, and the environment that leads to it.

    In a process of its own: delta-rs lets no other thread run while it waits for an answer.
    """
    from support.aws.moto_server import MotoServer

    server = MotoServer()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.variables.items():
            patch.setenv(name, value)
        yield server.variables
    server.stop()


@pytest.fixture
def bucket(aws: dict[str, str]) -> str:
    """Name of a new, empty bucket."""
    from streaming.storage.s3_client import s3_client

    name = f"fruits-{uuid.uuid4().hex[:12]}"
    s3_client().create_bucket(
        Bucket=name, CreateBucketConfiguration={"LocationConstraint": aws["AWS_REGION"]}
    )
    return name


@pytest.fixture(scope="session")
def spark(aws: dict[str, str]) -> Iterator[Any]:
    """One Spark session for all tests of a process, started when the first asks for it; it reaches `aws` too."""
    from streaming.spark.session import start_session

    session = start_session(s3=True)
    yield session
    session.stop()


@pytest.fixture(scope="session")
def random_model(run_folder: Path) -> Path:
    """A lake's `models/` with the seeded network in it: copied into a lake, it saves the export."""
    from support.lakes.real_model import exported_models

    return exported_models("random")


@pytest.fixture(scope="session")
def tables(spark: Any, random_model: Path) -> Path:
    """A lake without rows: the model with random weights, and its tables. To be copied, not to be used."""
    from streaming.lake.layout import Lake, create_tables
    from streaming.model.mobilenet_v2 import WIDTH
    from support.processes.shared_folders import created_once

    def create(folder: Path) -> None:
        shutil.copytree(random_model, folder / "models")
        create_tables(spark, Lake.at(str(folder)), WIDTH)

    return created_once("tables", create)


@pytest.fixture(scope="session")
def query_lake(spark: Any) -> Any:
    """A lake of made-up features with two refits, see `support.lakes.query_lakes`; to be read only."""
    from support.lakes.query_lakes import create_query_lake
    from support.processes.shared_folders import created_once

    def create(folder: Path) -> None:
        lake = create_query_lake(spark, folder)
        folder.with_suffix(".pickle").write_bytes(pickle.dumps(lake))

    return pickle.loads(created_once("query", create).with_suffix(".pickle").read_bytes())


@pytest.fixture(scope="module")
def new_lake(tables: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Make a new lake without rows at each call."""

    def copy() -> Path:
        return shutil.copytree(tables, tmp_path_factory.mktemp("lakes") / "My lake")

    return copy


@pytest.fixture
def pomona(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """The command line, called in this process: see `support.processes.cli.Command`."""
    from support.processes.cli import Command

    return Command(monkeypatch, capsys)
