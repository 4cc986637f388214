"""Run a standalone Spark cluster on the loopback interface: a master, workers and `spark-submit`.

Delta Lake and S3A, which EMR nodes have installed, come from `jar_files`. Everything else is as on EMR: the log store
jar and the environment archive are submitted with the application.
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
from support.processes.cli import CommandResult, environment, slowness

SPARK = Path(pyspark.__file__).parent
SUBMIT = Path(bootstrap.__file__).with_name("submit.py")


@dataclass(frozen=True)
class SubmittedJob:
    """A submitted application and its output files."""

    process: subprocess.Popen[bytes]
    out: Path
    err: Path

    def wait(self, seconds: float = 500) -> CommandResult:
        """Wait until the application ends."""
        status = self.process.wait(seconds)
        return CommandResult(status, self.out.read_text(), self.err.read_text())


#: Settings that every application needs, without those of the cluster and its sizes.
SETTINGS = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    LOG_STORE_SETTING: LOG_STORE,
    "spark.pyspark.python": "./environment/bin/python",
}


class Cluster:
    """Runs until `stop`.

    Parameters
    ----------
    folder : Path
        Receives logs and the files of the workers.
    archive : Path
        The environment; it is also unpacked for the driver, as `bootstrap_emr.sh` does on a node.
    variables : mapping
        Added to the environment of all processes.
    """

    def __init__(self, folder: Path, archive: Path, variables: Mapping[str, str]) -> None:
        self._folder, self._archive = folder, archive
        self._node = folder / "node"
        with tarfile.open(archive) as tar:
            tar.extractall(self._node, filter="fully_trusted")
        class_path = os.pathsep.join(map(str, jar_files()))
        conf = folder / "conf"
        conf.mkdir()
        (conf / "spark-defaults.conf").write_text(
            f"spark.driver.extraClassPath {class_path}\n"
            f"spark.executor.extraClassPath {class_path}\n"
            "spark.driver.host 127.0.0.1\nspark.driver.bindAddress 127.0.0.1\n"
            "spark.ui.enabled false\nspark.master.rest.enabled false\n"
        )
        # PATH and PYTHONPATH do not contain this environment: a node does not have it.
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
        self.master = self._wait_for_log_line("master", r"Starting Spark master at (spark://\S+)")

    def add_worker(self, memory: str = "1500m") -> None:
        """Start a worker with one core, and wait until it is registered."""
        name = f"worker-{len(self.workers)}"
        options = ["-d", str(self._folder / name), "-c", "1", "-m", memory]
        self.workers.append(self._start(name, "worker.Worker", *options, self.master))
        self._wait_for_log_line(name, r"(Successfully registered with master)")

    def kill_worker(self, number: int) -> None:
        """Kill a worker with its executors and their Python processes, as if its node were lost."""
        pids = {self.workers[number].pid}
        while True:  # executors have their own process groups
            children = {child for child, parent in _parents().items() if parent in pids} - pids
            if not children:
                break
            pids |= children
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.workers[number].wait()

    def submit(self, *args: str) -> SubmittedJob:
        """Submit `bootstrap/submit.py` with the settings of an EMR step."""
        delta = next(jar for jar in jar_files() if jar.name.startswith("io.delta_delta-spark"))
        settings = {
            **SETTINGS,
            "spark.jars": str(FENCED_LOG_STORE),
            "spark.submit.pyFiles": str(delta),
            "spark.archives": f"{self._archive}#environment",
            "spark.pyspark.driver.python": str(self._node / "bin" / "python"),
            "spark.executor.memory": "700m",
            "spark.executor.cores": "1",
            "spark.driver.memory": "1g",
        }
        conf = [f"--conf={key}={value}" for key, value in settings.items()]
        name = f"submitted-{len(self._processes)}"
        files = [self._folder / f"{name}.{end}" for end in ("out", "err")]  # a pipe could fill up
        with files[0].open("wb") as out, files[1].open("wb") as err:
            process = subprocess.Popen(
                [SPARK / "bin" / "spark-submit", "--master", self.master, *conf, SUBMIT, *args],
                env=self._env,
                cwd=self._folder,
                stdout=out,
                stderr=err,
            )
        self._processes.append(process)
        return SubmittedJob(process, *files)

    def run(self, *args: str, seconds: float = 500) -> CommandResult:
        """Submit an application, and wait until it ends."""
        return self.submit(*args).wait(seconds)

    def stop(self) -> None:
        """Kill all processes."""
        for number, worker in enumerate(self.workers):
            if worker.poll() is None:
                self.kill_worker(number)
        for process in self._processes:
            process.kill()
            process.wait()

    def _start(self, name: str, role: str, *args: str) -> subprocess.Popen[bytes]:
        ports = ["--host", "127.0.0.1", "--port", "0", "--webui-port", "0"]
        with (self._folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [SPARK / "bin" / "spark-class", f"org.apache.spark.deploy.{role}", *ports, *args],
                env=self._env | {"SPARK_DAEMON_MEMORY": "256m"},
                cwd=self._folder,
                stdout=log,
                stderr=log,
            )
        self._processes.append(process)
        return process

    def _wait_for_log_line(self, name: str, pattern: str, seconds: float = 120) -> str:
        """Wait for a line in a log; return the first group of the match."""
        deadline = time.monotonic() + seconds * slowness()
        while time.monotonic() < deadline:
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
