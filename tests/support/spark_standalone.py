"""A standalone Spark cluster on the loopback: a master and workers, each a process of its own, and `spark-submit`.

Where the nodes of a cluster have Delta Lake and S3A in place, this one has `jar_files`. All else is as on EMR: the jar
of the fence and the environment come with what is submitted.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tarfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyspark

import bootstrap
from streaming.spark.jars import FENCED_LOG_STORE, jar_files
from streaming.spark.java import java_home
from streaming.spark.session import LOG_STORE, LOG_STORE_SETTING
from support.cli import Done, environment, slowness

SPARK = Path(pyspark.__file__).parent
SUBMIT = Path(bootstrap.__file__).with_name("submit.py")


@dataclass(frozen=True)
class Submitted:
    """What was submitted, and the files that it writes to."""

    process: subprocess.Popen[bytes]
    out: Path
    err: Path

    def end(self, seconds: float = 500) -> Done:
        """Wait for its end."""
        status = self.process.wait(seconds)
        return Done(status, self.out.read_text(), self.err.read_text())


class Cluster:
    """Runs until `stop`.

    Parameters
    ----------
    folder : Path
        For its logs and the workers' files.
    archive : Path
        The environment; it is unpacked once beside, as a node has it from `bootstrap_emr.sh`, for the driver.
    variables : mapping
        Added to the environment of all processes.
    """

    def __init__(self, folder: Path, archive: Path, variables: Mapping[str, str]) -> None:
        self._folder, self._archive = folder, archive
        self._node = folder / "node"
        with tarfile.open(archive) as tar:
            tar.extractall(self._node, filter="fully_trusted")
        beside = os.pathsep.join(map(str, jar_files()))
        conf = folder / "conf"
        conf.mkdir()
        (conf / "spark-defaults.conf").write_text(
            f"spark.driver.extraClassPath {beside}\n"
            f"spark.executor.extraClassPath {beside}\n"
            "spark.driver.host 127.0.0.1\nspark.driver.bindAddress 127.0.0.1\n"
            "spark.ui.enabled false\nspark.master.rest.enabled false\n"
        )
        # No name of this environment leads to its Python: a node has none of it.
        self._env = environment(
            **variables,
            JAVA_HOME=str(java_home()),
            SPARK_HOME=str(SPARK),
            SPARK_CONF_DIR=str(conf),
            SPARK_LOCAL_IP="127.0.0.1",
            PATH=os.defpath,
            PYTHONPATH=None,
        )
        self._processes: list[subprocess.Popen[bytes]] = []
        self.workers: list[subprocess.Popen[bytes]] = []
        self._start("master", "master.Master")
        self.master = self._said("master", r"Starting Spark master at (spark://\S+)")

    def add_worker(self, memory: str = "1500m") -> None:
        """Start one with one core, and wait until the master knows it."""
        name = f"worker-{len(self.workers)}"
        where = ["-d", str(self._folder / name), "-c", "1", "-m", memory]
        self.workers.append(self._start(name, "worker.Worker", *where, self.master))
        self._said(name, r"(Successfully registered with master)")

    def kill_worker(self, number: int) -> None:
        """End a worker as a lost node does: with its executors and their Python processes, at once."""
        of = {self.workers[number].pid}
        while True:  # those that they start leave the group of the worker
            more = {child for child, parent in _parents().items() if parent in of} - of
            if not more:
                break
            of |= more
        for pid in of:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.workers[number].wait()

    def submit(self, *words: str) -> Submitted:
        """`spark-submit` of the step's file, with the step's settings."""
        delta = next(jar for jar in jar_files() if jar.name.startswith("io.delta_delta-spark"))
        settings = {
            "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
            "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
            LOG_STORE_SETTING: LOG_STORE,
            "spark.jars": str(FENCED_LOG_STORE),
            "spark.submit.pyFiles": str(delta),
            "spark.archives": f"{self._archive}#environment",
            "spark.pyspark.python": "./environment/bin/python",
            "spark.pyspark.driver.python": str(self._node / "bin" / "python"),
            "spark.executor.memory": "700m",
            "spark.executor.cores": "1",
            "spark.driver.memory": "1g",
        }
        told = [word for key, value in settings.items() for word in ("--conf", f"{key}={value}")]
        name = f"submitted-{len(self._processes)}"
        files = [self._folder / f"{name}.{end}" for end in ("out", "err")]  # a pipe would fill
        with files[0].open("wb") as out, files[1].open("wb") as err:
            process = subprocess.Popen(
                [SPARK / "bin" / "spark-submit", "--master", self.master, *told, SUBMIT, *words],
                env=self._env,
                cwd=self._folder,
                stdout=out,
                stderr=err,
            )
        self._processes.append(process)
        return Submitted(process, *files)

    def run(self, *words: str, seconds: float = 500) -> Done:
        """Submit, and wait for the end."""
        return self.submit(*words).end(seconds)

    def stop(self) -> None:
        """End all of it."""
        for number, worker in enumerate(self.workers):
            if worker.poll() is None:
                self.kill_worker(number)
        for process in self._processes:
            process.kill()
            process.wait()

    def _start(self, name: str, role: str, *words: str) -> subprocess.Popen[bytes]:
        where = ["--host", "127.0.0.1", "--port", "0", "--webui-port", "0"]
        with (self._folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [SPARK / "bin" / "spark-class", f"org.apache.spark.deploy.{role}", *where, *words],
                env=self._env | {"SPARK_DAEMON_MEMORY": "256m"},
                cwd=self._folder,
                stdout=log,
                stderr=log,
            )
        self._processes.append(process)
        return process

    def _said(self, name: str, pattern: str, seconds: float = 120) -> str:
        """Wait for a line of its log."""
        until = time.monotonic() + seconds * slowness()
        while time.monotonic() < until:
            found = re.search(pattern, (self._folder / f"{name}.log").read_text())
            if found:
                return found[1]
            time.sleep(0.2)
        raise TimeoutError((self._folder / f"{name}.log").read_text())


def _parents() -> dict[int, int]:
    found = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            found[int(file.parent.name)] = int(file.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    return found
