"""Measure the publishing of a refit by two checkouts of Pomona, in turn (`python -m benchmarks.compare_refits`).

The features are synthetic, as in the section "Features to components". Prints the seconds and the CPU seconds of the
publishing with all processes, the peak memory, and whether both checkouts published the same CSV. Repeat it on an idle
machine: the CPU seconds of processes that end during the publishing, such as idle workers after a minute, are missing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.inputs.sizes import SIZES
from benchmarks.inputs.synthetic import clone_lake
from benchmarks.inputs.workspace import Workspace
from benchmarks.measuring.competitors import error_line, process_environment
from benchmarks.measuring.memory import MemoryMonitor
from benchmarks.sections.refit import refit_arguments, synthetic_lake

ROOT = Path(__file__).parents[1]
# Runs a command of Pomona, and records the CPU seconds of its process tree at the end of each phase of a refit.
_RUN = """
import importlib, runpy, sys
import psutil
refit = importlib.import_module("batch_pca.refit")
seconds = {}
def cpu_seconds():
    root = psutil.Process()
    times = [process.cpu_times() for process in (root, *root.children(recursive=True))]
    return sum(t.user + t.system + t.children_user + t.children_system for t in times)
class PhaseTimer(refit.PhaseTimer):
    def end_phase(self, name):
        super().end_phase(name)
        seconds[name] = cpu_seconds()
        if name == "publishing":
            print("cpu", seconds["publishing"] - seconds["decomposition"], file=sys.stderr)
refit.PhaseTimer = PhaseTimer
sys.argv = sys.argv[:1] + sys.argv[2:]
runpy.run_module("pomona.cli", run_name="__main__", alter_sys=True)
"""


def main() -> None:
    """Run the rounds and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("other", type=Path, help="folder of the other checkout with its .venv")
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "benchmarks")
    options = parser.parse_args()
    workspace = Workspace(options.work.resolve(), SIZES["quick"], reuse=True)
    lake = options.work.resolve() / f"refit-{options.rows}"
    if not (lake / "complete").exists():
        shutil.rmtree(lake, ignore_errors=True)
        synthetic_lake(workspace, lake, options.rows)
        (lake / "complete").touch()
    checkouts = {"other": options.other.resolve(), "this": ROOT}
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in checkouts}
    for _ in range(options.rounds):
        for name, checkout in checkouts.items():
            runs[name].append(run(checkout, lake, workspace.scratch("compare") / "lake"))
            print(name, json.dumps(runs[name][-1]), flush=True)
    workspace.scratch("compare")
    for key in ("publishing", "cpu", "all_pss", "worker_pss"):
        other, this = ([each[key] for each in runs[name]] for name in checkouts)
        ratio = median(t / o for t, o in zip(this, other, strict=True) if o)
        print(f"{key}: {median(other):.1f} -> {median(this):.1f}, median ratio {ratio:.2f}")
    print("same CSV:", len({each["csv"] for of in runs.values() for each in of}) == 1)


def run(checkout: Path, lake: Path, copy: Path) -> dict[str, Any]:
    """Refit a copy of a lake; return seconds of the publishing, CPU seconds, peak MB and the hash of the CSV."""
    own = checkout / ".venv" / "bin" / "python"
    python = str(own if own.exists() else sys.executable)
    process = subprocess.Popen(
        [python, "-c", _RUN, *refit_arguments(clone_lake(lake, copy))],
        cwd=checkout,
        env=process_environment() | {"PYTHONPATH": str(checkout), "PYSPARK_PYTHON": python},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    memory = MemoryMonitor(process.pid, interval=1.0)
    memory.start()
    out, err = process.communicate()
    peaks = memory.stop()
    if process.returncode:
        raise RuntimeError(error_line(err))
    (cpu,) = (line.split()[1] for line in err.splitlines() if line.startswith("cpu "))
    summary = json.loads(out)
    with open(summary["csv"].removeprefix("file:"), "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        **{name: round(seconds, 2) for name, seconds in summary["phases"].items()},
        "cpu": round(float(cpu), 1),
        **peaks,
        "csv": digest,
        "rows": summary["rows"],
        "cores": os.cpu_count(),
    }


if __name__ == "__main__":
    main()
